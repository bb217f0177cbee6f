"""Sessions as tokens: one form, one algorithm, keys that are changed. Tampering: identity/test_mutated_proofs."""

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nacl.signing import SigningKey

from mesh.access import session_keys
from mesh.access.session_keys import FILE, SESSION_S, SKEW_S, SessionKeys
from mesh.access.session_tokens import AUDIENCE, issue_session, looks_like_token, read_session
from mesh.errors import CredentialRefused, CredentialsError

NOW_S = 1_790_000_000
DID = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"


@pytest.fixture
def keys(tmp_path: Path) -> SessionKeys:
    return SessionKeys.load_or_create(tmp_path)


def token_of(keys: SessionKeys, now_s: int = NOW_S) -> str:
    return issue_session(keys, did=DID, account="acme", role="member", now_s=now_s)[0]


def part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def parts_of(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, body, _ = token.split(".")
    return msgspec.json.decode(base64.urlsafe_b64decode(header + "==")), msgspec.json.decode(
        base64.urlsafe_b64decode(body + "==")
    )


def signed(keys: SessionKeys, header: object, body: object) -> str:
    """A token with a good signature, whatever it says."""
    text = f"{part(header)}.{part(body)}"
    return f"{text}.{part(keys.sign(keys.kid, text.encode()))}"


def refused(keys: SessionKeys, token: str, now_s: int = NOW_S) -> str:
    with pytest.raises(CredentialRefused) as caught:
        read_session(keys, token, now_s=now_s)
    return caught.value.reason


def test_a_session_says_who_for_which_account_and_for_how_long(keys: SessionKeys) -> None:
    token, issued = issue_session(keys, did=DID, account="acme", role="member", now_s=NOW_S)
    session = read_session(keys, token, now_s=NOW_S + SESSION_S - 1)
    assert session == issued
    assert (session.sub, session.account, session.role, session.aud) == (DID, "acme", "member", AUDIENCE)
    assert (session.iat, session.exp) == (NOW_S, NOW_S + SESSION_S)
    assert issue_session(keys, did=DID, account="acme", role="member", now_s=NOW_S)[1].jti != session.jti
    assert looks_like_token(token)


def test_a_token_is_a_jwt_for_everybody_else_too(keys: SessionKeys) -> None:
    token = token_of(keys)
    header, body = parts_of(token)
    assert header == {"alg": "EdDSA", "kid": keys.kid, "typ": "JWT"}
    assert set(body) == {"iss", "aud", "sub", "account", "role", "iat", "exp", "jti", "sid", "auth_time"}
    key = keys.verifying(header["kid"])
    assert key is not None
    text, _, signature = token.rpartition(".")
    key.verify(text.encode(), base64.urlsafe_b64decode(signature + "=="))


def test_a_session_ends(keys: SessionKeys) -> None:
    assert "is over" in refused(keys, token_of(keys), NOW_S + SESSION_S)


@pytest.mark.parametrize(
    "change",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "ES256"},
        {"alg": "eddsa"},
        {"kid": "unknown"},
        {"kid": None},
        {"typ": "at+jwt"},
        {"crit": ["exp"]},
        {"jwk": {"kty": "OKP"}},
    ],
    ids=str,
)
def test_a_header_that_is_not_ours_is_refused(keys: SessionKeys, change: dict[str, object]) -> None:
    header, body = parts_of(token_of(keys))
    refused(keys, signed(keys, header | change, body))


@pytest.mark.parametrize(
    "change",
    [
        {"aud": "ig3:bus"},
        {"aud": [AUDIENCE]},
        {"iss": "ig3:another"},
        {"role": "root"},
        {"iat": NOW_S + SKEW_S + 1, "exp": NOW_S + SKEW_S + 2},
        {"exp": NOW_S + SESSION_S + 1},
        {"exp": "9999999999"},
        {"exp": None},
        {"nbf": NOW_S},
        {"admin": True},
    ],
    ids=str,
)
def test_claims_that_are_not_those_of_a_session_are_refused(keys: SessionKeys, change: dict[str, object]) -> None:
    header, body = parts_of(token_of(keys))
    read_session(keys, signed(keys, header, body), now_s=NOW_S)
    refused(keys, signed(keys, header, body | change))


@pytest.mark.parametrize("claim", ["iss", "aud", "sub", "account", "role", "iat", "exp", "jti", "sid", "auth_time"])
def test_a_claim_that_is_missing_is_not_made_up(keys: SessionKeys, claim: str) -> None:
    header, body = parts_of(token_of(keys))
    del body[claim]
    refused(keys, signed(keys, header, body))


