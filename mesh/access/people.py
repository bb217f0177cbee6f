"""One name for one person, however the DID is written.

An account of a chain has the same key on every chain of its kind, so the chain says nothing about who it is: all
spellings of an EVM account are ``did:pkh:eip155:1:<address>`` here, all of a Substrate account ``did:peaq:<SS58>``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mesh.identity.accounts import EvmAccount, SubstrateAccount
from mesh.identity.did import did_peaq, did_pkh, parse_did

if TYPE_CHECKING:
    from mesh.identity.did import Did

_ETHEREUM: Final = "eip155:1"


def person(did: Did) -> str:
    """Return the DID under which somebody is a member of accounts."""
    match did.subject:
        case EvmAccount() as account:
            return did_pkh(account, _ETHEREUM).text
        case SubstrateAccount() as account:
            return did_peaq(account).text
        case _:
            return did.text


def parse_person(text: str) -> str:
    """Return the DID under which somebody is a member of accounts.

    Raises:
        InvalidDid: if the text is no DID that can sign.
    """
    return person(parse_did(text))
