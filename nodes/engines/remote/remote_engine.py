"""What all engines share that ask a server over the network: seats, cancelling, and knowing whether it is there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from nodes.engine import Loading
from nodes.engines.conversation import conversation_of
from nodes.engines.demands import check_demands
from nodes.engines.llama.plain_text import NO_MARKERS
from nodes.engines.remote.presence import Presence
from nodes.engines.remote.seats import Seats
from nodes.errors import EngineError, RequestRefused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nodes.engine import EngineLoad, EngineSpec, Generate, OnLoading, Piece
    from nodes.engines.conversation import Conversation
    from streams.devices.replica import Ability, Replica


class RemoteServer(Protocol):
    """The connection to a server."""

    root: str
    """Where it is."""

    def open(self) -> None:
        """Begin, within the event loop; may be repeated."""
        ...

    async def close(self) -> None:
        """Cut whatever runs; who waits for an answer is told."""
        ...


class RemoteEngine(ABC):
    """Asks one model of one server."""

    def __init__(self, spec: EngineSpec, on_loading: OnLoading, server: RemoteServer) -> None:
        """Prepare to ask ``server``."""
        self._spec = spec
        self._on_loading = on_loading
        self._remote = server
        self._presence = Presence(f"the server at {server.root}", self._look)
        self._model = ""
        self._plain = NO_MARKERS
        self._abilities: tuple[Ability, ...] = ()
        self._seats = Seats(spec.slots or 1)

    async def start(self) -> Replica:
        """Ask the server what it has, find out what that can do, and measure it."""
        self._remote.open()
        try:
            replica = await self._find_out()
        except BaseException:
            await self.stop()
            raise
        self._presence.start()
        self._on_loading(Loading(stage="ready", fraction=1.0))
        return replica

    async def generate(self, request: Generate) -> AsyncGenerator[Piece, None]:
        """Stream one answer; see `nodes.engine.Engine`. Closing it closes the connection to the server."""
        check_demands(request, self._able(request))
        conversation = conversation_of(request, self._plain)
        async with self._seats.taken(), aclosing(self._answer(conversation, request)) as pieces:
            async for piece in pieces:
                yield piece
                self._seats.check()

    def _able(self, request: Generate) -> tuple[Ability, ...]:
        """What it can do for a request of this kind."""
        del request
        return self._abilities

    @abstractmethod
    def can_continue(self, request: Generate) -> bool:
        """Whether an answer to this can be gone on with."""

    def load(self) -> EngineLoad:
        """Count the requests that are with the server, and say whether that is there."""
        return replace(self._seats.load(), away=self._presence.away)

    async def stop(self) -> None:
        """Cut every connection."""
        self._seats.stopped = True
        await self._presence.stop()
        await self._remote.close()

    async def _answer(self, conversation: Conversation, request: Generate) -> AsyncGenerator[Piece, None]:
        try:
            async with aclosing(self._asked(conversation, request)) as pieces:
                async for piece in pieces:
                    yield piece
        except RequestRefused:
            raise
        except EngineError:
            self._presence.doubt()
            raise

    @abstractmethod
    def _asked(self, conversation: Conversation, request: Generate) -> AsyncGenerator[Piece, None]:
        """Ask the server, in its own way."""

    @abstractmethod
    async def _look(self) -> None:
        """Raise where the server cannot serve."""

    @abstractmethod
    async def _find_out(self) -> Replica:
        """Ask the server what there is to know."""
