"""Whoever asks something of the mesh, as far as it has been proven."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from streams.access.events import Right, Role
from streams.access.fold import LOCAL, RIGHTS
from streams.access.limits import NO_BOUNDS, NO_LIMITS, Bounds, Limits
from streams.tokens import Token

How = Literal["local", "key", "session"]
"""``local``: by having reached a gateway that asks for nothing. ``key``: an API key. ``session``: a sign-in."""


class SessionOf(Struct, frozen=True, kw_only=True):
    """The sign-in that a caller's token was made of."""

    session_id: str
    signed_in_at_s: int
    kid: str
    """The key that has signed the token."""


class Caller(Struct, frozen=True, kw_only=True):
    """Speaks for one account, as far as the rights go."""

    account: Token
    how: How
    rights: frozenset[Right]
    role: Role | None = None
    """None for a key, which has rights of its own."""
    did: str | None = None
    """Who has signed in."""
    key_id: str | None = None
    session: SessionOf | None = None
    models: tuple[str, ...] = ()
    """The models that may be asked; none named: all."""
    tools: tuple[str, ...] = ()
    """The functions that may be offered to them; none named: all."""
    expires_at_ms: int | None = None
    limits: Limits = NO_LIMITS
    """Those of the key itself; its account has its own."""
    bounds: Bounds = NO_BOUNDS
    """As well."""

    @property
    def is_operator(self) -> bool:
        """Whether this is somebody who runs the mesh, and may see what is no account's own."""
        return self.how == "local" or (self.account == LOCAL and "admin" in self.rights)

    def may_ask(self, model: str) -> bool:
        """Whether a model is open to this caller."""
        return not self.models or model in self.models

    def may_offer(self, function: str) -> bool:
        """Whether this caller's requests may offer a function to a model."""
        return not self.tools or function in self.tools


def local_caller(account: Token) -> Caller:
    """Whoever asks a gateway that listens to this machine only."""
    return Caller(account=account, how="local", rights=RIGHTS["operator"], role="operator")
