"""The boards of this gateway: one per account that somebody watches."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.bridge.board import Board

if TYPE_CHECKING:
    from gateway.bridge.audience import Ear
    from gateway.intake.submissions import Submissions
    from mesh.bus.service_bus import Bus
    from streams.tokens import Token


class _Seat:
    """A board, its start, and who wants it."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.started = asyncio.create_task(board.start())
        self.wanted_by: set[Ear] = set()


class Boards:
    """Starts a board for the first who joins, stops it when the last has left."""

    def __init__(self, bus: Bus, submissions: Submissions) -> None:
        """Prepare."""
        self._bus = bus
        self._submissions = submissions
        self._seats: dict[Token, _Seat] = {}
        self._stopping: set[asyncio.Task[None]] = set()

    async def open(self, account: Token, ear: Ear) -> Board:
        """Return the account's board when it is ready to be joined; ``leave`` gives it back.

        Raises:
            BusError: if the streams cannot be read now.
        """
        seat = self._seats.get(account)
        if seat is None:
            seat = self._seats[account] = _Seat(Board(self._bus, self._submissions, account))
        seat.wanted_by.add(ear)
        try:
            await asyncio.shield(seat.started)
        except BaseException:
            self.leave(account, ear)
            raise
        return seat.board

    def leave(self, account: Token, ear: Ear) -> None:
        """Send no more; no error if nothing was sent."""
        seat = self._seats.get(account)
        if seat is None:
            return
        seat.wanted_by.discard(ear)
        seat.board.leave(ear)
        if not seat.wanted_by:
            del self._seats[account]
            self._keep(asyncio.create_task(_stop(seat)))

    async def close(self) -> None:
        """Stop every board."""
        for seat in self._seats.values():
            self._keep(asyncio.create_task(_stop(seat)))
        self._seats.clear()
        await asyncio.gather(*self._stopping)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)


async def _stop(seat: _Seat) -> None:
    seat.started.cancel()
    await asyncio.gather(seat.started, return_exceptions=True)
    await seat.board.stop()
