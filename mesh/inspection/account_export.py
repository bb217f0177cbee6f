"""All that a mesh has stored of one account, message by message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mesh.history.ordered import OrderedReader
from mesh.inspection.stored_event import event_line
from streams.account_subjects import account_subjects

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from mesh.bus.service_bus import Bus
    from mesh.inspection.stored_event import EventLine
    from streams.tokens import Token
    from streams.topology import StreamSpec

_WAIT_S: Final = 5.0


async def export_account(bus: Bus, account: Token, specs: Iterable[StreamSpec]) -> AsyncIterator[EventLine]:
    """Yield what every stream holds of the account, one stream after the other, each in its order.

    Args:
        bus: a bus of a service.
        account: whose.
        specs: every stream of the mesh.

    Raises:
        BusError: if a stream cannot be read.
    """
    for spec in specs:
        filters = account_subjects(spec, account)
        if not filters:
            continue
        async with OrderedReader(bus.links[spec.account], spec.name, filters=filters) as reader:
            while not reader.is_caught_up:
                for recorded in await reader.take(wait_s=_WAIT_S):
                    yield event_line(spec.name, recorded)
