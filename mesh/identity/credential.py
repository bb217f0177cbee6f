"""An issuer's word that a device may take part: a JWT (RFC 7519) signed with the Ed25519 key of a did:key.

A mesh that names issuers lets in whom they vouch for, without an operator for each device.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from mesh.base64url import write_base64url
from mesh.errors import IdentityError, NotAdmitted
from mesh.identity.did import parse_did
from mesh.identity.keys import PublicKey, verify

if TYPE_CHECKING:
    from datetime import timedelta

    from mesh.identity.did import Did
    from mesh.identity.keys import SigningKey

_TYPE: Final = "ig3-device+jwt"
_ALGORITHM: Final = "EdDSA"
_CLOCK_SKEW_S: Final = 60
_PARTS: Final = 3


class _Header(Struct, frozen=True):
    alg: str
    typ: str


class _Claims(Struct, frozen=True):
    iss: str
    sub: str
    iat: int
    exp: int


def issue_credential(issuer: Did, key: SigningKey, device: Did, *, now_s: int, lasts: timedelta) -> str:
    """Write a credential for a device.

    Raises:
        IdentityError: if the issuer is not a did:key of an Ed25519 key.
    """
    _issuer_key(issuer)
    claims = _Claims(iss=issuer.text, sub=device.text, iat=now_s, exp=now_s + int(lasts.total_seconds()))
    text = b".".join(
        write_base64url(msgspec.json.encode(part)) for part in (_Header(alg=_ALGORITHM, typ=_TYPE), claims)
    )
    return (text + b"." + write_base64url(key.sign(text))).decode()


def check_credential(text: str, device: Did, *, issuers: frozenset[str], now_s: float) -> str:
    """Return the DID of the issuer who vouches for a device.

    Raises:
        NotAdmitted: if nobody does whom this mesh trusts, for this device and now.
    """
    parts = text.encode().split(b".")
    if len(parts) != _PARTS:
        raise NotAdmitted("the credential is no JWT")
    try:
        header = msgspec.json.decode(_unpad(parts[0]), type=_Header)
        claims = msgspec.json.decode(_unpad(parts[1]), type=_Claims)
        signature = _unpad(parts[2])
    except ValueError as error:
        raise NotAdmitted(f"the credential is malformed: {error}") from error
    if header.alg != _ALGORITHM or header.typ != _TYPE:
        raise NotAdmitted(f"the credential is of type {header.typ!r} and algorithm {header.alg!r}")
    if claims.iss not in issuers:
        raise NotAdmitted(f"the credential is of {claims.iss[:200]!r}, which is no issuer of this mesh")
    if not verify(_issuer_key(parse_did(claims.iss)), b".".join(parts[:2]), signature):
        raise NotAdmitted("the credential is not signed by its issuer")
    if claims.sub != device.text:
        raise NotAdmitted("the credential is another device's")
    if not claims.iat - _CLOCK_SKEW_S <= now_s < claims.exp:
        raise NotAdmitted("the credential does not hold now")
    return claims.iss


def check_issuers(texts: tuple[str, ...]) -> frozenset[str]:
    """Return issuers in the one way of writing them.

    Raises:
        IdentityError: if one is not a did:key of an Ed25519 key.
    """
    issuers = [parse_did(text) for text in texts]
    for issuer in issuers:
        _issuer_key(issuer)
    return frozenset(issuer.text for issuer in issuers)


def _issuer_key(issuer: Did) -> PublicKey:
    key = issuer.subject
    if not isinstance(key, PublicKey) or key.algorithm != "ed25519":
        raise IdentityError(f"{issuer} cannot issue credentials: use a did:key of an Ed25519 key")
    return key


def _unpad(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
