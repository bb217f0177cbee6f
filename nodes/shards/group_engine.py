"""The engine of a group as the node that leads it sees it: one engine like every other, in a process of its own.

When a member goes, llama.cpp aborts that process. Then every answer ends with ``EngineUnavailable``, the dispatcher has
another node go on with it, and the leader forms another group.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from nodes.engine import EngineLoad, Piece
from nodes.engines.demands import is_constrained
from nodes.errors import EngineError, EngineUnavailable, RequestRefused
from nodes.shards.child import ShardChild
from nodes.shards.engine_wire import Answer, Drop, FromEngine, Load, Loaded, Over, Progress, Wrote, frame, read_frame

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from nodes.engine import EngineSpec, Generate, OnLoading
    from nodes.engines.llama.model import Offload
    from nodes.shards.leader_link import LeaderLink
    from streams.devices.replica import Replica

_START_S: Final = 30.0
_decoder: Final = msgspec.msgpack.Decoder(FromEngine)

_Item = Piece | EngineError | None


class GroupEngine:
    """One split model. ``broken`` tells when it is of no use any more."""

    def __init__(self, spec: EngineSpec, offload: Offload, links: Sequence[LeaderLink], on_loading: OnLoading) -> None:
        """Load ``spec`` over members whose ``links`` are open, in the order of their layers."""
        self._spec = spec
        self._offload = offload
        self._links = links
        self._on_loading = on_loading
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Queue[_Item]] = {}
        self._loaded: asyncio.Future[Replica] = asyncio.get_running_loop().create_future()
        self._broken: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._child: ShardChild | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def pid(self) -> int | None:
        """The engine's process id, once it was started."""
        return None if self._child is None else self._child.pid

    async def start(self) -> Replica:
        """Start the process, load the model over the members, and measure it."""
        child = self._child = await ShardChild.start(
            "nodes.shards.engine_child", str(len(self._links)), kind=socket.SOCK_STREAM
        )
        self._tasks.append(asyncio.create_task(self._await_end(child), name="group-engine-end"))
        for link, listening in zip(self._links, await self._sockets(child), strict=True):
            link.serve(listening)
        reader, self._writer = await asyncio.open_connection(sock=child.channel)
        self._tasks.append(asyncio.create_task(self._read(reader), name="group-engine"))
        self._writer.write(frame(Load.of(self._spec, self._offload)))
        await asyncio.wait((self._loaded, self._broken), return_when=asyncio.FIRST_COMPLETED)
        if not self._loaded.done():
            raise self._gone()
        return replace(self._loaded.result(), tier="group")

    async def broken(self) -> str:
        """Wait until the engine has ended; returns why."""
        return await asyncio.shield(self._broken)

    async def generate(self, request: Generate) -> AsyncGenerator[Piece, None]:
        """Stream one answer; see `nodes.engine.Engine`."""
        if self._broken.done() or self._writer is None:
            raise self._gone()
        number = next(self._numbers)
        items = self._waiting[number] = asyncio.Queue[_Item]()
        self._writer.write(frame(Answer(number=number, request=request)))
        is_over = False
        try:
            while not is_over:
                item = await items.get()
                is_over = not isinstance(item, Piece)
                if isinstance(item, EngineError):
                    raise item
                if item is not None:
                    yield item
        finally:
            if not is_over:
                await self._drop(number, items)
            self._waiting.pop(number, None)

    def can_continue(self, request: Generate) -> bool:
        """Say what its engine does."""
        return not is_constrained(request)

    def load(self) -> EngineLoad:
        """Count the requests inside: one runs, the others wait."""
        inside = len(self._waiting)
        return EngineLoad(running=min(1, inside), waiting=max(0, inside - 1))

    async def stop(self) -> None:
        """End every request and the process."""
        self._break("the engine was stopped")
        if self._child is not None:
            await self._child.stop()
        if self._writer is not None:
            self._writer.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _drop(self, number: int, items: asyncio.Queue[_Item]) -> None:
        """Have the engine let go of an answer, and wait until it has."""
        if self._writer is not None and not self._broken.done():
            self._writer.write(frame(Drop(number=number)))
            while isinstance(await items.get(), Piece):
                pass

    async def _sockets(self, child: ShardChild) -> list[socket.socket]:
        """Take over the sockets on which the engine's side of each link listens."""
        child.channel.setblocking(True)
        receiving = asyncio.to_thread(socket.recv_fds, child.channel, 1, len(self._links))
        try:
            # The thread ends in any case: with the process its end of the pair is closed.
            _, descriptors, _, _ = await asyncio.wait_for(receiving, _START_S)
        except TimeoutError:
            raise EngineUnavailable("the engine's process says nothing") from None
        if len(descriptors) != len(self._links):
            raise EngineUnavailable(f"the engine's process ended: {await self.broken()}")
        child.channel.setblocking(False)
        return [socket.socket(fileno=descriptor) for descriptor in descriptors]

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                match await read_frame(reader, _decoder):
                    case Progress() as progress:
                        self._on_loading(progress.loading)
                    case Loaded() as loaded:
                        self._loaded.set_result(loaded.replica)
                    case Wrote() as wrote if wrote.number in self._waiting:
                        self._waiting[wrote.number].put_nowait(wrote.piece)
                    case Over(number=0) as failed:
                        self._break(failed.message)
                    case Over() as over if over.number in self._waiting:
                        self._waiting[over.number].put_nowait(_error_of(over))
                    case _:
                        pass

    async def _await_end(self, child: ShardChild) -> None:
        self._break(f"the engine's process has ended ({await child.ended()})")

    def _break(self, reason: str) -> None:
        if self._broken.done():
            return
        self._broken.set_result(reason)
        for items in self._waiting.values():
            items.put_nowait(self._gone())

    def _gone(self) -> EngineUnavailable:
        reason = self._broken.result() if self._broken.done() else "the engine was not started"
        return EngineUnavailable(reason)


def _error_of(over: Over) -> EngineError | None:
    match over.failure:
        case "":
            return None
        case "refused":
            return RequestRefused(over.code, over.message)
        case "unavailable":
            return EngineUnavailable(over.message)
        case "failed":
            return EngineError(over.message)
