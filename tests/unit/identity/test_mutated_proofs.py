"""Proofs that somebody has changed, ten thousand of each kind: none of them gets anybody in.

A device that connects, a wallet that signs in (EIP-4361), the token of a session, a document on peaq. What is believed
must be what was signed, word for word; what nobody signs (spaces, another way to write the same bytes) may differ.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.auth.refusal import SignInRefused
from gateway.auth.siwe import SiweMessage, is_signed, parse_siwe, write_siwe
from mesh.access.session_keys import SessionKeys
from mesh.access.session_tokens import issue_session, read_session
from mesh.errors import CredentialRefused, IdentityError
from mesh.identity.accounts import evm_account, substrate_account
from mesh.identity.device_login import DeviceLogin, read_login
from mesh.identity.did import Did, did_key, did_peaq, did_pkh, parse_did
from mesh.identity.evm import sign_personal
from mesh.identity.keys import SigningKey
from mesh.identity.multikey import encode_multikey
from mesh.identity.peaq.connection import Entry, Reading
from mesh.identity.peaq.document import decode_document
from mesh.identity.peaq.rules import Proven, Trust, judge
from mesh.identity.subject_proof import prove, subject_signed
from streams.tokens import Token
from tests.peaq_documents import document, sign

MUTATIONS = 10_000
NOW_S = 1_790_000_000
AUDIENCE, NONCE = "mesh.example.org:4222", "q2Zr0nT7Xb1cVw"
LETTERS = b'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n\0:"{}'
ED, SR, EC = (SigningKey(name, bytes(range(1, 33))) for name in ("ed25519", "sr25519", "secp256k1"))

AT_ONCE = 20
NUMBERS = st.binary(min_size=6 * AT_ONCE, max_size=6 * AT_ONCE).map(
    lambda drawn: [int.from_bytes(drawn[at : at + 6], "big") for at in range(0, len(drawn), 6)]
)
"""Several changes of one draw: the drawing would else take most of the time."""


class Chosen:
    """What one number chooses, piece by piece."""

    def __init__(self, number: int) -> None:
        self._left = number

    def of(self, count: int) -> int:
        self._left, found = divmod(self._left, count)
        return found

    def change(self, whole: bytes) -> bytes:
        """Return other bytes than ``whole``."""
        kind, at = self.of(6), self.of(len(whole))
        head, tail = whole[:at], whole[at:]
        match kind:
            case 0:
                return head + bytes([tail[0] ^ (1 + self.of(255))]) + tail[1:]
            case 1:
                others = LETTERS.replace(tail[:1], b"")
                return head + others[self.of(len(others)) :][:1] + tail[1:]
            case 2:
                return head + LETTERS[self.of(len(LETTERS)) :][:1] + tail
            case 3:
                return head + tail[1:]
            case 4:
                return head
            case _:
                return whole + whole[at:]


def try_ten_thousand(check: Callable[[Chosen], None]) -> None:
    tried = 0

    @settings(max_examples=MUTATIONS // AT_ONCE, database=None)
    @given(NUMBERS)
    def try_some(numbers: list[int]) -> None:
        nonlocal tried
        for number in numbers:
            check(Chosen(number))
            tried += 1

    try_some()
    assert tried >= MUTATIONS


DEVICES: list[tuple[Did, SigningKey]] = [
    (did_key(ED.public), ED),
    (did_key(SR.public), SR),
    (did_key(EC.public), EC),
    (did_pkh(evm_account(EC.public), "eip155:3338"), EC),
    (did_peaq(substrate_account(SR.public)), SR),
    (did_peaq(substrate_account(EC.public)), EC),
    (did_peaq(evm_account(EC.public)), EC),
]


def shown_by(did: Did, key: SigningKey) -> tuple[bytes, bytes, bytes]:
    login = DeviceLogin(did, key, Token("attic"))
    return login.token(AUDIENCE).encode(), login.sign(AUDIENCE, NONCE), NONCE.encode()


LOGINS = [shown_by(did, key) for did, key in DEVICES]


def believed_of(parts: tuple[bytes, ...]) -> tuple[bytes, bytes] | None:
    """What a device is believed to have signed, and its signature."""
    text, signature, nonce = (part.decode("latin-1") for part in parts)
    try:
        shown = read_login(text, signature, nonce)
        did = parse_did(shown.token.did)
    except IdentityError:
        return None
    return (shown.message, shown.proof.signature) if subject_signed(did, shown.proof, shown.message) else None


SIGNED = [believed_of(login) for login in LOGINS]


def test_a_device_that_shows_something_else_than_it_signed() -> None:
    assert None not in SIGNED

    def check(chosen: Chosen) -> None:
        which, part = chosen.of(len(LOGINS)), chosen.of(3)
        parts = list(LOGINS[which])
        parts[part] = chosen.change(parts[part])
        assert believed_of(tuple(parts)) in (None, SIGNED[which])

    try_ten_thousand(check)


MESSAGE = write_siwe(
    SiweMessage(
        domain="chat.example.org",
        address=evm_account(EC.public).address,
        statement="This signs you in, and does nothing else.",
        uri="https://chat.example.org/",
        chain_id=3338,
        nonce="a1b2c3d4e5f6g7h8",
        issued_at_ms=NOW_S * 1000,
        expires_at_ms=NOW_S * 1000 + 300_000,
    )
).encode()
BY_WALLET = sign_personal(EC, MESSAGE)


def wallet_is_believed(text: bytes, signature: bytes) -> bool:
    try:
        message = parse_siwe(text.decode("utf-8", "replace"))
    except SignInRefused:
        return False
    return is_signed(message, text.decode("utf-8", "replace"), signature)


def test_a_wallets_message_or_signature_that_was_changed() -> None:
    assert wallet_is_believed(MESSAGE, BY_WALLET)

    def check(chosen: Chosen) -> None:
        if chosen.of(2):
            assert not wallet_is_believed(chosen.change(MESSAGE), BY_WALLET)
            return
        changed = chosen.change(BY_WALLET)
        # Wallets write the last byte in two ways.
        assert not wallet_is_believed(MESSAGE, changed) or (len(changed), changed[:-1]) == (65, BY_WALLET[:-1])

    try_ten_thousand(check)


def test_a_sessions_token_that_was_changed(tmp_path: Path) -> None:
    keys = SessionKeys.load_or_create(tmp_path)
    token, issued = issue_session(keys, did=did_key(ED.public).text, account="acme", role="member", now_s=NOW_S)
    assert read_session(keys, token, now_s=NOW_S) == issued

    def check(chosen: Chosen) -> None:
        with pytest.raises(CredentialRefused):
            read_session(keys, chosen.change(token.encode()).decode("latin-1"), now_s=NOW_S)

    try_ten_thousand(check)


OWNER = did_peaq(substrate_account(SR.public))
ON_CHAIN: bytes = sign(
    document(OWNER, ("#device", "Ed25519VerificationKey2020", encode_multikey(ED.public))),
    OWNER,
    SR,
    kind="Sr25519VerificationKey2020",
).SerializeToString()
BY_DEVICE = prove(did_key(ED.public), ED, NONCE.encode())


def document_is_believed(raw: bytes) -> bool:
    entry = Entry(name=OWNER.text, value=raw.hex().encode(), validity=2000)
    reading = Reading(entry=entry, block=1000, block_at_s=NOW_S)
    found = judge(OWNER, reading, BY_DEVICE, NONCE.encode(), is_subject=False, trust=Trust(), now_s=NOW_S)
    return isinstance(found, Proven)


def test_a_document_on_the_chain_that_was_changed() -> None:
    assert document_is_believed(ON_CHAIN)
    meant = decode_document(ON_CHAIN.hex().encode())

    def check(chosen: Chosen) -> None:
        changed = chosen.change(ON_CHAIN)
        assert not document_is_believed(changed) or decode_document(changed.hex().encode()) == meant

    try_ten_thousand(check)
