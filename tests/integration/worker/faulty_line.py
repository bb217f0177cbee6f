"""A TCP line between a client and the server that a test can mute and cut."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class FaultyLine:
    """Forwards to ``url`` until told otherwise; listens on a port of its own, at ``self.url``."""

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        self._target = (target.hostname, target.port)
        self._muted = False
        self._down = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.url = ""

    def mute(self) -> None:
        """Swallow from now on what the server sends; what the client sends still arrives."""
        self._muted = True

    def cut(self) -> None:
        """Break every connection, and let new ones work again."""
        self._muted = False
        for writer in tuple(self._writers):
            writer.transport.abort()

    def down(self) -> None:
        """Break every connection, and let no new one through until `up`."""
        self._down = True
        self.cut()

    def up(self) -> None:
        """Let new connections through again."""
        self._down = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.url = f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._down:
            writer.transport.abort()
            return
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, there_writer}
        try:
            await asyncio.gather(self._copy(reader, there_writer, up=True), self._copy(there_reader, writer, up=False))
        finally:
            self._writers -= {writer, there_writer}

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, up: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                if up or not self._muted:
                    target.write(data)
                    await target.drain()
        target.close()
