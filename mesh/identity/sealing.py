"""A secret sealed by a passphrase: XSalsa20-Poly1305 (NaCl's secretbox) under a key by Argon2id."""

from __future__ import annotations

import os
from typing import Annotated, Final

from msgspec import Meta, Struct
from nacl import pwhash
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from mesh.errors import KeyFileError, WrongPassphrase

_ARGON2ID: Final = pwhash.argon2id
_MAX_MEMORY_BYTES: Final = 1 << 30
_MAX_ROUNDS: Final = 16
_MAX_PASSPHRASE_BYTES: Final = 1024


class Cost(Struct, frozen=True, kw_only=True):
    """What guessing one passphrase costs. Bounded, because a file that is read says it: not all files are ours."""

    rounds: Annotated[int, Meta(ge=_ARGON2ID.OPSLIMIT_MIN, le=_MAX_ROUNDS)] = _ARGON2ID.OPSLIMIT_MODERATE
    memory_bytes: Annotated[int, Meta(ge=_ARGON2ID.MEMLIMIT_MIN, le=_MAX_MEMORY_BYTES)] = _ARGON2ID.MEMLIMIT_MODERATE


class Sealed(Struct, frozen=True, kw_only=True):
    """A sealed secret, and what is needed besides the passphrase to open it."""

    cost: Cost
    salt: Annotated[bytes, Meta(min_length=_ARGON2ID.SALTBYTES, max_length=_ARGON2ID.SALTBYTES)]
    box: Annotated[bytes, Meta(min_length=SecretBox.NONCE_SIZE + SecretBox.MACBYTES, max_length=1024)]
    """The nonce, and the secret with its authentication."""


def seal(secret: bytes, passphrase: str, cost: Cost) -> Sealed:
    """Seal a secret. With the default cost it takes most of a second and 256 MiB.

    Raises:
        WrongPassphrase: if the passphrase is empty or too long to be one.
        KeyFileError: if there is not the memory for it.
    """
    salt = os.urandom(_ARGON2ID.SALTBYTES)
    return Sealed(cost=cost, salt=salt, box=bytes(_box(passphrase, salt, cost).encrypt(secret)))


def unseal(sealed: Sealed, passphrase: str) -> bytes:
    """Open what ``seal`` has made.

    Raises:
        WrongPassphrase: if it is another passphrase. A damaged seal looks the same.
        KeyFileError: if there is not the memory for it.
    """
    box = _box(passphrase, sealed.salt, sealed.cost)
    try:
        return box.decrypt(sealed.box)
    except CryptoError:
        raise WrongPassphrase("the passphrase is another one, or the sealed key is damaged") from None


def _box(passphrase: str, salt: bytes, cost: Cost) -> SecretBox:
    raw = passphrase.encode(errors="surrogateescape")
    if not 0 < len(raw) <= _MAX_PASSPHRASE_BYTES:
        raise WrongPassphrase(f"a passphrase has 1 to {_MAX_PASSPHRASE_BYTES} bytes, this has {len(raw)}")
    try:
        key = _ARGON2ID.kdf(SecretBox.KEY_SIZE, raw, salt, opslimit=cost.rounds, memlimit=cost.memory_bytes)
    except (CryptoError, MemoryError):
        raise KeyFileError(
            f"a key from this passphrase takes {cost.memory_bytes >> 20} MiB of memory, and there is not so much free"
        ) from None
    return SecretBox(key)
