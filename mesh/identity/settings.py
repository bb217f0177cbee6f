"""Whose identities a mesh accepts, and how it reads those that stand on a chain.

Keys and ciphers are imported where they are needed: every command reads all settings, and few need those.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from mesh.errors import InvalidDid
from mesh.identity.peaq.options import DEFAULT_ATTRIBUTE, MAX_NAME_BYTES, CacheOptions, ChainOptions
from streams.topology import CHAIN_KEPT

if TYPE_CHECKING:
    from mesh.identity.peaq.rules import ResolverOptions, Trust

_GENESIS: Final = re.compile(r"0x[0-9a-f]{64}")
_ADDRESS_CHARACTERS: Final = 48
_MOST_FOUND: Final = timedelta(minutes=5)
_MOST_MISSING: Final = timedelta(seconds=30)


class IdentitySettings(Struct, frozen=True, kw_only=True):
    """Whose identities are accepted. Without peaq nothing here asks a chain."""

    did_methods: Annotated[
        tuple[Literal["key", "pkh", "peaq"], ...],
        Meta(description="Methods of DIDs that are accepted: key, pkh, peaq.", examples=["METHOD,..."]),
    ] = ("key", "pkh")
    peaq_endpoints: Annotated[
        tuple[str, ...],
        Meta(
            description="Nodes of the chain, tried in this order: two or more, so that one may fail.",
            examples=["wss://HOST,..."],
            # Providers put keys into paths.
            extra={"secret": True},
        ),
    ] = ()
    peaq_genesis: Annotated[
        str,
        Meta(
            description="Hash of the chain's first block; endpoints of another chain are refused.", examples=["0x..."]
        ),
    ] = ""
    peaq_attribute: Annotated[
        str,
        Meta(description="Name under which documents are kept; {address} becomes the account's.", examples=["NAME"]),
    ] = DEFAULT_ATTRIBUTE
    peaq_issuers: Annotated[
        tuple[str, ...],
        Meta(description="DIDs whose signature on a document counts, besides its subject's own.", examples=["DID,..."]),
    ] = ()
    peaq_entry: Annotated[
        Literal["required", "optional"],
        Meta(description="Whether a DID needs an entry on the chain also where its own key signs."),
    ] = "required"
    peaq_head_age: Annotated[
        timedelta, Meta(description="How old an endpoint's last finalised block may be, else it is refused.")
    ] = timedelta(minutes=5)
    peaq_timeout: Annotated[
        timedelta, Meta(description="How long one endpoint may take to answer before the next is tried.")
    ] = timedelta(seconds=5)
    did_cache: Annotated[
        timedelta, Meta(description="How long what the chain said of a DID is used without asking again; at most 5m.")
    ] = timedelta(minutes=5)
    did_cache_missing: Annotated[
        timedelta, Meta(description="The same where the chain has nothing of it, and for refusals; at most 30s.")
    ] = timedelta(seconds=30)
    did_stale: Annotated[
        timedelta,
        Meta(
            description="How old it may be for DIDs that were proven once, while no endpoint can be used; at most 24h."
        ),
    ] = timedelta(hours=1)

    def __post_init__(self) -> None:
        """Check what a type cannot say."""
        self._check_chain()
        if "{address}" not in self.peaq_attribute:
            raise ValueError("peaq_attribute needs {address}: each account has a document of its own")
        if len(self.peaq_attribute.replace("{address}", "5" * _ADDRESS_CHARACTERS).encode()) > MAX_NAME_BYTES:
            raise ValueError(f"peaq_attribute with an address in it is too long: {MAX_NAME_BYTES} bytes at most")
        if (
            not timedelta() <= self.did_cache <= _MOST_FOUND
            or not timedelta() <= self.did_cache_missing <= _MOST_MISSING
        ):
            raise ValueError("did_cache is 5m at most, did_cache_missing 30s: a removed DID must not work much longer")
        if not timedelta() <= self.did_stale <= CHAIN_KEPT:
            raise ValueError("did_stale is 24h at most: a DID that was removed in an outage must not work for ever")
        if self.peaq_issuers:
            self._check_issuers()

    @property
    def chain(self) -> ChainOptions | None:
        """Which chain is read; None: none."""
        if not self.peaq_endpoints:
            return None
        return ChainOptions(
            endpoints=self.peaq_endpoints,
            genesis=self.peaq_genesis,
            max_head_age_s=self.peaq_head_age.total_seconds(),
            timeout_s=self.peaq_timeout.total_seconds(),
        )

    @property
    def cache(self) -> CacheOptions:
        """How long readings of the chain serve."""
        return CacheOptions(
            found_s=self.did_cache.total_seconds(),
            missing_s=self.did_cache_missing.total_seconds(),
            stale_s=self.did_stale.total_seconds(),
            wait_s=2 * self.peaq_timeout.total_seconds(),
        )

    @property
    def resolver(self) -> ResolverOptions:
        """What is accepted."""
        from mesh.identity.peaq.rules import ResolverOptions

        return ResolverOptions(
            methods=self.did_methods,
            attribute=self.peaq_attribute,
            trust=self.trust,
            missing_s=self.did_cache_missing.total_seconds(),
        )

    @property
    def trust(self) -> Trust:
        """Whose word about documents counts."""
        from mesh.identity.did import parse_did
        from mesh.identity.peaq.rules import Trust

        issuers = frozenset(parse_did(issuer) for issuer in self.peaq_issuers)
        return Trust(issuers=issuers, entry_required=self.peaq_entry == "required")

    def _check_issuers(self) -> None:
        from mesh.identity.did import parse_did

        for issuer in self.peaq_issuers:
            try:
                parse_did(issuer)
            except InvalidDid as error:
                raise ValueError(f"peaq_issuers: {error}") from error

    def _check_chain(self) -> None:
        if "peaq" in self.did_methods and not self.peaq_endpoints:
            raise ValueError("did_methods names peaq: give peaq_endpoints and peaq_genesis as well")
        for endpoint in self.peaq_endpoints:
            if urlsplit(endpoint).scheme not in {"ws", "wss"} or not urlsplit(endpoint).hostname:
                raise ValueError(
                    "peaq_endpoints are websocket URLs: wss://HOST, or ws://HOST:PORT within a private network"
                )
        if self.peaq_endpoints and _GENESIS.fullmatch(self.peaq_genesis) is None:
            raise ValueError(
                "peaq_genesis is the hash of the chain's first block: 0x and 64 hex digits in small letters"
            )
