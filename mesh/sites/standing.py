"""How far a hub has got with the events of its sites, as its own broker knows it: nothing is asked over the links."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from mesh.errors import BusError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mesh.bus.link import Link
    from streams.topology import Account, StreamSpec

_SILENT_AFTER: Final = timedelta(seconds=5)
"""A feed says something each second."""
_NEVER: Final = -1


class CopyStanding(Struct, frozen=True, kw_only=True):
    """One stream of copies. ``events`` None: it is not there."""

    stream: str
    events: int | None
    behind: int | None
    """Events that the site had and the hub had not, when the site was last heard; None if it was not heard yet."""
    silent_for: timedelta | None
    """Since the site was last heard; None: never since the hub's broker started."""

    @property
    def is_linked(self) -> bool:
        """Whether the site is heard right now."""
        return self.silent_for is not None and self.silent_for < _SILENT_AFTER


class _Source(Struct):
    lag: int = 0
    active: int = _NEVER


class _State(Struct):
    messages: int = 0


class _Info(Struct):
    state: _State = msgspec.field(default_factory=_State)
    sources: tuple[_Source, ...] = ()
    error: dict[str, object] | None = None


_info: Final = msgspec.json.Decoder(_Info)


async def standing(links: Mapping[Account, Link], copies: Sequence[StreamSpec]) -> list[CopyStanding]:
    """Look at streams of copies.

    Raises:
        BusError: if the broker does not answer.
    """
    return [await _look(links[spec.account], spec.name) for spec in copies]


async def _look(link: Link, stream: str) -> CopyStanding:
    answer = await link.request(f"$JS.API.STREAM.INFO.{stream}", b"")
    try:
        info = _info.decode(answer.data)
    except msgspec.DecodeError as error:
        raise BusError(f"the broker's answer about stream {stream} cannot be read: {error}") from error
    if info.error is not None:
        return CopyStanding(stream=stream, events=None, behind=None, silent_for=None)
    heard = [source for source in info.sources if source.active != _NEVER]
    silences = [timedelta(microseconds=source.active / 1000) for source in heard]
    return CopyStanding(
        stream=stream,
        events=info.state.messages,
        behind=sum(source.lag for source in heard) if heard else None,
        silent_for=max(silences) if len(heard) == len(info.sources) else None,
    )
