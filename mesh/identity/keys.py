"""Keys of the three algorithms that Substrate chains know, and signing and verifying with them.

What is signed is the message itself, never a text about it. ECDSA hashes it with BLAKE2b-256 as Substrate does;
Ethereum's own way of signing is in ``mesh.identity.evm``.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol, cast

import sr25519  # pyright: ignore[reportMissingTypeStubs] - it has none: see _Sr25519
from msgspec import Struct
from nacl.exceptions import CryptoError
from nacl.signing import SigningKey as Ed25519Key
from nacl.signing import VerifyKey

from mesh.errors import InvalidKey
from mesh.identity import secp256k1

if TYPE_CHECKING:
    from collections.abc import Callable

Algorithm = Literal["ed25519", "sr25519", "secp256k1"]

SECRET_BYTES: Final = 32
"""A secret of every algorithm: a seed, or for secp256k1 the number itself."""

_KEY_BYTES: Final[dict[Algorithm, int]] = {"ed25519": 32, "sr25519": 32, "secp256k1": 33}
_COMPRESSED: Final = (b"\x02", b"\x03")


class PublicKey(Struct, frozen=True):
    """A public key as its raw bytes; that of secp256k1 compressed.

    Whether it is a point of its curve shows when it verifies: nothing verifies under one that is not.
    """

    algorithm: Algorithm
    raw: bytes

    def __post_init__(self) -> None:
        """Check the length.

        Raises:
            InvalidKey: if it is not that of the algorithm, or a secp256k1 key is not compressed.
        """
        expected = _KEY_BYTES.get(self.algorithm)
        if expected is None:
            raise InvalidKey(f"{self.algorithm!r} is no algorithm: use {', '.join(_KEY_BYTES)}")
        if len(self.raw) != expected:
            raise InvalidKey(f"a public key of {self.algorithm} has {expected} bytes, this has {len(self.raw)}")
        if self.algorithm == "secp256k1" and not self.raw.startswith(_COMPRESSED):
            raise InvalidKey("a public key of secp256k1 is given compressed: it begins with the byte 2 or 3")


class SigningKey:
    """A secret key. Nothing but ``secret`` gives the secret away."""

    __slots__ = ("_secret", "_sign", "public")

    public: PublicKey

    def __init__(self, algorithm: Algorithm, secret: bytes) -> None:
        """Use ``from_secret`` or ``generate``."""
        scheme = _SCHEMES[algorithm]
        raw, self._sign = scheme.open(secret)
        self.public = PublicKey(algorithm, raw)
        self._secret = secret

    @staticmethod
    def generate(algorithm: Algorithm) -> SigningKey:
        """Make a fresh key."""
        # One in 2**128 secrets is no key of secp256k1; that one raises.
        return SigningKey.from_secret(algorithm, os.urandom(SECRET_BYTES))

    @staticmethod
    def from_secret(algorithm: Algorithm, raw: bytes) -> SigningKey:
        """Take a secret of 32 bytes: the seed of ed25519, the mini secret of sr25519, the number of secp256k1.

        Raises:
            InvalidKey: if it is none; the text never shows it.
        """
        if algorithm not in _SCHEMES:
            raise InvalidKey(f"{algorithm!r} is no algorithm: use {', '.join(_SCHEMES)}")
        if len(raw) != SECRET_BYTES:
            raise InvalidKey(f"a secret key has {SECRET_BYTES} bytes, this has {len(raw)}")
        try:
            return SigningKey(algorithm, raw)
        except ValueError:
            raise InvalidKey(f"these {SECRET_BYTES} bytes are no secret key of {algorithm}") from None

    @property
    def secret(self) -> bytes:
        """The 32 bytes that ``from_secret`` takes. For sealing them into a file, and nothing else."""
        return self._secret

    def sign(self, message: bytes) -> bytes:
        """Sign: 64 bytes, or 65 for secp256k1 (r, s and the recovery id)."""
        return self._sign(message)

    def __repr__(self) -> str:
        """Name the algorithm alone: values end up in logs."""
        return f"SigningKey({self.public.algorithm})"


def verify(key: PublicKey, message: bytes, signature: bytes) -> bool:
    """Whether ``key`` signed the message. Malformed bytes are False, never an error.

    ed25519 is checked strictly (no key or commitment of small order, canonical numbers); ECDSA must have the low s.
    """
    return _SCHEMES[key.algorithm].verify(key.raw, message, signature)


class _Scheme(NamedTuple):
    """What differs between the algorithms. ``open`` makes the public key and the signer of a secret."""

    open: Callable[[bytes], tuple[bytes, Callable[[bytes], bytes]]]
    verify: Callable[[bytes, bytes, bytes], bool]


def _open_ed25519(secret: bytes) -> tuple[bytes, Callable[[bytes], bytes]]:
    key = Ed25519Key(secret)
    return bytes(key.verify_key), lambda message: key.sign(message).signature


def _verify_ed25519(key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        VerifyKey(key).verify(message, signature)
    except (CryptoError, ValueError):
        return False
    return True


class _Sr25519(Protocol):
    """What is used of the bindings. All of it raises ValueError on malformed bytes."""

    def pair_from_seed(self, seed: bytes, /) -> tuple[bytes, bytes]: ...
    def sign(self, pair: tuple[bytes, bytes], message: bytes, /) -> bytes: ...
    def verify(self, signature: bytes, message: bytes, key: bytes, /) -> bool: ...


_sr25519: Final = cast("_Sr25519", sr25519)


def _open_sr25519(secret: bytes) -> tuple[bytes, Callable[[bytes], bytes]]:
    pair = _sr25519.pair_from_seed(secret)
    return pair[0], lambda message: _sr25519.sign(pair, message)


def _verify_sr25519(key: bytes, message: bytes, signature: bytes) -> bool:
    # Under the neutral element, which is 32 zero bytes, anybody can sign anything.
    if not any(key):
        return False
    try:
        return _sr25519.verify(signature, message, key)
    except ValueError:
        return False


def _open_secp256k1(secret: bytes) -> tuple[bytes, Callable[[bytes], bytes]]:
    return secp256k1.public_key_of(secret), lambda message: secp256k1.sign(secret, _blake2b(message))


def _verify_secp256k1(key: bytes, message: bytes, signature: bytes) -> bool:
    return secp256k1.verify(key, _blake2b(message), signature)


def _blake2b(message: bytes) -> bytes:
    return hashlib.blake2b(message, digest_size=32).digest()


_SCHEMES: Final[dict[Algorithm, _Scheme]] = {
    "ed25519": _Scheme(_open_ed25519, _verify_ed25519),
    "sr25519": _Scheme(_open_sr25519, _verify_sr25519),
    "secp256k1": _Scheme(_open_secp256k1, _verify_secp256k1),
}
