"""What a family of subjects is, for the AsyncAPI document: who sends what, who hears it, what stores it."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from streams import topology

Role = Literal["user", "node", "service", "broker"]
"""Who takes part: clients of an account, devices, the mesh's own processes, and the broker, which sends on."""

Kinds = tuple[type[Any], ...]


class Sender(Struct, frozen=True):
    """Who sends on a channel, and which of its messages."""

    role: Role
    kinds: Kinds


class Reply(Struct, frozen=True):
    """Where a request is answered, and by what."""

    channel: str
    kinds: Kinds


class Channel(Struct, frozen=True, kw_only=True):
    """One family of subjects. ``stream`` is what stores it; None where a message that nobody hears is gone."""

    name: str
    address: str
    account: topology.Account
    description: str
    senders: tuple[Sender, ...]
    receivers: tuple[Role, ...]
    stream: str | None = None
    reply: Reply | None = None
    takes_json: bool = False
    """Whether a body may be JSON, said by the header ``Content-Type: application/json``."""

    @property
    def kinds(self) -> Kinds:
        """All that may be sent here."""
        return tuple(kind for sender in self.senders for kind in sender.kinds)
