"""DIDs: what is accepted, in which one spelling, and why the rest is refused."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import IdentityError, InvalidDid
from mesh.identity import ss58
from mesh.identity.accounts import EvmAccount, SubstrateAccount, evm_account, substrate_account
from mesh.identity.did import Did, did_key, did_peaq, did_pkh, parse_did
from mesh.identity.keys import Algorithm, PublicKey, SigningKey
from streams.tokens import is_token

ALICE = bytes.fromhex("d43593c715fdd31c61141abd04a99fd6822c8558854ccde39a5684e7a56da27d")
ALICE_SS58 = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
ADDRESS = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
POLKADOT = "polkadot:91b171bb158e2d3848fa23a9f1c25182"
KEY = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"


# The vectors of the method did:key at the W3C's credentials group.
@pytest.mark.parametrize(
    ("algorithm", "secret", "text"),
    [
        ("ed25519", "00" * 32, "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"),
        ("ed25519", "00" * 31 + "01", "did:key:z6MkjchhfUsD6mmvni8mCdXHw216Xrm9bQe2mBH1P5RDjVJG"),
        ("ed25519", "00" * 31 + "02", "did:key:z6MknGc3ocHs3zdPiJbnaaqDi58NGb4pk1Sp9WxWufuXSdxf"),
        (
            "secp256k1",
            "9085d2bef69286a6cbb51623c8fa258629945cd55ca705cc4e66700396894e0c",
            "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
        ),
        (
            "secp256k1",
            "f0f4df55a2b3ff13051ea814a8f24ad00f2e469af73c363ac7e9fb999a9072ed",
            "did:key:zQ3shtxV1FrJfhqE1dvxYRcCknWNjHc3c5X1y3ZSoPDi2aur2",
        ),
    ],
)
def test_the_vectors_of_did_key_hold(algorithm: Algorithm, secret: str, text: str) -> None:
    key = SigningKey.from_secret(algorithm, bytes.fromhex(secret)).public
    assert str(did_key(key)) == text
    assert parse_did(text) == Did(text=text, method="key", subject=key)


# The development accounts of Substrate, as `subkey inspect //Alice` prints them.
@pytest.mark.parametrize(
    ("algorithm", "secret", "address"),
    [
        ("sr25519", "e5be9a5092b81bca64be81d212e7f2f9eba183bb7a90954f7b76361f6edb5c0a", ALICE_SS58),
        (
            "ed25519",
            "abf8e5bdbe30c65656c0a3cbd181ff8a56294a69dfedd27982aace4a76909115",
            "5FA9nQDVg267DEd8m1ZypXLBnvN7SFxYwV7ndqSYGiN9TTpu",
        ),
        (
            "secp256k1",
            "cb6df9de1efca7a3998a8ead4e02159d5fa99c3e0d4fd6432667390bb4726854",
            "5C7C2Z5sWbytvHpuLTvzKunnnRwQxft1jiqrLD5rhucQ5S9X",
        ),
    ],
)
def test_keys_have_the_accounts_that_substrate_gives_them(algorithm: Algorithm, secret: str, address: str) -> None:
    account = substrate_account(SigningKey.from_secret(algorithm, bytes.fromhex(secret)).public)
    assert str(did_peaq(account)) == f"did:peaq:{address}"
    assert parse_did(f"did:peaq:{address}").subject == account


def accounts() -> st.SearchStrategy[SubstrateAccount]:
    return st.binary(min_size=32, max_size=32).map(SubstrateAccount)


def evm_accounts() -> st.SearchStrategy[EvmAccount]:
    return st.binary(min_size=20, max_size=20).map(EvmAccount)


def dids() -> st.SearchStrategy[Did]:
    raw = st.binary(min_size=32, max_size=32)
    keys = st.one_of(
        raw.map(lambda raw: PublicKey("ed25519", raw)),
        raw.map(lambda raw: PublicKey("sr25519", raw)),
        raw.map(lambda raw: PublicKey("secp256k1", b"\x03" + raw)),
    )
    chains = st.integers(1, 10**32 - 1).map(lambda number: f"eip155:{number}")
    geneses = st.binary(min_size=16, max_size=16).map(lambda raw: f"polkadot:{raw.hex()}")
    return st.one_of(
        keys.map(did_key),
        (accounts() | evm_accounts()).map(did_peaq),
        st.builds(did_pkh, evm_accounts(), chains),
        st.builds(did_pkh, accounts(), geneses),
    )


@given(dids())
def test_every_did_comes_back_from_its_text(did: Did) -> None:
    assert parse_did(did.text) == did
    assert str(did) == did.text


@given(evm_accounts(), st.sampled_from([str.lower, lambda text: "0x" + text[2:].upper()]))
def test_the_letter_case_of_an_address_makes_no_other_did(account: EvmAccount, change: Callable[[str], str]) -> None:
    spelled = change(str(account))
    for did, prefix in ((did_peaq(account), "did:peaq:"), (did_pkh(account, "eip155:1"), "did:pkh:eip155:1:")):
        again = parse_did(f"{prefix}{spelled}")
        assert (again, again.fingerprint, hash(again)) == (did, did.fingerprint, hash(did))
        assert again.text.endswith(str(account))


@given(accounts(), st.integers(0, 16383))
def test_the_network_in_an_address_makes_no_other_did_pkh(account: SubstrateAccount, prefix: int) -> None:
    assert parse_did(f"did:pkh:{POLKADOT}:{ss58.encode(account.account, prefix)}") == did_pkh(account, POLKADOT)


def test_a_did_peaq_for_another_network_is_refused_with_the_right_spelling() -> None:
    with pytest.raises(InvalidDid, match=f"written for network 0; on peaq this account is did:peaq:{ALICE_SS58}"):
        parse_did(f"did:peaq:{ss58.encode(ALICE, 0)}")


def test_a_machine_id_is_refused_by_name() -> None:
    with pytest.raises(InvalidDid, match="a machine id of digits is not a DID that can sign"):
        parse_did("did:peaq:12345678901234567890123456789012345678901234567")


REFUSED = {
    "": "is not a DID",
    "did": "is not a DID",
    "did:key": "is not a DID",
    "did:key:": "is not a DID",
    "DID:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp": "is not a DID",
    f" {KEY}": "is not a DID",
    f"{KEY}\n": "not a character of base58",
    f"{KEY}#key-1": "names a part of a DID document",
    f"{KEY}?versionId=1": "names a part of a DID document",
    f"{KEY}/path": "names a part of a DID document",
    "did:KEY:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp": "a method that is not known here",
    "did:web:example.org": "a method that is not known here",
    # X25519, P-256 and an ed25519 key cut short.
    "did:key:z6LSbysY2xFMRpGMhb7tFTLMpeuPRaqaWM1yECx2AtzE3KCc": "no key of ed25519, sr25519, secp256k1",
    "did:key:zDnaerDaTF5BXEavCrfRZEk316dpbLsfPDZ3WJ5hRTPFU2169": "no key of ed25519, sr25519, secp256k1",
    KEY[:-1]: "this has 31|no key of",
    KEY.replace(":z6", ":m6"): "would begin with z",
    f"did:key:z{ALICE_SS58}": "no key of",
    "did:pkh:eip155": "a chain that is not known here",
    f"did:pkh:{ADDRESS}": "a chain that is not known here",
    "did:pkh:solana:4sGjMW1sUnHzSxGspuhpqLDx6wiyjNtZ:CKg5d12Jhpej1JqtmxLJgaFqqeYjxgPqToJ4LBdvG9Ev": "a chain that is",
    f"did:pkh:eip155:{ADDRESS}": "names no chain|a chain that is",
    f"did:pkh:eip155:01:{ADDRESS}": "names no chain",
    f"did:pkh:eip155:0:{ADDRESS}": "names no chain",
    f"did:pkh:eip155:-1:{ADDRESS}": "names no chain",
    f"did:pkh:eip155:{'9' * 33}:{ADDRESS}": "names no chain",
    f"did:pkh:eip155:1:{ALICE_SS58}": "not the address of an EVM account",
    f"did:pkh:eip155:1:{ADDRESS.replace('A', 'a')}": "letter case",
    f"did:pkh:eip155:1:{ADDRESS}:1": "not the address",
    f"did:pkh:{POLKADOT}:{ADDRESS}": "not a character of base58",
    f"did:pkh:{POLKADOT.upper()}:{ALICE_SS58}": "a chain that is not known here",
    f"did:pkh:{POLKADOT[:-1]}:{ALICE_SS58}": "names no chain",
    f"did:pkh:polkadot:0x91b171bb158e2d3848fa23a9f1c251:{ALICE_SS58}": "names no chain",
    f"did:peaq:{ALICE_SS58[:-1]}": "not the SS58 address",
    f"did:peaq:{ALICE_SS58.replace('G', 'H', 1)}": "does not fit",
    f"did:peaq:{ADDRESS[:-1]}": "not the address of an EVM account",
    f"did:peaq:{ADDRESS.replace('0x', '0X')}": "not a character of base58",
    "did:peaq:0": "machine id",
    "did:peaq:\N{ARABIC-INDIC DIGIT ONE}": "not a character of base58",
}


@pytest.mark.parametrize(("text", "reason"), REFUSED.items())
def test_what_is_no_did_of_ours_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidDid, match=reason):
        parse_did(text)


def test_a_long_text_is_not_even_read() -> None:
    with pytest.raises(InvalidDid, match="a DID of 1000008 characters is too long: 512 at most"):
        parse_did("did:key:" + "z" * 1_000_000)
    with pytest.raises(InvalidDid, match="too many") as refused:
        parse_did("did:key:z" + "1" * 503)
    assert len(str(refused.value)) < 400


@given(st.text(max_size=600), st.sampled_from(["", "did:", "did:key:", "did:pkh:", "did:pkh:eip155:1:", "did:peaq:"]))
def test_any_text_is_a_did_or_refused(text: str, start: str) -> None:
    try:
        did = parse_did(start + text)
    except IdentityError:
        return
    assert parse_did(did.text) == did


@given(dids(), st.integers(0, 100), st.characters(codec="ascii"))
def test_a_did_with_one_character_changed_is_another_or_none(did: Did, at: int, character: str) -> None:
    place = at % len(did.text)
    changed = did.text[:place] + character + did.text[place + 1 :]
    try:
        other = parse_did(changed)
    except InvalidDid:
        return
    # The letter case of one letter breaks the checksum, except where all letters of the address are of one case.
    assert (other == did) == (changed == did.text or (changed.lower() == did.text.lower() and "0x" in did.text))


@given(dids())
def test_a_fingerprint_can_stand_in_a_subject(did: Did) -> None:
    assert is_token(did.fingerprint)
    assert len(did.fingerprint) == 20
    assert did.fingerprint == did.fingerprint.lower()


def test_fingerprints_never_change() -> None:
    # They stand in stored subjects.
    assert parse_did(KEY).fingerprint == "vwioygh5lydtlmpf52vv"
    assert parse_did(f"did:peaq:{ADDRESS.lower()}").fingerprint == "7lyd2l4hubx3xsqhck46"


def test_one_key_has_a_did_of_each_kind() -> None:
    key = SigningKey.generate("secp256k1").public
    made = {
        did_key(key),
        did_peaq(substrate_account(key)),
        did_peaq(evm_account(key)),
        did_pkh(evm_account(key), "eip155:1"),
        did_pkh(substrate_account(key), POLKADOT),
    }
    assert len({did.fingerprint for did in made}) == 5


@pytest.mark.parametrize("chain", ["", "eip155:", "eip155:x", "eip155:1\n", "bip122:1", POLKADOT])
def test_an_evm_account_is_on_an_evm_chain(chain: str) -> None:
    with pytest.raises(InvalidDid, match="names no chain of such an account"):
        did_pkh(EvmAccount(bytes(20)), chain)
