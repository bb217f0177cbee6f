"""The books as a command of an operator holds them: read whole, for as long as the command runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.ledger.books import Books
from mesh.config.options import only
from mesh.config.settings import MeshSettings
from mesh.history.snapshots import SNAPSHOTS, SnapshotStore
from mesh.inspection.operator_bus import run_on_bus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mesh.bus.service_bus import Bus

PLACE: Final = only(MeshSettings, "nats", "data_dir")
OPERATOR: Final = "operator"
"""Who writes with the services' credentials."""


def on_books(mesh: MeshSettings, command: str, work: Callable[[Books], Awaitable[None]]) -> None:
    """Read the books and run ``work`` on them."""

    async def main(bus: Bus) -> None:
        books = Books(bus.core, SnapshotStore(mesh.data_dir / SNAPSHOTS))
        await books.start()
        try:
            await work(books)
        finally:
            await books.stop()

    run_on_bus(mesh, f"ledger-{command}", main)