def test_a_token_without_a_signature_or_with_one_by_the_public_key_is_refused(keys: SessionKeys) -> None:
    header, body = parts_of(token_of(keys))
    public = keys.verifying(keys.kid)
    assert public is not None
    for alg in ("none", "HS256", "EdDSA"):
        text = f"{part(header | {'alg': alg})}.{part(body)}"
        mac = hmac.new(bytes(public), text.encode(), hashlib.sha256).digest()
        for signature in ("", part(mac), part(mac + mac)):
            refused(keys, f"{text}.{signature}")


def test_a_token_of_another_mesh_is_refused(keys: SessionKeys, tmp_path: Path) -> None:
    other = SessionKeys.load_or_create(tmp_path / "other")
    assert other.issuer != keys.issuer
    assert "names a key" in refused(keys, token_of(other))
    # Also where it borrows the name of our key.
    header, body = parts_of(token_of(other))
    text = f"{part(header | {'kid': keys.kid})}.{part(body)}"
    assert "signature" in refused(keys, f"{text}.{part(other.sign(other.kid, text.encode()))}")


@pytest.mark.parametrize("text", ["", ".", "..", "a.b.c", "eyJ.eyJ.eyJ", "." * 5000, "é.é.é", "\0", "eyJ" * 10_000])
def test_text_that_is_no_token_is_refused(keys: SessionKeys, text: str) -> None:
    refused(keys, text)


# --- the keys ----------------------------------------------------------------------------------------------------


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Have the clock of the file stand ``seconds`` from now."""
    real = session_keys.time.time()
    monkeypatch.setattr(session_keys.time, "time", lambda: real + seconds)


def test_a_new_key_signs_at_once_and_the_old_one_verifies_until_its_sessions_are_over(
    keys: SessionKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, before = keys.kid, token_of(keys)
    second = keys.rotate()
    assert (keys.kid, second != first) == (second, True)
    assert read_session(keys, before, now_s=NOW_S).sub == DID
    assert parts_of(token_of(keys))[0]["kid"] == second
    pass_time(monkeypatch, SESSION_S + SKEW_S + 2)
    keys.rotate()
    assert keys.verifying(first) is None
    assert keys.verifying(second) is not None
    assert "names a key" in refused(keys, before)


def test_rotating_often_in_a_row_ends_no_session(keys: SessionKeys) -> None:
    tokens = []
    for _ in range(5):
        tokens.append(token_of(keys))
        keys.rotate()
    assert [read_session(keys, token, now_s=NOW_S).sub for token in tokens] == [DID] * 5


def test_all_sessions_can_be_ended_at_once(keys: SessionKeys) -> None:
    before, generation = token_of(keys), keys.generation
    keys.rotate(end_all=True)
    assert keys.generation != generation
    refused(keys, before)


def test_another_process_takes_up_a_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_keys, "_LOOK_EVERY_S", 0)
    one, other = SessionKeys.load_or_create(tmp_path), SessionKeys.load_or_create(tmp_path)
    assert (one.kid, one.issuer, one.nonce_secret) == (other.kid, other.issuer, other.nonce_secret)
    fresh = one.rotate()
    assert other.kid == fresh
    assert read_session(other, token_of(one), now_s=NOW_S).sub == DID


@pytest.mark.parametrize("damage", ["gone", "cut", "shared"])
def test_keys_that_cannot_be_read_any_more_stay_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(session_keys, "_LOOK_EVERY_S", 0)
    keys, path = SessionKeys.load_or_create(tmp_path), tmp_path / FILE
    token = token_of(keys)
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-20])
        path.chmod(0o644 if damage == "shared" else 0o600)
    assert read_session(keys, token, now_s=NOW_S).sub == DID
    assert "stay as they were" in caplog.text


def test_the_file_is_closed_to_others_and_one_that_is_open_is_refused(tmp_path: Path) -> None:
    SessionKeys.load_or_create(tmp_path)
    path = tmp_path / FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    path.chmod(0o640)
    with pytest.raises(CredentialsError, match="chmod 600"):
        SessionKeys.load_or_create(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"mesh": "m", "nonce_secret": "", "keys": []}', b"\xff"])
def test_a_damaged_file_is_refused_and_says_nothing_of_what_is_in_it(tmp_path: Path, content: bytes) -> None:
    keys = SessionKeys.load_or_create(tmp_path)
    path = tmp_path / FILE
    path.write_bytes(content)
    with pytest.raises(CredentialsError, match="is damaged") as caught:
        SessionKeys.load_or_create(tmp_path)
    assert keys.kid not in str(caught.value)


def test_a_key_of_another_length_is_refused(tmp_path: Path) -> None:
    SessionKeys.load_or_create(tmp_path)
    path = tmp_path / FILE
    held = json.loads(path.read_text())
    held["keys"][0]["seed"] = base64.b64encode(bytes(SigningKey.generate())[:31]).decode()
    path.write_text(json.dumps(held))
    with pytest.raises(CredentialsError, match="is damaged"):
        SessionKeys.load_or_create(tmp_path)
