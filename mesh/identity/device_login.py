"""How a device shows the broker who it is: a DID, and a signature over the broker's nonce.

The signed text names the address that the device dialled. So a server that only pretends to be the mesh cannot pass
the signature on to the real one, which knows its own addresses (as a browser's origin does it for WebAuthn). On a line
where somebody could redirect that address, TLS is what proves the server.
"""

from __future__ import annotations

import base64
import binascii
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta, Struct

from mesh.errors import InvalidLogin
from mesh.identity.keys import Algorithm
from mesh.identity.subject_proof import Proof, prove

if TYPE_CHECKING:
    from mesh.identity.did import Did
    from mesh.identity.keys import SigningKey
    from streams.tokens import Token

_PURPOSE: Final = "ig3-connect-v1"
_MOST_BYTES: Final = 3072
"""A line of the protocol that is longer than 4 KiB is refused by the broker anyway."""


class DeviceToken(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="device.v1"):
    """What a device says when it connects, as JSON in the token of ``CONNECT``."""

    did: Annotated[str, Meta(max_length=512)]
    alg: Algorithm
    node: Annotated[str, Meta(max_length=64)]
    """The name under which it wants to take part."""
    audience: Annotated[str, Meta(max_length=260)]
    """``host:port`` as it was dialled."""
    pub: Annotated[str, Meta(max_length=128)] | None = None
    """The public key in hex, where the DID holds only its hash."""
    credential: Annotated[str, Meta(max_length=2048)] | None = None
    """An issuer's word for this DID, where the mesh wants one."""


class DeviceProof(Struct, frozen=True, kw_only=True):
    """A token that was read, and what was signed with it."""

    token: DeviceToken
    proof: Proof
    message: bytes


def connect_message(did: str, audience: str, nonce: str) -> bytes:
    """Return what a device signs."""
    return "\n".join((_PURPOSE, did, audience, nonce)).encode()


class DeviceLogin:
    """A device's side: makes the token and the signature, anew for each connection."""

    def __init__(
        self,
        did: Did,
        key: SigningKey,
        node: Token,
        *,
        credential: str | None = None,
        lasts: timedelta = timedelta(minutes=15),
    ) -> None:
        """Show ``did`` by ``key``, as ``node``; the mesh may let it in for less than ``lasts``."""
        self.lasts = lasts
        self._did = did
        self._key = key
        self._node = node
        self._credential = credential
        self._public: bytes | None = None

    def token(self, audience: str) -> str:
        """Return what ``CONNECT`` carries as its token."""
        public = prove(self._did, self._key, b"").public_key
        said = DeviceToken(
            did=self._did.text,
            alg=self._key.public.algorithm,
            node=self._node,
            audience=audience,
            pub=None if public is None else public.hex(),
            credential=self._credential,
        )
        return msgspec.json.encode(said).decode()

    def sign(self, audience: str, nonce: str) -> bytes:
        """Return what ``CONNECT`` carries as its signature."""
        proof = prove(self._did, self._key, connect_message(self._did.text, audience, nonce))
        return base64.b64encode(proof.signature)


_tokens: Final = msgspec.json.Decoder(DeviceToken)


def is_device_token(text: str) -> bool:
    """Whether a token is a device's, be it right or wrong; people's look otherwise."""
    return text.startswith("{")


def read_login(text: str, signature: str, nonce: str) -> DeviceProof:
    """Read what a device has shown; whether it is true is for others to find out.

    Raises:
        InvalidLogin: if it is malformed, or without a signature: the broker tells the nonce only with one.
    """
    if not nonce:
        raise InvalidLogin("it signed no nonce")
    if len(text) > _MOST_BYTES:
        raise InvalidLogin("the token is too long")
    try:
        token = _tokens.decode(text)
        public = None if token.pub is None else bytes.fromhex(token.pub)
        raw = base64.b64decode(signature, validate=True)
    except (msgspec.DecodeError, binascii.Error, ValueError) as error:
        raise InvalidLogin(f"the login is malformed: {error}") from error
    proof = Proof(algorithm=token.alg, public_key=public, signature=raw)
    return DeviceProof(token=token, proof=proof, message=connect_message(token.did, token.audience, nonce))
