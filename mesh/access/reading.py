"""Reading ACCESS once, from its first event: for whoever changes an account, or only looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from mesh.access.log import ACCESS_SUBJECTS, AccessLog
from mesh.history.ordered import OrderedReader
from streams import subjects
from streams.access.fold import Access
from streams.topology import ACCESS

if TYPE_CHECKING:
    from mesh.bus.link import Link
    from streams.tokens import Token

_WAIT_S: Final = 5.0


class Reading(NamedTuple):
    """What was read adds up to, and where the last event of it stands; 0 if there is none."""

    access: Access
    last_sequence: int


async def read_access(core: Link, account: Token | None = None) -> Reading:
    """Fold what is stored now, of one account or of all. It is read from the leader of the stream.

    Raises:
        BusError: if it cannot be read.
    """
    access, last_sequence = Access(), 0
    log = AccessLog(access)
    pattern = ACCESS_SUBJECTS if account is None else subjects.access(account)
    async with OrderedReader(core, ACCESS, filters=[pattern]) as reader:
        while not reader.is_caught_up:
            for recorded in await reader.take(wait_s=_WAIT_S):
                log.apply(recorded.sequence, recorded.subject, recorded.data)
                last_sequence = recorded.sequence
    return Reading(access, last_sequence)
