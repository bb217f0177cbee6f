"""What somebody sends to sign in, and what comes back: the bodies of ``/v1/auth/challenge`` and ``/v1/auth/login``."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from streams.access.fold import Membership

Text = Annotated[str, Meta(min_length=1, max_length=512)]
Hex = Annotated[str, Meta(max_length=512)]
Algorithm = Literal["ed25519", "sr25519", "secp256k1"]


# --- what is asked for -------------------------------------------------------------------------------------------


class EthereumChallenge(Struct, frozen=True, kw_only=True, tag_field="method", tag="ethereum"):
    """Ask for a message to sign with an Ethereum wallet."""

    address: Text
    chain_id: Annotated[int, Meta(ge=1, le=2**63 - 1)] = 1
    uri: Text | None = None
    """The page that signs in; where it is not given, the gateway itself."""


class SubstrateChallenge(Struct, frozen=True, kw_only=True, tag_field="method", tag="substrate"):
    """Ask for a text to sign with the wallet of a Substrate chain."""

    address: Text


class DidChallenge(Struct, frozen=True, kw_only=True, tag_field="method", tag="did"):
    """Ask for a text to sign with the key of a DID."""

    did: Text


ChallengeRequest = EthereumChallenge | SubstrateChallenge | DidChallenge


class Challenge(Struct, frozen=True, kw_only=True):
    """What to sign."""

    message: str
    nonce: str
    domain: str
    expires_at_ms: int


# --- what is shown -----------------------------------------------------------------------------------------------


class EthereumProof(Struct, frozen=True, kw_only=True, tag_field="method", tag="ethereum"):
    """A message of Sign-In with Ethereum, and its signature by ``personal_sign``."""

    message: Annotated[str, Meta(max_length=8192)]
    signature: Hex
    account: Text | None = None
    """Which account to speak for; not given: the first by name."""


class SubstrateProof(Struct, frozen=True, kw_only=True, tag_field="method", tag="substrate"):
    """A signature over the text of a challenge, as it is or in ``<Bytes>``."""

    address: Text
    algorithm: Algorithm
    nonce: Text
    signature: Hex
    public_key: Hex | None = None
    """Needed with secp256k1, where the address is only a hash of it."""
    account: Text | None = None


class DidProof(Struct, frozen=True, kw_only=True, tag_field="method", tag="did"):
    """A signature over the text of a challenge by the key of a DID."""

    did: Text
    algorithm: Algorithm
    nonce: Text
    signature: Hex
    public_key: Hex | None = None
    account: Text | None = None


SignInProof = EthereumProof | SubstrateProof | DidProof


class Reached(Struct, frozen=True, kw_only=True):
    """Where somebody has reached this gateway: ``host`` as it was asked for, ``port`` as it is."""

    host: str
    port: int | None


class SignedIn(Struct, frozen=True, kw_only=True):
    """A session. ``accounts`` are all that its holder belongs to.

    Its token is good for ``expires_in`` seconds; until ``session_expires_in`` are over it can be renewed.
    """

    token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - what the standard calls it, and no secret
    expires_in: int
    session_expires_in: int
    did: str
    account: str
    role: str
    accounts: tuple[Membership, ...]
