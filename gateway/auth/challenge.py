"""Nonces of sign-ins, and the text that a DID signs.

A nonce is issued without being kept: 128 random bits, the time until which it is good, and a mark (MAC) that only
gateways of this mesh can make. It is spent by the one message that its subject in NONCES takes, whichever gateway is
asked, and before any signature is looked at.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.auth.refusal import BAD_REQUEST, SignInRefused
from gateway.auth.siwe import write_time
from mesh.errors import SubjectTaken
from streams import subjects
from streams.codec import encode
from streams.events import NonceSpent
from streams.tokens import Token

if TYPE_CHECKING:
    from mesh.access.session_keys import SessionKeys
    from mesh.bus.link import Link

NONCE_MS: Final = 5 * 60_000
"""How long a nonce is good. NONCES remembers twice as long, so clocks of gateways may differ by as much again."""

_RANDOM_BYTES: Final = 16
_MARK_BYTES: Final = 16
_SHAPE: Final = re.compile(r"([0-9a-f]{32})([0-9a-f]{12})([0-9a-f]{32})")
"""Random, Unix milliseconds, mark: hex digits in lower case only, so that a nonce has one spelling."""

_PURPOSE: Final = b"ig3-nonce"
_HEX: Final = re.compile(r"(?:0x)?((?:[0-9a-fA-F]{2})+)")
_LONGEST_HEX: Final = 512


class Nonce(NamedTuple):
    """One nonce, and until when it is good."""

    text: str
    good_until_ms: int


class Nonces:
    """Issues, checks and spends nonces."""

    def __init__(self, core: Link, keys: SessionKeys) -> None:
        """Spend through ``core``; mark with the secret in ``keys``."""
        self._core = core
        self._keys = keys

    def issue(self, *, now_ms: int) -> Nonce:
        """Make a nonce."""
        good_until_ms = now_ms + NONCE_MS
        body = f"{secrets.token_hex(_RANDOM_BYTES)}{good_until_ms:012x}"
        return Nonce(body + self._mark(body), good_until_ms)

    def check(self, text: str, *, now_ms: int) -> Nonce:
        """Return a nonce that is ours and still good, spent or not.

        Raises:
            SignInRefused: if it is not.
        """
        found = _SHAPE.fullmatch(text)
        if found is None or not hmac.compare_digest(self._mark(found[1] + found[2]), found[3]):
            raise SignInRefused("This nonce is not one of ours: ask for a challenge.", code="unknown_nonce")
        good_until_ms = int(found[2], 16)
        if now_ms >= good_until_ms:
            raise SignInRefused("This nonce is too old: ask for another challenge.", code="expired_nonce")
        return Nonce(text, good_until_ms)

    async def spend(self, nonce: Nonce, *, now_ms: int) -> None:
        """Use a nonce up, for good or ill.

        Raises:
            SignInRefused: if it was before.
            BusError: if it is not known whether it was; ask for another one.
        """
        digest = Token(hashlib.sha256(nonce.text.encode()).hexdigest())
        try:
            await self._core.append(subjects.nonce(digest), encode(NonceSpent(at_ms=now_ms)))
        except SubjectTaken as error:
            message = "This nonce was used before: ask for another challenge."
            raise SignInRefused(message, code="nonce_spent") from error

    def _mark(self, body: str) -> str:
        secret = self._keys.nonce_secret
        return hashlib.blake2b(body.encode(), key=secret, person=_PURPOSE, digest_size=_MARK_BYTES).hexdigest()


def challenge_text(domain: str, did: str, nonce: Nonce) -> str:
    """Return what somebody signs to prove that a DID is theirs. Whoever knows the nonce can write it."""
    return (
        f"{domain} asks you to prove that you are\n{did}\n\n"
        "This signs you in, and does nothing else.\n\n"
        f"Nonce: {nonce.text}\n"
        f"Good until: {write_time(nonce.good_until_ms)}"
    )


def read_hex(text: str, what: str) -> bytes:
    """Read the hex digits of a signature or a key, with or without 0x.

    Raises:
        SignInRefused: if they are none.
    """
    found = _HEX.fullmatch(text) if len(text) <= _LONGEST_HEX else None
    if found is None:
        message = f"The {what} must be hex digits, as wallets give it: 0x…"
        raise SignInRefused(message, code="invalid_value", status=BAD_REQUEST)
    return bytes.fromhex(found[1])
