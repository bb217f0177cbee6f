"""Which files' time is over: found by reading all that FILES says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mesh.files.store import stored_file
from mesh.history.ordered import OrderedReader
from streams.files import subjects as file_subjects
from streams.topology import FILES

if TYPE_CHECKING:
    from mesh.bus.link import Link
    from streams.tokens import Token

_WAIT_S: Final = 5.0


async def expired_files(core: Link, now_ms: int) -> list[tuple[Token, Token]]:
    """Return account and id of each file whose time is over and that was not deleted.

    Raises:
        BusError: if FILES cannot be read.
    """
    over: set[tuple[Token, Token]] = set()
    async with OrderedReader(core, FILES) as reader:
        while not reader.is_caught_up:
            for message in await reader.take(wait_s=_WAIT_S):
                name = file_subjects.parse_file(message.subject)
                stored = stored_file(message.subject, message.data)
                if stored is not None and stored.has_expired(now_ms):
                    over.add(name)
                else:
                    over.discard(name)
    return sorted(over)
