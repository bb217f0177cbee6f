"""EVM accounts: EIP-55's own vectors, messages signed by wallets, and an independent library as oracle."""

import pytest
from eth_keys.datatypes import PrivateKey as OraclePrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.errors import InvalidEncoding, InvalidKey
from mesh.identity.evm import checksum_address, evm_address, parse_address, recover_personal_sign, sign_personal
from mesh.identity.keys import PublicKey, SigningKey

EIP_55 = (
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x27b1fdb04752bbc536007a920d24acb045561c26",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
# The example of web3.js's documentation of eth.accounts.sign.
WALLET = SigningKey.from_secret(
    "secp256k1", bytes.fromhex("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318")
)
WALLET_ADDRESS = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"
SIGNED = bytes.fromhex(
    "b91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd"
    "6007e74cd82e037b800186422fc2da167c747ef045e5d18a5f5d4300f8e1a029"
    "1c"
)


@pytest.mark.parametrize("text", EIP_55)
def test_the_vectors_of_eip_55_hold(text: str) -> None:
    raw = bytes.fromhex(text[2:])
    assert checksum_address(raw) == text
    for spelling in (text, text.lower(), f"0x{text[2:].upper()}"):
        assert parse_address(spelling) == raw


@pytest.mark.parametrize("text", EIP_55[4:])
def test_a_checksum_that_does_not_fit_is_refused(text: str) -> None:
    at = next(place for place in range(2, 42) if text[place].isalpha())
    with pytest.raises(InvalidEncoding, match="letter case"):
        parse_address(text[:at] + text[at].swapcase() + text[at + 1 :])


@pytest.mark.parametrize(
    "text",
    ["", "0x", "0x" + "1" * 39, "0x" + "1" * 41, "1" * 42, "0x" + "g" * 40, "0x" + "\N{ARABIC-INDIC DIGIT ONE}" * 40],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidEncoding, match="not the address of an EVM account"):
        parse_address(text)


def test_a_trailing_newline_is_no_part_of_an_address() -> None:
    with pytest.raises(InvalidEncoding):
        parse_address(EIP_55[0] + "\n")


def test_wallets_sign_as_we_do() -> None:
    assert checksum_address(evm_address(WALLET.public)) == WALLET_ADDRESS
    assert sign_personal(WALLET, b"Some data") == SIGNED
    assert recover_personal_sign(b"Some data", SIGNED) == parse_address(WALLET_ADDRESS)


@given(st.integers(1, ORDER - 1), st.binary(max_size=300))
@settings(max_examples=30)
def test_addresses_and_recovery_are_those_of_an_independent_library(number: int, message: bytes) -> None:
    key = SigningKey.from_secret("secp256k1", number.to_bytes(32, "big"))
    theirs = OraclePrivateKey(key.secret)
    assert checksum_address(evm_address(key.public)) == theirs.public_key.to_checksum_address()
    prefixed = b"\x19Ethereum Signed Message:\n" + str(len(message)).encode() + message
    signature = theirs.sign_msg(prefixed).to_bytes()
    assert recover_personal_sign(message, signature) == evm_address(key.public)


@pytest.mark.parametrize("last", [0, 1, 27, 28])
def test_both_ways_of_counting_the_recovery_id_are_read(last: int) -> None:
    fits = last in (1, 28)
    found = recover_personal_sign(b"Some data", SIGNED[:64] + bytes([last]))
    assert (found == parse_address(WALLET_ADDRESS)) is fits


@pytest.mark.parametrize("last", [2, 3, 26, 29, 30, 31, 35, 36, 37, 38, 255])
def test_other_recovery_ids_are_refused(last: int) -> None:
    assert recover_personal_sign(b"Some data", SIGNED[:64] + bytes([last])) is None


def test_the_high_s_is_refused() -> None:
    high = ORDER - int.from_bytes(SIGNED[32:64], "big")
    for last in (0, 1, 27, 28):
        assert recover_personal_sign(b"Some data", SIGNED[:32] + high.to_bytes(32, "big") + bytes([last])) is None


@given(st.binary(max_size=100), st.binary(max_size=70) | st.binary(min_size=65, max_size=65))
def test_no_bytes_make_recovering_raise(message: bytes, signature: bytes) -> None:
    found = recover_personal_sign(message, signature)
    assert found is None or (len(found) == 20 and len(signature) == 65)


def test_keys_of_other_curves_have_no_evm_account() -> None:
    for algorithm in ("ed25519", "sr25519"):
        key = SigningKey.generate(algorithm)
        with pytest.raises(InvalidKey, match=f"not of {algorithm}"):
            evm_address(key.public)
        with pytest.raises(InvalidKey, match=f"not with {algorithm}"):
            sign_personal(key, b"message")


def test_bytes_that_are_no_point_have_no_evm_account() -> None:
    with pytest.raises(InvalidKey, match="no point"):
        evm_address(PublicKey("secp256k1", b"\x02" + b"\xff" * 32))
