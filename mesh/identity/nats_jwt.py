"""What the broker asks the identity service, and the signed rights that it is answered with (NATS's ADR-26).

The JWTs are NATS's own kind: algorithm ``ed25519-nkey``, keys as nkeys, rights under ``nats``. Questions come sealed
(``xkv1``, a nonce of 24 bytes, a NaCl box), so nobody else who could see the account reads a token or a key.
"""

from __future__ import annotations

import base64
import hashlib
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Struct
from nacl.exceptions import CryptoError
from nacl.public import Box, PrivateKey, PublicKey
from nacl.signing import SigningKey

from mesh.base64url import write_base64url
from mesh.broker.nkey import KeyKind, public_key_of, read_public, secret_of
from mesh.errors import InvalidCallout
from streams.rights import BusRights
from streams.topology import Account

if TYPE_CHECKING:
    from mesh.broker.credentials import Signer

T = TypeVar("T")

_SEALED: Final = b"xkv1"
_NONCE_BYTES: Final = 24
_HEADER: Final = {"typ": "JWT", "alg": "ed25519-nkey"}
_VERSION: Final = 2
_UNLIMITED: Final = -1


ConnectionType = Literal["STANDARD", "LEAFNODE"]
"""A client, or a broker of an edge site."""


class ConnectOptions(Struct, frozen=True):
    """What a client said of itself: all of it is its own choice, except that ``sig`` can only be made with a key."""

    name: str = ""
    auth_token: str = ""
    sig: str = ""
    nkey: str = ""


class ClientInfo(Struct, frozen=True):
    """What the broker knows of a client."""

    host: str = ""
    kind: str = ""
    nonce: str = ""


class ServerId(Struct, frozen=True):
    """Which server of the broker asks."""

    id: str
    name: str = ""


class _Asked(Struct, frozen=True):
    server_id: ServerId
    user_nkey: str
    client_info: ClientInfo = ClientInfo()
    connect_opts: ConnectOptions = ConnectOptions()


class _Claims(Struct, frozen=True):
    nats: _Asked


class Question(Struct, frozen=True, kw_only=True):
    """A client wants to connect: may it, and what may it do?"""

    server: ServerId
    user_key: str
    """The nkey that the broker made up for this connection; the rights are written for it."""
    client: ClientInfo
    options: ConnectOptions


class Admission(Struct, frozen=True, kw_only=True):
    """Somebody may connect, as ``name``, with ``rights``, for ``lasts``."""

    name: str
    rights: BusRights
    lasts: timedelta
    account: Account = "EDGE"
    connects_as: ConnectionType = "STANDARD"
    """The broker refuses these rights to any other kind of connection."""


class CalloutKeys:
    """The identity service's two keys, in memory. Their text never shows them."""

    def __init__(self, issuer: Signer, sealed: Signer) -> None:
        """Read the seeds.

        Raises:
            CredentialsError: if they cannot be read.
            ValueError: if they are damaged.
        """
        seed = issuer.seed()
        self._issuer = SigningKey(secret_of(seed, KeyKind.ACCOUNT))
        self._issuer_public = public_key_of(seed, KeyKind.ACCOUNT)
        self._sealed = PrivateKey(secret_of(sealed.seed(), KeyKind.CURVE))

    def open(self, data: bytes, server_key: str) -> Question:
        """Open a question of the server whose curve key is ``server_key``.

        Raises:
            InvalidCallout: if it is none, or not sealed for us.
        """
        text = self._unseal(data, server_key).split(b".")
        try:
            asked = msgspec.json.decode(_unpad(text[1]), type=_Claims).nats
        except (IndexError, ValueError) as error:
            raise InvalidCallout(f"the broker's question cannot be read: {error}") from error
        return Question(
            server=asked.server_id, user_key=asked.user_nkey, client=asked.client_info, options=asked.connect_opts
        )

    def answer(self, question: Question, verdict: Admission | str, *, server_key: str, now_s: int) -> bytes:
        """Seal an answer: rights, or why not (which the broker logs; the client only hears that it may not)."""
        response: dict[str, object] = {"type": "authorization_response", "version": _VERSION}
        if isinstance(verdict, Admission):
            response["jwt"] = self._sign(_user_claims(question.user_key, verdict, now_s)).decode()
        else:
            response["error"] = verdict
        claims = {"sub": question.user_key, "aud": question.server.id, "iat": now_s, "nats": response}
        return self._seal(self._sign(claims), server_key)

    def _sign(self, claims: dict[str, Any]) -> bytes:
        body = {**claims, "iss": self._issuer_public}
        body["jti"] = base64.b32encode(hashlib.sha256(msgspec.json.encode(body)).digest()).decode().rstrip("=")
        text = b".".join((write_base64url(msgspec.json.encode(_HEADER)), write_base64url(msgspec.json.encode(body))))
        return text + b"." + write_base64url(self._issuer.sign(text).signature)

    def _unseal(self, data: bytes, server_key: str) -> bytes:
        if not data.startswith(_SEALED):
            raise InvalidCallout("the broker's question is not sealed: its configuration has no xkey")
        nonce, sealed = data[len(_SEALED) :][:_NONCE_BYTES], data[len(_SEALED) + _NONCE_BYTES :]
        try:
            return self._box(server_key).decrypt(sealed, nonce)
        except (CryptoError, ValueError) as error:
            raise InvalidCallout(f"the broker's question is not sealed for this service: {error}") from error

    def _seal(self, data: bytes, server_key: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return _SEALED + nonce + self._box(server_key).encrypt(data, nonce).ciphertext

    def _box(self, server_key: str) -> Box:
        return Box(self._sealed, PublicKey(read_public(server_key, KeyKind.CURVE)))


def _user_claims(user_key: str, admission: Admission, now_s: int) -> dict[str, Any]:
    rights = admission.rights
    granted: dict[str, object] = {
        "type": "user",
        "version": _VERSION,
        "pub": {"allow": rights.publish},
        "sub": {"allow": rights.subscribe},
        # nats-server 2.15 does not apply limits that come this way: those of nats.conf hold for everybody, and what a
        # device sends is counted (mesh.identity.traffic).
        "subs": _UNLIMITED,
        "payload": _UNLIMITED,
        "data": _UNLIMITED,
        "allowed_connection_types": [admission.connects_as],
    }
    if rights.grants is not None:
        lasts_ns = int(rights.grants.lasts / timedelta(microseconds=1)) * 1000
        granted["resp"] = {"max": rights.grants.messages, "ttl": lasts_ns}
    return {
        "sub": user_key,
        # The account that the connection is put in.
        "aud": admission.account,
        "name": admission.name,
        "iat": now_s,
        "exp": now_s + int(admission.lasts.total_seconds()),
        "nats": granted,
    }


def _unpad(text: bytes) -> bytes:
    return base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
