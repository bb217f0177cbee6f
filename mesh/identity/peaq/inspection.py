"""A DID looked at as the mesh would, rule by rule, for an operator who wants to know why somebody is refused."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from msgspec import Struct

from mesh.errors import InvalidKey, NotProven, ResolverUnavailable
from mesh.identity.accounts import evm_account
from mesh.identity.did import did_key, did_pkh
from mesh.identity.peaq.resolver import did_resolver
from mesh.identity.peaq.rules import MEANING, Refusal, check_all
from mesh.identity.subject_proof import prove

if TYPE_CHECKING:
    from mesh.identity.did import Did
    from mesh.identity.keys import SigningKey
    from mesh.identity.peaq.resolver import DidResolver
    from mesh.identity.settings import IdentitySettings
    from mesh.identity.subject_proof import Proof

_CHALLENGE_BYTES = 32


class RuleReport(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rule, as ``ig3 did verify`` prints it."""

    name: str
    rule: str = ""
    """The name under which a refusal is logged; empty: it holds."""
    why_not: str = ""
    how: str = ""


class DidReport(Struct, frozen=True, kw_only=True):
    """All rules, and whether the DID's holder would get in: by the key that was given, else by the DID's own."""

    did: str
    is_accepted: bool
    rules: tuple[RuleReport, ...]


async def inspect(settings: IdentitySettings, did: Did, key: SigningKey | None = None) -> DidReport:
    """Check a DID by every rule, and whether a key proves it. What cannot be found out counts as refused."""
    method = _method(settings, did)
    async with did_resolver(settings) as resolver:
        on_chain = await _look_up(resolver, settings, did) if did.method == "peaq" else ()
        proof = () if key is None else (await _try(resolver, did, key),)
    decisive = proof or (method, *(on_chain[:1] if settings.peaq_entry == "required" else ()))
    is_accepted = not any(one.why_not for one in decisive)
    return DidReport(did=did.text, is_accepted=is_accepted, rules=(method, *on_chain, *proof))


def _method(settings: IdentitySettings, did: Did) -> RuleReport:
    if did.method in settings.did_methods:
        return RuleReport(name="method accepted", how=did.method)
    accepted = f"accepted are {', '.join(settings.did_methods)}"
    return _refused("method accepted", Refusal(rule="method_not_accepted", detail=accepted))


async def _look_up(resolver: DidResolver, settings: IdentitySettings, did: Did) -> tuple[RuleReport, ...]:
    try:
        seen = await resolver.look_up(did)
    except ResolverUnavailable as error:
        return (RuleReport(name="entry on the chain", rule="unavailable", why_not=str(error)),)
    checks = check_all(did, seen.reading, trust=settings.trust, now_s=time.time())
    return tuple(
        RuleReport(name=check.name) if check.refusal is None else _refused(check.name, check.refusal)
        for check in checks
    )


async def _try(resolver: DidResolver, did: Did, key: SigningKey) -> RuleReport:
    """Prove by a key what can be proven with it, as its holder would."""
    challenge = os.urandom(_CHALLENGE_BYTES)
    tried = [await _judged(resolver, did, proof, challenge) for proof in _proofs(did, key, challenge)]
    return next((one for one in tried if not one.why_not), tried[-1])


async def _judged(resolver: DidResolver, did: Did, proof: Proof, challenge: bytes) -> RuleReport:
    name = "proof by this key"
    try:
        found = await resolver.authenticate(did, proof, challenge)
    except NotProven as error:
        return RuleReport(name=name, rule=error.rule, why_not=str(error))
    except ResolverUnavailable as error:
        return RuleReport(name=name, rule="unavailable", why_not=str(error))
    how = "its own key" if found.how == "subject" else f"key {found.key_id} of its document"
    return RuleReport(name=name, how=how)


def _proofs(did: Did, key: SigningKey, challenge: bytes) -> list[Proof]:
    """As the DID's subject if it is that, else as each kind of key that a document may list."""
    try:
        return [prove(did, key, challenge)]
    except InvalidKey:
        alone = [prove(did_key(key.public), key, challenge)]
    if key.public.algorithm != "secp256k1":
        return alone
    return [*alone, prove(did_pkh(evm_account(key.public), "eip155:1"), key, challenge)]


def _refused(name: str, refusal: Refusal) -> RuleReport:
    detail = f" ({refusal.detail})" if refusal.detail else ""
    return RuleReport(name=name, rule=refusal.rule, why_not=f"{refusal.rule}: {MEANING[refusal.rule]}{detail}")
