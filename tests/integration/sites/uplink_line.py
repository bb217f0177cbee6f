"""The line between a site and its hub: a TCP relay on a port that stays, which a test can take down and wear out."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from mesh.config.address import Address


class UplinkLine:
    """Nothing gets through outside of the context, nor between `down` and `up`."""

    def __init__(self, here: Address, hub: Address) -> None:
        self._here = here
        self._hub = hub
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[object]] = set()
        self._lengths: list[int] = []
        self.breaks = 0

    async def up(self) -> None:
        """Let connections through."""
        self._server = await asyncio.start_server(self._connect, *self._here)

    async def down(self) -> None:
        """Break every connection and take no new one."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._break()
        await asyncio.gather(*self._tasks)

    def wear(self, *lengths: int) -> None:
        """Break after so many bytes from the site, and after so many more; each time new connections work."""
        self._lengths = list(lengths)

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.down()

    def _break(self) -> None:
        for writer in tuple(self._open):
            writer.transport.abort()

    def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task: asyncio.Task[object] = asyncio.create_task(self._relay(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            hub_reader, hub_writer = await asyncio.open_connection(*self._hub)
            ends = {writer, hub_writer}
            self._open |= ends
            try:
                await asyncio.gather(
                    self._copy(reader, hub_writer, from_site=True), self._copy(hub_reader, writer, from_site=False)
                )
            finally:
                self._open -= ends
                for end in ends:
                    end.transport.abort()
        writer.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_site: bool) -> None:
        while data := await reader.read(4096):
            if from_site and self._lengths:
                self._lengths[0] -= len(data)
                if self._lengths[0] < 0:
                    # In the middle of whatever this belongs to.
                    writer.write(data[: self._lengths.pop(0)])
                    await writer.drain()
                    self.breaks += 1
                    self._break()
                    raise ConnectionResetError
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError
