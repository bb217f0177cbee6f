"""One ledger: the books, the settling, the desk for holds, old holds, the calendar, and what the books say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.ledger.books import Books
from gateway.ledger.desk import HoldsDesk
from gateway.ledger.releasing import Releasing
from gateway.ledger.settling import Settling
from gateway.ledger.timetable import Timetable
from gateway.ledger.views import Views
from mesh.history.projection_desk import ProjectionDesk
from mesh.telemetry.telemetry import Telemetry
from streams.messages import Projections

if TYPE_CHECKING:
    from gateway.ledger.settings import LedgerSettings
    from mesh.bus.link import Link
    from mesh.history.snapshots import SnapshotStore


class Ledger:
    """A ledger. Any number may run: what one writes, the others read, and no two write the same."""

    def __init__(
        self,
        core: Link,
        settings: LedgerSettings,
        *,
        snapshots: SnapshotStore | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        """Prepare; ``start`` reads the books and begins to work."""
        watched = telemetry or Telemetry.off()
        self.books = Books(core, snapshots)
        self._name = core.name
        self._parts = (
            self.books,
            Views(core, self.books.state),
            HoldsDesk(core, self.books, watched),
            Settling(core, self.books, settings, watched),
            Releasing(core, self.books, watched),
            Timetable(self.books, settings, watched),
            ProjectionDesk(core, self._told),
        )

    async def start(self) -> None:
        """Read the books, then answer and settle.

        Raises:
            BusError: if the books cannot be read.
        """
        for part in self._parts:
            await part.start()
        # Behind an answer on the same connection the broker knows where this ledger listens.
        await self.books.catch_up()

    async def stop(self) -> None:
        """Stop in good order: what is not in the books goes back to where it came from."""
        for part in reversed(self._parts):
            await part.stop()

    def _told(self) -> list[Projections]:
        told = self.books.told()
        return [] if told is None else [Projections(service=self._name, folds=(told,))]
