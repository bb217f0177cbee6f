"""Where the chain keeps the document of a DID: an account, and the names under which it may stand."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from mesh.errors import InvalidDid
from mesh.identity.accounts import EvmAccount, SubstrateAccount
from mesh.identity.peaq.options import DEFAULT_ATTRIBUTE, MAX_NAME_BYTES

if TYPE_CHECKING:
    from mesh.identity.did import Did

_HASH_BYTES: Final = 32


class Place(NamedTuple):
    """An account of 32 bytes, and the names to try, the likeliest first."""

    account: bytes
    names: tuple[str, ...]


def place_of(did: Did, attribute: str = DEFAULT_ATTRIBUTE) -> Place:
    """Return where the document of a `did:peaq` lies; ``{address}`` in the name becomes the account's.

    A name is hashed, so its letters count: an EVM account is looked for with the checksum in its letters, and without.

    Raises:
        InvalidDid: if it is of another method, or the name gets longer than the chain takes.
    """
    match did.subject:
        case SubstrateAccount() as account if did.method == "peaq":
            place = Place(account.account, (attribute.replace("{address}", str(account)),))
        case EvmAccount() as account if did.method == "peaq":
            spellings = dict.fromkeys(
                attribute.replace("{address}", text) for text in (str(account), str(account).lower())
            )
            place = Place(blake2_256(b"evm:" + account.address), tuple(spellings))
        case _:
            raise InvalidDid(f"{did} has no document on the chain: only did:peaq has")
    if any(len(name.encode()) > MAX_NAME_BYTES for name in place.names):
        raise InvalidDid(f"the attribute name {place.names[0]!r} is too long: {MAX_NAME_BYTES} bytes at most")
    return place


def blake2_256(data: bytes) -> bytes:
    """Hash as the chain does."""
    return hashlib.blake2b(data, digest_size=_HASH_BYTES).digest()
