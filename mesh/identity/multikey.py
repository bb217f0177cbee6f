"""Public keys as DIDs and DID documents write them: the four spellings of ``publicKeyMultibase``.

``z`` and base58 of a multicodec number and the key is the standard one (W3C Multikey, `did:key`). Documents on peaq
also have bare hex, ``z`` and an SS58 address, and ``eip155:<chain>:<address>``.
"""

from __future__ import annotations

import re
from typing import Final

from mesh.errors import IdentityError, InvalidEncoding, InvalidKey
from mesh.identity import base58, ss58
from mesh.identity.accounts import EvmAccount
from mesh.identity.evm import parse_address
from mesh.identity.keys import Algorithm, PublicKey

_CODES: Final[dict[Algorithm, bytes]] = {
    "ed25519": b"\xed\x01",
    "sr25519": b"\xef\x01",
    "secp256k1": b"\xe7\x01",
}
"""Multicodec's numbers as varints."""

_ALGORITHMS: Final[dict[bytes, Algorithm]] = {code: algorithm for algorithm, code in _CODES.items()}

METHOD_ALGORITHMS: Final[dict[str, Algorithm]] = {
    "Ed25519VerificationKey2020": "ed25519",
    "Sr25519VerificationKey2020": "sr25519",
    "EcdsaSecp256k1RecoveryMethod2020": "secp256k1",
}
"""The types of verification methods, and what their keys are."""

_MULTIBASE: Final = "z"
_CODE_BYTES: Final = 2
_MAX_CHARACTERS: Final = 256
_HEX: Final = re.compile(r"(?:0x)?((?:[0-9a-fA-F]{2})+)")
_EIP155: Final = re.compile(r"eip155:[1-9][0-9]{0,31}:(.*)")
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")


def encode_multikey(key: PublicKey) -> str:
    """Write a key as W3C Multikey does, which is also how it stands in a `did:key`."""
    return _MULTIBASE + base58.encode(_CODES[key.algorithm] + key.raw)


def decode_multikey(text: str) -> PublicKey:
    """Read a key that says itself of which algorithm it is: ``z`` and base58 of multicodec number and key.

    Raises:
        InvalidKey: if it is none, or of an algorithm that is not known here.
    """
    if not text.startswith(_MULTIBASE):
        raise InvalidKey(f"{_shown(text)} is no key in base58btc: it would begin with z")
    try:
        raw = base58.decode(text[1:])
    except InvalidEncoding as error:
        raise InvalidKey(str(error)) from error
    algorithm = _ALGORITHMS.get(raw[:_CODE_BYTES])
    if algorithm is None:
        raise InvalidKey(f"{_shown(text)} is no key of {', '.join(_CODES)}: its multicodec number is another")
    return PublicKey(algorithm, raw[_CODE_BYTES:])


def read_multibase(text: str, method_type: str) -> PublicKey | EvmAccount:
    """Read the ``publicKeyMultibase`` of a verification method in any of its four spellings.

    ``method_type`` says what hex digits and an SS58 address are, and must not contradict what the key says itself.

    Raises:
        InvalidKey: if type or spelling are unknown, they contradict each other, or the text is damaged.
    """
    algorithm = METHOD_ALGORITHMS.get(method_type)
    if algorithm is None:
        raise InvalidKey(f"{_shown(method_type)} is no type of key known here: use {', '.join(METHOD_ALGORITHMS)}")
    if len(text) > _MAX_CHARACTERS:
        raise InvalidKey(f"a key of {len(text)} characters is too long")
    try:
        key = _read(text, algorithm)
    except InvalidKey:
        raise
    except IdentityError as error:
        raise InvalidKey(str(error)) from error
    found = "secp256k1" if isinstance(key, EvmAccount) else key.algorithm
    if found != algorithm:
        raise InvalidKey(f"a {method_type} holds a key of {algorithm}, this one is of {found}")
    return key


def _read(text: str, algorithm: Algorithm) -> PublicKey | EvmAccount:
    if account := _EIP155.fullmatch(text):
        return EvmAccount(parse_address(account[1]))
    if _ADDRESS.fullmatch(text):
        return EvmAccount(parse_address(text))
    if digits := _HEX.fullmatch(text):
        return PublicKey(algorithm, bytes.fromhex(digits[1]))
    if not text.startswith(_MULTIBASE):
        raise InvalidKey(f"{_shown(text)} is no key in hex, base58btc, SS58 or as eip155:<chain>:<address>")
    # No SS58 address begins with a byte as high as the multicodec numbers do, so only one reading is possible.
    if base58.decode(text[1:])[:_CODE_BYTES] in _ALGORITHMS:
        return decode_multikey(text)
    address = ss58.decode(text[1:])
    if algorithm == "secp256k1":
        raise InvalidKey("an SS58 address is no key of secp256k1, only the hash of one")
    return PublicKey(algorithm, address.account)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}…")
