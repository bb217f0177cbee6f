"""Who signed a challenge: the one question about DIDs that a mesh asks, for every method that it accepts."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from mesh.errors import NotProven, ResolverUnavailable
from mesh.identity.did import Did
from mesh.identity.peaq.chain import ChainReader
from mesh.identity.peaq.place import place_of
from mesh.identity.peaq.readings import Readings
from mesh.identity.peaq.rules import Proven, Refusal, ResolverOptions, judge
from mesh.identity.subject_proof import subject_signed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from mesh.identity.peaq.connection import Reading
    from mesh.identity.peaq.readings import ReadingStore, Seen
    from mesh.identity.settings import IdentitySettings
    from mesh.identity.subject_proof import Proof


class Authenticated(Struct, frozen=True, kw_only=True):
    """Somebody proved to hold a DID."""

    did: Did
    how: Literal["subject", "document"]
    """By the DID's own key, or by one that its document lists."""
    key_id: str = ""
    """Of the document's key, as the document names it."""
    unconfirmed: str = ""
    """Why the chain cannot be asked, if it rests on an older reading because of that: worth an event."""
    age_s: float = 0.0
    """How long ago the chain was read; 0 where it was not needed."""
    read_at_ms: int = 0
    """When the chain was read, in Unix milliseconds; 0 where it was not needed."""

    @property
    def is_stale(self) -> bool:
        """Whether it rests on an older reading because the chain cannot be asked."""
        return bool(self.unconfirmed)


class DidResolver:
    """Finds out who signed a challenge. `did:key` and `did:pkh` need no chain, and no ``readings``."""

    def __init__(self, options: ResolverOptions, readings: Readings | None = None) -> None:
        """Ask nothing yet."""
        self._options = options
        self._readings = readings

    def share(self, store: ReadingStore) -> None:
        """Remember known DIDs where they outlast this process."""
        if self._readings is not None:
            self._readings.share(store)

    async def authenticate(self, did: Did, proof: Proof, message: bytes) -> Authenticated:
        """Return how the holder of a DID proved it over a message, whose freshness is the caller's matter.

        Raises:
            NotProven: if it is not proven; ``rule`` says why, for the operator.
            ResolverUnavailable: if the chain would have to be asked and cannot be.
        """
        if did.method not in self._options.methods:
            raise _not_proven(did, Refusal(rule="method_not_accepted"))
        if did.method != "peaq":
            if not subject_signed(did, proof, message):
                raise _not_proven(did, Refusal(rule="not_signed_by_subject"))
            return Authenticated(did=did, how="subject")
        is_subject = subject_signed(did, proof, message)
        if is_subject and not self._options.trust.entry_required:
            return Authenticated(did=did, how="subject")
        return await self._by_chain(did, proof, message, is_subject=is_subject)

    async def _by_chain(self, did: Did, proof: Proof, message: bytes, *, is_subject: bool) -> Authenticated:
        def judged(reading: Reading) -> Proven | Refusal:
            trust, now_s = self._options.trust, time.time()
            return judge(did, reading, proof, message, is_subject=is_subject, trust=trust, now_s=now_s)

        seen = await self.look_up(did)
        verdict = judged(seen.reading)
        if isinstance(verdict, Refusal) and seen.age_s > self._options.missing_s:
            # The document may have been written anew since.
            seen = await self.look_up(did, at_most_s=self._options.missing_s)
            verdict = judged(seen.reading)
        if isinstance(verdict, Refusal):
            raise _not_proven(did, verdict)
        self._known(did)
        return Authenticated(
            did=did,
            how=verdict.how,
            key_id=verdict.key_id,
            unconfirmed=seen.unconfirmed,
            age_s=seen.age_s,
            read_at_ms=seen.read_at_ms,
        )

    async def look_up(self, did: Did, *, at_most_s: float = float("inf")) -> Seen:
        """Return what the chain says of a `did:peaq`.

        Raises:
            InvalidDid: if it is of another method.
            ResolverUnavailable: if the chain cannot be asked and nothing kept may serve.
        """
        if self._readings is None:
            raise ResolverUnavailable("no chain is configured: set peaq_endpoints and peaq_genesis")
        return await self._readings.get(did.text, place_of(did, self._options.attribute), at_most_s=at_most_s)

    def _known(self, did: Did) -> None:
        if self._readings is not None:
            self._readings.keep(did.text)


@contextlib.asynccontextmanager
async def did_resolver(settings: IdentitySettings) -> AsyncGenerator[DidResolver]:
    """Make the resolver of a process, connected to a chain if one is configured; use it in an ``async with``.

    Connecting begins at once, in the background: the first to ask need not wait for all of it.
    """
    if settings.chain is None:
        yield DidResolver(settings.resolver)
        return
    reader = ChainReader(settings.chain)
    readings = Readings(reader, settings.cache)
    reader.connect_soon()
    try:
        yield DidResolver(settings.resolver, readings)
    finally:
        await readings.close()
        await reader.close()


def _not_proven(did: Did, refusal: Refusal) -> NotProven:
    return NotProven(f"{did} is not proven: {refusal}", rule=refusal.rule)
