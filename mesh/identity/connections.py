"""The connections of those whom the identity service let in, on whichever server of the broker: counted, and cut."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from mesh.errors import BusError
from mesh.identity.traffic import Counted, Sent

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link

log = logging.getLogger(__name__)

_LIST: Final = "$SYS.REQ.SERVER.PING.CONNZ"
_LOOKS_S: Final = (0.0, 0.3, 1.0, 3.0)
"""A connection that was being let in at the moment of the decision stands in no list yet."""
_GATHER_S: Final = 0.25
"""How long the servers of a cluster may take to answer: nobody knows how many there are."""
_PAGE: Final = 1024
_TIMEOUT: Final = timedelta(seconds=2)


class _Server(Struct, frozen=True):
    id: str = ""


class _Connection(Struct, frozen=True):
    cid: int
    authorized_user: str = ""
    in_msgs: int = 0
    in_bytes: int = 0


class _Page(Struct, frozen=True):
    connections: tuple[_Connection, ...] = ()
    total: int = 0


class _Listed(Struct, frozen=True):
    server: _Server = _Server()
    data: _Page = _Page()


class Connections:
    """Finds and cuts connections through the system account."""

    def __init__(self, system: Link) -> None:
        """Ask on ``system``, a connection in the account SYS."""
        self._system = system
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.Task[None] | None = None
        self._again = asyncio.Event()

    def cut_soon(self, names: frozenset[str]) -> None:
        """Cut all connections that the identity service let in under these names, now and in the next seconds."""
        task = asyncio.create_task(self._cut(names))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def sweep_soon(self, may_stay: Callable[[str], bool]) -> None:
        """Cut all connections whose names may not stay, now and in the next seconds; what runs already begins anew."""
        if self._sweeping is not None and not self._sweeping.done():
            self._again.set()
            return
        self._sweeping = task = asyncio.create_task(self._sweep(may_stay))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Cut no more."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _cut(self, names: frozenset[str]) -> None:
        for pause_s in _LOOKS_S:
            await asyncio.sleep(pause_s)
            try:
                await self.cut(names)
            except BusError as error:
                log.warning("connections of %s cannot be cut now, trying again: %s", ", ".join(sorted(names)), error)

    async def cut(self, names: frozenset[str]) -> int:
        """Cut all connections of these names that there are now; returns how many.

        Raises:
            BusError: if the broker cannot be asked.
        """
        return await self._kick(await self._list(names), names.__contains__)

    async def _sweep(self, may_stay: Callable[[str], bool]) -> None:
        look = 0
        while look < len(_LOOKS_S):
            look = 1 if await self._is_asked_again(_LOOKS_S[look]) else look + 1
            try:
                await self._kick(await self._list(frozenset()), lambda name: not may_stay(name))
            except BusError as error:
                log.warning("connections cannot be looked at now, trying again: %s", error)

    async def _is_asked_again(self, pause_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            # Not wait_for: in Python 3.11 that loses a cancellation which comes together with the event.
            async with asyncio.timeout(pause_s):
                await self._again.wait()
        is_asked, _ = self._again.is_set(), self._again.clear()
        return is_asked

    async def _kick(self, listed: list[_Listed], has_to_go: Callable[[str], bool]) -> int:
        found = [
            (page.server.id, each)
            for page in listed
            for each in page.data.connections
            if has_to_go(each.authorized_user)
        ]
        for server, connection in found:
            body = json.dumps({"cid": connection.cid}).encode()
            await self._system.request(f"$SYS.REQ.SERVER.{server}.KICK", body, timeout=_TIMEOUT)
            log.info("cut a connection of %s", connection.authorized_user)
        return len(found)

    async def counted(self) -> dict[str, list[Counted]]:
        """Return what was sent through every connection that there is now, by the server that has it.

        Raises:
            BusError: if the broker cannot be asked.
        """
        found: dict[str, list[Counted]] = {}
        for page in await self._list(frozenset()):
            found.setdefault(page.server.id, []).extend(
                Counted(each.cid, each.authorized_user, Sent(each.in_msgs, each.in_bytes))
                for each in page.data.connections
            )
        return found

    async def _list(self, names: frozenset[str]) -> list[_Listed]:
        """Ask every server for the connections of one user, or for all of them, a page at a time."""
        only = {"user": next(iter(names))} if len(names) == 1 else {}
        found: list[_Listed] = []
        for offset in itertools.count(0, _PAGE):
            pages = await self._ask({"auth": True, "acc": "EDGE", "limit": _PAGE, "offset": offset, **only})
            found += pages
            if all(page.data.total <= offset + _PAGE for page in pages):
                break
        return found

    async def _ask(self, question: dict[str, object]) -> list[_Listed]:
        answers: list[Delivery] = []
        inbox = f"{self._system.inbox}.list.{uuid.uuid4().hex[:12]}"
        listener = await self._system.listen(inbox, answers.append)
        try:
            self._system.send(_LIST, json.dumps(question).encode(), reply=inbox)
            await asyncio.sleep(_GATHER_S)
        finally:
            await listener.close()
        return [listed for answer in answers if (listed := _read(answer.data)) is not None]


def _read(data: bytes) -> _Listed | None:
    try:
        return msgspec.json.decode(data, type=_Listed)
    except msgspec.DecodeError as error:
        log.warning("a server's list of connections cannot be read: %s", error)
        return None
