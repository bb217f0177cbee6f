"""How much each device sends, against what the operator allows: a pure count, fed by what the broker tells.

nats-server 2.15 does not apply limits of data to users whom the auth callout has let in. It counts what each connection
has sent, though, refused messages included, and says so when it is asked and once more when the connection ends.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable

SPAN_S: Final = 60.0
_REMEMBERED_S: Final = 180.0
"""How long a connection is remembered that is in no list any more: the word of its end may be on its way."""
_MEBIBYTE: Final = 1024 * 1024


class Sent(NamedTuple):
    """What somebody has sent."""

    messages: int = 0
    size_bytes: int = 0

    def plus(self, other: Sent) -> Sent:
        """Both together."""
        return Sent(self.messages + other.messages, self.size_bytes + other.size_bytes)

    def since(self, before: Sent) -> Sent:
        """What came on top of ``before``; counters never go back."""
        return Sent(max(0, self.messages - before.messages), max(0, self.size_bytes - before.size_bytes))


class Counted(NamedTuple):
    """One connection of somebody, and all that was sent through it."""

    cid: int
    name: str
    sent: Sent


class Allowance(Struct, frozen=True, kw_only=True):
    """What one device may send in a minute; None: as much as it likes."""

    messages: int | None = None
    size_bytes: int | None = None

    @property
    def has_any(self) -> bool:
        """Whether there is anything to look after."""
        return self.messages is not None or self.size_bytes is not None

    def excess(self, sent: Sent) -> str:
        """Say what is too much of what was sent in a minute; empty: nothing."""
        if self.size_bytes is not None and sent.size_bytes > self.size_bytes:
            return f"it sent {_size(sent.size_bytes)} within a minute, and device_data allows {_size(self.size_bytes)}"
        if self.messages is not None and sent.messages > self.messages:
            return f"it sent {sent.messages} messages within a minute, and device_messages allows {self.messages}"
        return ""


class _Known(NamedTuple):
    sent: Sent
    seen_at_s: float


class TrafficMeter:
    """What each name has sent in the last minute, over all its connections on all servers."""

    def __init__(self) -> None:
        """Begin with nothing: what is found at the first look at a server counts from there."""
        self._known: dict[str, dict[int, _Known]] = {}
        self._ended: dict[tuple[str, int], float] = {}
        self._recent: dict[str, deque[tuple[float, Sent]]] = {}

    def look(self, server: str, found: Iterable[Counted], now_s: float) -> None:
        """Take in all connections that one server has now."""
        is_first = server not in self._known
        known = self._known.setdefault(server, {})
        for one in found:
            # A list may have been written before the end of a connection, and arrive after the word of that.
            if (server, one.cid) in self._ended:
                continue
            if not is_first:
                self._add(one.name, one.sent.since(_sent_by(known, one.cid)), now_s)
            known[one.cid] = _Known(one.sent, now_s)
        self._forget(now_s)

    def ended(self, server: str, one: Counted, now_s: float) -> None:
        """Take in the last word about a connection."""
        if (known := self._known.get(server)) is not None:
            self._add(one.name, one.sent.since(_sent_by(known, one.cid)), now_s)
            known.pop(one.cid, None)
        self._ended[server, one.cid] = now_s

    def last_minute(self, now_s: float) -> dict[str, Sent]:
        """What everybody has sent who has sent anything."""
        found: dict[str, Sent] = {}
        for name, parts in tuple(self._recent.items()):
            while parts and parts[0][0] <= now_s - SPAN_S:
                parts.popleft()
            if not parts:
                del self._recent[name]
                continue
            total = Sent()
            for _, sent in parts:
                total = total.plus(sent)
            found[name] = total
        return found

    def forget(self, name: str) -> None:
        """Begin anew with somebody, for whom something was decided."""
        self._recent.pop(name, None)

    def _add(self, name: str, sent: Sent, now_s: float) -> None:
        if any(sent):
            self._recent.setdefault(name, deque()).append((now_s, sent))

    def _forget(self, now_s: float) -> None:
        oldest_s = now_s - _REMEMBERED_S
        for known in self._known.values():
            for cid in [cid for cid, each in known.items() if each.seen_at_s < oldest_s]:
                del known[cid]
        for key in [key for key, at_s in self._ended.items() if at_s < oldest_s]:
            del self._ended[key]


def _sent_by(known: dict[int, _Known], cid: int) -> Sent:
    return known[cid].sent if cid in known else Sent()


def _size(size_bytes: int) -> str:
    return f"{size_bytes / _MEBIBYTE:.0f} MiB" if size_bytes >= _MEBIBYTE else f"{size_bytes} bytes"
