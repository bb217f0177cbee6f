"""Signing in: a challenge, a proof by a wallet or a DID, and a session for one account.

In this order: what costs nothing is checked first, then the nonce is spent, then the signature is looked at. So a
proof is tried once, and a stranger cannot have signatures verified without asking for a nonce each time.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from gateway.auth.challenge import Nonces, challenge_text, read_hex
from gateway.auth.domains import SignInDomains
from gateway.auth.proofs import (
    Challenge,
    EthereumChallenge,
    EthereumProof,
    SubstrateChallenge,
    SubstrateProof,
)
from gateway.auth.refusal import BAD_REQUEST, FORBIDDEN, SignInRefused
from gateway.auth.sessions import Sessions
from gateway.auth.siwe import SiweMessage, check_times, is_signed, parse_siwe, write_siwe
from mesh.access.people import person
from mesh.access.writer import AccessWriter
from mesh.errors import AccountError, IdentityError
from mesh.identity import ss58
from mesh.identity.accounts import EvmAccount, SubstrateAccount
from mesh.identity.did import did_peaq, did_pkh, parse_did
from mesh.identity.evm import parse_address
from mesh.identity.subject_proof import Proof, subject_signed
from streams.clock import now_ms

if TYPE_CHECKING:
    from gateway.auth.challenge import Nonce
    from gateway.auth.proofs import ChallengeRequest, DidProof, Reached, SignedIn, SignInProof
    from gateway.settings import GatewaySettings
    from mesh.access.feed import AccessFeed
    from mesh.access.session_keys import SessionKeys
    from mesh.bus.link import Link
    from mesh.identity.did import Did
    from streams.access.fold import Membership

log = logging.getLogger(__name__)

ISSUED_WITHIN_MS: Final = 10 * 60_000
"""How far the time at which a message says that it was issued may lie from now."""

STATEMENT: Final = "This signs you in, and does nothing else."


class SignIn:
    """Makes challenges, checks proofs, and issues sessions."""

    def __init__(self, core: Link, feed: AccessFeed, keys: SessionKeys, settings: GatewaySettings) -> None:
        """Ask ``feed`` who belongs where; write through ``core`` who signs up."""
        self._core = core
        self._feed = feed
        self.sessions = Sessions(core, feed, keys, settings.session_limit)
        self._domains = SignInDomains(settings)
        self._nonces = Nonces(core, keys)
        self._is_open = settings.signup == "open"

    def challenge(self, asked: ChallengeRequest, reached: Reached) -> Challenge:
        """Return what to sign.

        Raises:
            SignInRefused: if somebody asks who cannot sign, or by a name that is not ours.
        """
        now, domain = now_ms(), self._domains.of_host(reached.host, port=reached.port)
        nonce = self._nonces.issue(now_ms=now)
        if isinstance(asked, EthereumChallenge):
            message = _siwe_text(asked, domain, nonce, now)
        else:
            did = _substrate_did(asked.address) if isinstance(asked, SubstrateChallenge) else _did(asked.did)
            message = challenge_text(domain, did.text, nonce)
        return Challenge(message=message, nonce=nonce.text, domain=domain, expires_at_ms=nonce.good_until_ms)

    async def sign_in(self, shown: SignInProof, reached: Reached) -> SignedIn:
        """Check a proof, and issue a session for whoever it proves.

        Raises:
            SignInRefused: if it proves nothing, or whoever it proves has no account here.
            BusError: if it cannot be known now; the nonce may be spent.
        """
        if isinstance(shown, EthereumProof):
            did = await self._ethereum(shown, reached)
        else:
            did = await self._challenged(shown, reached)
        who = person(did)
        memberships = await self._memberships(who, did)
        chosen = next((one for one in memberships if shown.account in (None, one.account)), None)
        if chosen is None:
            message = f"{who} does not belong to account {shown.account}, but to {_listed(memberships)}."
            raise SignInRefused(message, code="not_a_member", status=FORBIDDEN)
        log.info("%s has signed in for account %s", who, chosen.account)
        return self.sessions.begin(who, chosen, memberships)

    # --- proofs --------------------------------------------------------------------------------------------------

    async def _ethereum(self, shown: EthereumProof, reached: Reached) -> Did:
        now, signature = now_ms(), read_hex(shown.signature, "signature")
        message = parse_siwe(shown.message)
        if not self._domains.is_ours(message.domain, port=reached.port):
            raise self._domains.refusal(message.domain)
        check_uri(message)
        check_times(message, now_ms=now, issued_within_ms=ISSUED_WITHIN_MS)
        await self._nonces.spend(self._nonces.check(message.nonce, now_ms=now), now_ms=now)
        if not is_signed(message, shown.message, signature):
            raise _unsigned()
        return did_pkh(EvmAccount(message.address), f"eip155:{message.chain_id}")

    async def _challenged(self, shown: SubstrateProof | DidProof, reached: Reached) -> Did:
        now = now_ms()
        proof = Proof(
            algorithm=shown.algorithm,
            public_key=None if shown.public_key is None else read_hex(shown.public_key, "public key"),
            signature=read_hex(shown.signature, "signature"),
        )
        did = _substrate_did(shown.address) if isinstance(shown, SubstrateProof) else _did(shown.did)
        domain = self._domains.of_host(reached.host, port=reached.port)
        nonce = self._nonces.check(shown.nonce, now_ms=now)
        await self._nonces.spend(nonce, now_ms=now)
        if not subject_signed(did, proof, challenge_text(domain, did.text, nonce).encode()):
            raise _unsigned()
        return did

    # --- accounts ------------------------------------------------------------------------------------------------

    async def _memberships(self, who: str, did: Did) -> tuple[Membership, ...]:
        """The accounts of somebody who has proven who that is; one is opened where sign-up is open."""
        access = self._feed.access
        if not access.memberships(who):
            await self._feed.look()
        if not access.memberships(who) and self._is_open:
            await self._sign_up(who)
        if not (memberships := access.memberships(who)):
            log.info("%s (%s) has proven who that is, and belongs to no account", who, did)
            message = f"{who} belongs to no account here: ask who runs this mesh to add you to one."
            raise SignInRefused(message, code="not_a_member", status=FORBIDDEN)
        return memberships

    async def _sign_up(self, who: str) -> None:
        account = parse_did(who).fingerprint
        try:
            sequence = await AccessWriter(self._core, by=who).open(account, owner=who)
        except AccountError:
            # Opened by another gateway in this moment; or long ago, and its owner was put out.
            await self._feed.look()
            return
        log.info("%s has signed up as account %s", who, account)
        await self._feed.reach(sequence)


def check_uri(message: SiweMessage) -> None:
    """Return if the page that a message names is one of the domain that it names.

    Raises:
        SignInRefused: if it is not.
    """
    parts = urlsplit(message.uri)
    if parts.scheme.lower() not in {"http", "https"} or parts.netloc.lower() != message.domain.lower():
        raise SignInRefused("The URI of the message is not one of its domain.", code="foreign_domain", status=FORBIDDEN)
    if message.scheme not in (None, parts.scheme):
        raise SignInRefused(
            "The URI of the message has another scheme than its domain.", code="foreign_domain", status=FORBIDDEN
        )


def _siwe_text(asked: EthereumChallenge, domain: str, nonce: Nonce, now: int) -> str:
    try:
        address = parse_address(asked.address)
    except IdentityError as error:
        raise SignInRefused(str(error), code="invalid_address", status=BAD_REQUEST) from error
    message = SiweMessage(
        domain=domain,
        address=address,
        statement=STATEMENT,
        uri=asked.uri or f"http://{domain}",
        chain_id=asked.chain_id,
        nonce=nonce.text,
        issued_at_ms=now,
        expires_at_ms=nonce.good_until_ms,
    )
    # What was asked for goes into a text that somebody signs: nothing may come of it that would not be taken back.
    parse_siwe(write_siwe(message))
    check_uri(message)
    return write_siwe(message)


def _substrate_did(address: str) -> Did:
    try:
        return did_peaq(SubstrateAccount(ss58.decode(address).account))
    except IdentityError as error:
        raise SignInRefused(str(error), code="invalid_address", status=BAD_REQUEST) from error


def _did(text: str) -> Did:
    try:
        return parse_did(text)
    except IdentityError as error:
        raise SignInRefused(str(error), code="invalid_did", status=BAD_REQUEST) from error


def _unsigned() -> SignInRefused:
    message = "The signature is not that of the account or key over this message: ask for another challenge."
    return SignInRefused(message, code="invalid_signature")


def _listed(memberships: tuple[Membership, ...]) -> str:
    return ", ".join(one.account for one in memberships)
