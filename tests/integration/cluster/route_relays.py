"""The routes of a test cluster go through relays that can be stopped: nothing passes, and nobody is told."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine, Iterable
from typing import Any, Final

_HOST: Final = "127.0.0.1"


class RouteRelays:
    """One relay per ordered pair of servers, in a thread of its own, since servers live longer than a test's loop.

    A relay that is shut keeps its connections and passes nothing on: what a cable without a plug does. When it is
    opened again, what was written meanwhile arrives, as what TCP repeats would.
    """

    def __init__(self, targets: dict[int, int], pairs: Iterable[tuple[int, int]] | None = None) -> None:
        """`targets[j]` is where server j listens; ``pairs``: who is to reach whom, left out: each server the others.

        The ports here are held from now on: nobody else gets one of them.
        """
        if pairs is None:
            pairs = [(one, other) for one in targets for other in targets if one != other]
        self._sockets = {pair: socket.create_server((_HOST, 0)) for pair in pairs}
        self._targets = targets
        self._gates: dict[tuple[int, int], asyncio.Event] = {}
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="route-relays")

    @property
    def ports(self) -> dict[tuple[int, int], int]:
        """`ports[i, j]` is where i reaches server j."""
        return {pair: listening.getsockname()[1] for pair, listening in self._sockets.items()}

    def start(self) -> None:
        """Begin to relay; all is open."""
        self._thread.start()
        self._run(self._start())

    def stop(self) -> None:
        """Close everything."""
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def isolate(self, server: int) -> None:
        """Cut one server off from all others."""
        self._loop.call_soon_threadsafe(self._set, server, False)

    def heal(self) -> None:
        """Open everything again."""
        self._loop.call_soon_threadsafe(self._set, None, True)

    def _set(self, server: int | None, is_open: bool) -> None:
        for pair, gate in self._gates.items():
            if server is None or server in pair:
                (gate.set if is_open else gate.clear)()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _start(self) -> None:
        for pair, listening in self._sockets.items():
            gate = self._gates[pair] = asyncio.Event()
            gate.set()

            async def relay(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: tuple[int, int] = pair
            ) -> None:
                await self._relay(reader, writer, self._gates[pair], self._targets[pair[1]])

            self._servers.append(await asyncio.start_server(relay, sock=listening))

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event, target: int
    ) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError), contextlib.closing(writer):
            await gate.wait()
            upstream, forward = await asyncio.open_connection(_HOST, target)
            with contextlib.closing(forward):
                ways = {
                    asyncio.create_task(_pump(reader, forward, gate)),
                    asyncio.create_task(_pump(upstream, writer, gate)),
                }
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event) -> None:
    while data := await reader.read(65_536):
        await gate.wait()
        writer.write(data)
        await writer.drain()
