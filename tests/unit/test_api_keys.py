"""API keys as text, and one name for one person."""

import hashlib

import pytest

from mesh.access.api_keys import ShownKey, new_key, parse_key
from mesh.access.credentials_check import is_credential
from mesh.access.people import parse_person
from mesh.errors import InvalidDid
from mesh.identity.accounts import substrate_account
from mesh.identity.did import did_key
from mesh.identity.keys import SigningKey

EVM = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
ALICE = substrate_account(SigningKey("sr25519", bytes(range(32))).public)


def test_a_key_is_read_back_and_only_its_digest_would_be_stored() -> None:
    key = new_key()
    assert parse_key(key.text) == key
    assert key.text == f"ig3_{key.key_id}_{key.secret}"
    assert key.digest == hashlib.sha256(key.secret.encode()).hexdigest()
    assert is_credential(key.text)


def test_no_two_keys_are_alike_and_none_shows_its_secret() -> None:
    keys = [new_key() for _ in range(100)]
    assert len({key.key_id for key in keys}) == len({key.secret for key in keys}) == 100
    assert keys[0].secret not in f"{keys[0]!r} {keys[0]}"


@pytest.mark.parametrize(
    "change",
    [str.upper, lambda text: text[:-1], lambda text: f"{text}a", lambda text: f"{text}\n", lambda text: f" {text}"],
)
def test_what_is_not_written_like_a_key_is_none(change) -> None:
    assert parse_key(change(new_key().text)) is None


def test_a_key_with_digits_that_base32_does_not_have_is_none() -> None:
    key = new_key()
    assert parse_key(ShownKey(key_id=key.key_id, secret=f"{key.secret[:-1]}1").text) is None


@pytest.mark.parametrize("text", ["unused", "sk-proj-abc", "", "Bearer", "a.b.c", "eyJhbGciOiJFZERTQSJ9"])
def test_other_bearers_are_not_ours_to_check(text: str) -> None:
    assert not is_credential(text)


@pytest.mark.parametrize(
    "spelling",
    [
        f"did:pkh:eip155:1:{EVM}",
        f"did:pkh:eip155:3338:{EVM}",
        f"did:pkh:eip155:1:{EVM.lower()}",
        f"did:peaq:{EVM}",
    ],
)
def test_every_spelling_of_an_evm_account_is_one_person(spelling: str) -> None:
    assert parse_person(spelling) == f"did:pkh:eip155:1:{EVM}"


def test_every_spelling_of_a_substrate_account_is_one_person() -> None:
    on_polkadot = f"did:pkh:polkadot:91b171bb158e2d3848fa23a9f1c25182:{ALICE}"
    assert parse_person(on_polkadot) == parse_person(f"did:peaq:{ALICE}") == f"did:peaq:{ALICE}"


def test_a_key_is_its_own_person() -> None:
    did = did_key(SigningKey("ed25519", bytes(32)).public).text
    assert parse_person(did) == did


def test_what_is_no_did_is_nobody() -> None:
    with pytest.raises(InvalidDid):
        parse_person("ada@example.org")
