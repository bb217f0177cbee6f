"""Sessions as signed tokens: JWT (RFC 7519) in one form only, signed with Ed25519 (RFC 8037).

Nothing is negotiated: the header must be, field for field, what we write, and every part in its one way of writing.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec import Struct
from nacl.exceptions import CryptoError

from mesh.access.session_keys import SESSION_S, SKEW_S, SessionKeys
from mesh.base64url import write_base64url
from mesh.errors import CredentialRefused
from streams.access.events import Role

AUDIENCE: Final = "ig3:session"

_LONGEST: Final = 2048
_SIGNATURE_BYTES: Final = 64
_PARTS: Final = 3
_JTI_BYTES: Final = 12


class Session(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a token says. Times are Unix seconds."""

    iss: str
    aud: str
    sub: str
    """The DID of whoever has signed in."""
    account: str
    role: Role
    """What that was in the account at the time; what it is now, the account says."""
    iat: int
    exp: int
    jti: str
    sid: str
    """Of the sign-in: every token that was made of it has the same."""
    auth_time: int
    """When somebody signed in."""


class SignedInBefore(NamedTuple):
    """A sign-in of which another token is made."""

    session_id: str
    at_s: int


class _Header(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    alg: Literal["EdDSA"] = "EdDSA"
    kid: str
    typ: Literal["JWT"] = "JWT"


_read_header: Final = msgspec.json.Decoder(_Header).decode
_read_session: Final = msgspec.json.Decoder(Session).decode


def new_sign_in(now_s: int) -> SignedInBefore:
    """Begin a session that nobody has."""
    return SignedInBefore(secrets.token_hex(_JTI_BYTES), now_s)


def issue_session(
    keys: SessionKeys,
    *,
    did: str,
    account: str,
    role: Role,
    now_s: int,
    until_s: int | None = None,
    goes_on: SignedInBefore | None = None,
) -> tuple[str, Session]:
    """Sign a token; returns it and what it says.

    Args:
        keys: what signs.
        did: who has signed in.
        account: for which account.
        role: what that is there.
        now_s: the time.
        until_s: when the session is over at the latest, if that is sooner than usual.
        goes_on: the sign-in that it is made of; without, this is a new one.
    """
    began = goes_on or new_sign_in(now_s)
    usual_s = now_s + SESSION_S
    session = Session(
        iss=keys.issuer,
        aud=AUDIENCE,
        sub=did,
        account=account,
        role=role,
        iat=now_s,
        exp=usual_s if until_s is None else min(usual_s, until_s),
        jti=secrets.token_hex(_JTI_BYTES),
        sid=began.session_id,
        auth_time=began.at_s,
    )
    kid = keys.kid
    signed = b"%b.%b" % (
        write_base64url(msgspec.json.encode(_Header(kid=kid))),
        write_base64url(msgspec.json.encode(session)),
    )
    return (b"%b.%b" % (signed, write_base64url(keys.sign(kid, signed)))).decode(), session


def looks_like_token(text: str) -> bool:
    """Whether a text has the form of a JWT, ours or anybody's: such a one is never passed over."""
    return text.startswith("eyJ") and text.count(".") == _PARTS - 1


def read_session(keys: SessionKeys, text: str, *, now_s: int) -> Session:
    """Return what a token says.

    Raises:
        CredentialRefused: if it is not ours, was altered, or is over.
    """
    session = _verified(keys, text)
    if session.iss != keys.issuer or session.aud != AUDIENCE:
        raise _forged(f"it is for {session.aud[:80]!r} of {session.iss[:80]!r}")
    if session.iat > now_s + SKEW_S or session.exp - session.iat > SESSION_S:
        raise _forged("its times are not those of a session")
    check_time(session, now_s=now_s)
    return session


def kid_of(text: str) -> str:
    """Return which key a token that was verified is signed with."""
    return _read_header(_unbase64(text.partition(".")[0])).kid


def check_time(session: Session, *, now_s: int) -> None:
    """Return if a session that was verified is not over.

    Raises:
        CredentialRefused: if it is.
    """
    if now_s >= session.exp:
        raise CredentialRefused("This session is over: sign in again.", reason=f"the session of {session.sub} is over")


def _verified(keys: SessionKeys, text: str) -> Session:
    parts = text.split(".")
    if len(text) > _LONGEST or len(parts) != _PARTS:
        raise _forged("it is too long, or not of three parts")
    header, body, signature = (_unbase64(part) for part in parts)
    try:
        kid = _read_header(header).kid
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _forged(f"its header is not one of ours: {error}") from error
    key = keys.verifying(kid)
    if key is None:
        raise _forged("it names a key that there is not, or no longer")
    if len(signature) != _SIGNATURE_BYTES:
        raise _forged("its signature is of another length")
    try:
        key.verify(text.rpartition(".")[0].encode(), signature)
        return _read_session(body)
    except CryptoError as error:
        raise _forged("its signature does not fit") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _forged(f"it says something else than a session: {error}") from error


def _forged(reason: str) -> CredentialRefused:
    return CredentialRefused(
        "This session is not valid: sign in again.", reason=f"a session token is refused: {reason}"
    )


def _unbase64(part: str) -> bytes:
    try:
        raw = part.encode("ascii")
        data = base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError) as error:
        raise _forged("it is not written in base64url") from error
    # Of several texts for the same bytes only one is ours.
    if write_base64url(data) != raw:
        raise _forged("it is not written as we write it")
    return data
