"""DIDs that can sign here: `did:key`, `did:pkh` and `did:peaq`, read strictly and written in one way.

Two spellings of one DID give equal values: letter case of an EVM address and the network number of an SS58 address
say nothing about who it is. Sources: W3C DID core, the method `did:key`, the method `did:pkh` with CAIP-10.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from mesh.errors import IdentityError, InvalidDid
from mesh.identity import ss58
from mesh.identity.accounts import EvmAccount, SubstrateAccount
from mesh.identity.evm import parse_address
from mesh.identity.keys import PublicKey
from mesh.identity.multikey import decode_multikey, encode_multikey
from streams.tokens import Token, token

if TYPE_CHECKING:
    from collections.abc import Callable

Method = Literal["key", "pkh", "peaq"]

MAX_CHARACTERS: Final = 512

PEAQ_PREFIX: Final = ss58.SUBSTRATE
"""The SS58 prefix of peaq."""

_FINGERPRINT_CHARACTERS: Final = 20
_EIP155: Final = re.compile(r"eip155:([1-9][0-9]{0,31})")
_POLKADOT: Final = re.compile(r"polkadot:([0-9a-f]{32})")
_DIGITS: Final = re.compile(r"[0-9]+")
_KNOWN: Final = "use did:key:z…, did:pkh:eip155:<chain>:0x…, did:pkh:polkadot:<genesis>:<SS58>, did:peaq:<SS58> or 0x…"


class Did(Struct, frozen=True, kw_only=True):
    """A DID whose subject is a key or an account. Made by ``parse_did`` and the functions beside it."""

    text: str
    """The one way of writing it."""
    method: Method
    subject: PublicKey | SubstrateAccount | EvmAccount

    @property
    def fingerprint(self) -> Token:
        """A short name for subjects and for people: 100 bits of a SHA-256 of the text, in base32."""
        digest = hashlib.sha256(self.text.encode()).digest()
        return token(base64.b32encode(digest).decode().lower()[:_FINGERPRINT_CHARACTERS])

    def __str__(self) -> str:
        """Write it in its one way."""
        return self.text


def did_key(key: PublicKey) -> Did:
    """Return the `did:key` of a public key."""
    return Did(text=f"did:key:{encode_multikey(key)}", method="key", subject=key)


def did_peaq(account: SubstrateAccount | EvmAccount) -> Did:
    """Return the `did:peaq` of an account."""
    return Did(text=f"did:peaq:{account}", method="peaq", subject=account)


def did_pkh(account: SubstrateAccount | EvmAccount, chain: str) -> Did:
    """Return the `did:pkh` of an account on a chain.

    ``chain`` is a CAIP-2 name: `eip155:<number>` for an EVM account, `polkadot:<first 32 hex digits of the genesis
    hash>` for the account of a Substrate chain.

    Raises:
        InvalidDid: if the chain is not named so.
    """
    form = _EIP155 if isinstance(account, EvmAccount) else _POLKADOT
    if form.fullmatch(chain) is None:
        raise InvalidDid(
            f"{_shown(chain)} names no chain of such an account: use eip155:<number> for an EVM account, "
            "polkadot:<first 32 hex digits of the genesis hash> for one of Substrate"
        )
    return Did(text=f"did:pkh:{chain}:{account}", method="pkh", subject=account)


def parse_did(text: str) -> Did:
    """Read a DID.

    Raises:
        InvalidDid: if it is none, of a method that is not known here, or names nobody that could sign.
    """
    if len(text) > MAX_CHARACTERS:
        raise InvalidDid(f"a DID of {len(text)} characters is too long: {MAX_CHARACTERS} at most")
    scheme, _, rest = text.partition(":")
    method, _, name = rest.partition(":")
    if scheme != "did" or not name:
        raise InvalidDid(f"{_shown(text)} is not a DID: {_KNOWN}")
    if set(text) & set("/?#"):
        raise InvalidDid(f"{_shown(text)} names a part of a DID document: leave out all from the first / ? or #")
    read = _METHODS.get(method)
    if read is None:
        raise InvalidDid(f"{_shown(text)} is of a method that is not known here: {_KNOWN}")
    try:
        return read(name)
    except InvalidDid:
        raise
    except IdentityError as error:
        raise InvalidDid(f"{_shown(text)} names nobody: {error}") from error


def _read_key(name: str) -> Did:
    return did_key(decode_multikey(name))


def _read_pkh(name: str) -> Did:
    chain, _, address = name.rpartition(":")
    if chain.startswith("eip155:"):
        return did_pkh(EvmAccount(parse_address(address)), chain)
    if chain.startswith("polkadot:"):
        return did_pkh(SubstrateAccount(ss58.decode(address).account), chain)
    raise InvalidDid(f"{_shown(f'did:pkh:{name}')} is of a chain that is not known here: {_KNOWN}")


def _read_peaq(name: str) -> Did:
    if _DIGITS.fullmatch(name):
        raise InvalidDid(
            f"{_shown(f'did:peaq:{name}')}: a machine id of digits is not a DID that can sign; use that of its account"
        )
    if name.startswith("0x"):
        return did_peaq(EvmAccount(parse_address(name)))
    address = ss58.decode(name)
    did = did_peaq(SubstrateAccount(address.account))
    if address.prefix != PEAQ_PREFIX:
        raise InvalidDid(f"did:peaq:{name} is written for network {address.prefix}; on peaq this account is {did}")
    return did


def _shown(text: str) -> str:
    return repr(text if len(text) <= 120 else f"{text[:120]}…")


_METHODS: Final[dict[str, Callable[[str], Did]]] = {"key": _read_key, "pkh": _read_pkh, "peaq": _read_peaq}
