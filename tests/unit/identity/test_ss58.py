"""SS58: known addresses, an independent library as oracle, and nothing damaged gets through."""

import hashlib

import base58 as oracle_base58
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scalecodec.utils.ss58 import ss58_encode

from mesh.errors import InvalidEncoding
from mesh.identity import ss58

ALICE = bytes.fromhex("d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d")
ALICE_ADDRESSES = {
    42: "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY",
    0: "15oF4uVJwmo4TdGW7VfQxNLavjCXviqxT9S1MgbjMNHr6Sp5",
    2: "HNZata7iMYWmk5RvZRTiAsSDhV8366zq2YGb3tLH5Upf74F",
}
ACCOUNTS = st.binary(min_size=32, max_size=32)


@pytest.mark.parametrize(("prefix", "text"), ALICE_ADDRESSES.items())
def test_alice_is_where_everybody_knows_her(prefix: int, text: str) -> None:
    assert ss58.encode(ALICE, prefix) == text
    assert ss58.decode(text) == ss58.Address(ALICE, prefix)


# 46 and 47 are reserved, and the independent library refuses them.
@given(ACCOUNTS, st.integers(0, 16383).filter(lambda prefix: prefix not in (46, 47)))
def test_every_network_is_written_as_an_independent_library_does(account: bytes, prefix: int) -> None:
    text = ss58.encode(account, prefix)
    assert text == ss58_encode(account, ss58_format=prefix)
    assert ss58.decode(text) == ss58.Address(account, prefix)


@given(ACCOUNTS, st.integers(0, 46), st.characters(min_codepoint=48, max_codepoint=122))
def test_an_address_with_one_character_changed_is_refused(account: bytes, at: int, character: str) -> None:
    text = ss58.encode(account)
    changed = text[:at] + character + text[at + 1 :]
    if changed != text:
        with pytest.raises(InvalidEncoding):
            ss58.decode(changed)


@given(st.binary(max_size=90))
def test_any_bytes_in_base58_are_an_address_or_refused(raw: bytes) -> None:
    text = oracle_base58.b58encode(raw).decode()
    with pytest.raises(InvalidEncoding):
        ss58.decode(text)


def with_checksum(body: bytes) -> str:
    return oracle_base58.b58encode(body + hashlib.blake2b(b"SS58PRE" + body).digest()[:2]).decode()


def test_a_network_number_below_64_in_two_bytes_is_refused() -> None:
    # 42 written as a number of two bytes: the same account would have two addresses.
    with pytest.raises(InvalidEncoding, match="does not write the number"):
        ss58.decode(with_checksum(bytes([0x40 | 42 >> 2, (42 & 3) << 6]) + ALICE))


def test_a_first_byte_above_127_is_refused() -> None:
    with pytest.raises(InvalidEncoding, match="above 127"):
        ss58.decode(with_checksum(b"\xed\x01" + ALICE))


@pytest.mark.parametrize("length", [1, 8, 20, 31, 33])
def test_accounts_of_other_lengths_are_refused(length: int) -> None:
    with pytest.raises(InvalidEncoding, match="32 bytes"):
        ss58.encode(bytes(length))
    with pytest.raises(InvalidEncoding, match="32 bytes"):
        ss58.decode(with_checksum(b"\x2a" + bytes(length)))


@pytest.mark.parametrize("prefix", [-1, 16384])
def test_there_are_no_other_networks(prefix: int) -> None:
    with pytest.raises(InvalidEncoding, match="no network"):
        ss58.encode(ALICE, prefix)
