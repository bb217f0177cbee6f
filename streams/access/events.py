"""The events of ACCESS, NONCES and SESSIONS: accounts, their members and API keys, spent nonces, ended sessions.

Part of the catalogue in ``streams.events``. The account stands in the subject; no secret stands anywhere.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from streams.access.limits import Bounds, Limits
from streams.event import Event

Role = Literal["owner", "member", "viewer", "operator"]
"""What somebody is in an account. ``operator`` is a role of the account ``local`` only: that of who runs the mesh."""

Right = Literal["chat", "read", "admin"]
"""``chat``: submit and cancel tasks. ``read``: see the account's tasks. ``admin``: manage the account."""

DidText = Annotated[str, Meta(min_length=1, max_length=512)]
KeyId = Annotated[str, Meta(min_length=1, max_length=64)]


class AccountOpened(Event, frozen=True, kw_only=True, tag="account.opened.v1"):
    """There is an account of this name from now on. Its name is never given away again."""

    at_ms: int
    by: str
    """A DID, or ``operator`` for whoever holds the services' credentials."""
    owner: DidText | None = None
    """Its first owner, where it has one from the beginning."""


class MemberJoined(Event, frozen=True, kw_only=True, tag="member.joined.v1"):
    """Somebody belongs to the account from now on; of who does already, the role changes."""

    at_ms: int
    did: DidText
    role: Role
    by: str


class MemberLeft(Event, frozen=True, kw_only=True, tag="member.left.v1"):
    """Somebody belongs to the account no longer."""

    at_ms: int
    did: DidText
    by: str


class KeyIssued(Event, frozen=True, kw_only=True, tag="key.issued.v1"):
    """Whoever shows the secret of this key speaks for the account, as far as its rights go."""

    at_ms: int
    key_id: KeyId
    digest: str
    """SHA-256 of the secret, in hex: the secret itself was shown once and is kept nowhere."""
    name: str
    """What people call it."""
    rights: tuple[Right, ...]
    models: tuple[str, ...] = ()
    """The models that it may ask; none named: all."""
    tools: tuple[str, ...] = ()
    """The functions that its requests may offer to models; none named: all."""
    limits: Limits | None = None
    """How much it may ask, besides what its account may."""
    bounds: Bounds | None = None
    """How large and how slow each of its answers may be, besides what its account's may."""
    expires_at_ms: int | None = None
    by: str


class KeyRevoked(Event, frozen=True, kw_only=True, tag="key.revoked.v1"):
    """The key is worth nothing from now on."""

    at_ms: int
    key_id: KeyId
    by: str
    reason: str


class AccountClosed(Event, frozen=True, kw_only=True, tag="account.closed.v1"):
    """Nobody speaks for the account any more, and its keys are worth nothing. What was stored for it stays."""

    at_ms: int
    by: str
    reason: str


class AccountErased(Event, frozen=True, kw_only=True, tag="account.erased.v1"):
    """Prompts and answers of the account's tasks that had ended by ``at_ms`` are gone. Ends and charges stay."""

    at_ms: int
    by: str
    reason: str
    messages: Annotated[int, Meta(ge=0)] = 0
    """How many stored messages went."""


class NonceSpent(Event, frozen=True, kw_only=True, tag="nonce.spent.v1"):
    """Somebody has tried to sign in with this nonce, so nobody can again."""

    at_ms: int


class SessionEnded(Event, frozen=True, kw_only=True, tag="session.ended.v1"):
    """Somebody has signed out: no token of this session is worth anything from now on, and none is made of it."""

    at_ms: int
    did: DidText


AccessEvent = AccountOpened | MemberJoined | MemberLeft | KeyIssued | KeyRevoked | AccountClosed | AccountErased
"""All that ACCESS may hold."""
