"""Following all tasks of an account: the board that dashboards share, as gRPC carries it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from gateway.bridge.frames import Events, Tasks
from gateway.http.errors import ApiError, stopping
from gateway.rpc import telling
from gateway.rpc.wire import inference_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from gateway.bridge.boards import Boards
    from gateway.bridge.frames import FromGateway
    from gateway.bridge.wire import Encoded
    from gateway.http.site import Site
    from mesh.access.caller import Caller

_MOST_FRAMES: Final = 1024
"""How far a client may be behind; a frame has what happened within 30 ms."""

_LOOK_S: Final = 1.0
"""How often it is looked at whether the client may go on, where nothing happens."""


async def watch(site: Site, boards: Boards, caller: Caller) -> AsyncGenerator[pb.WatchEvent]:
    """Yield the account's recent tasks as they stand, then what happens to any.

    Raises:
        ApiError: if the client does not keep up, may not go on, or this gateway stops.
        BusError: if the streams cannot be read now.
    """
    ear = _Ear()
    board = await boards.open(caller.account, ear)
    try:
        board.join(ear)
        while True:
            for frame in await ear.frames():
                for told in _told(frame):
                    yield told
            if not site.door.may_go_on(caller, "read"):
                message = "The key or the session with which this was asked was revoked, or its account was closed."
                raise ApiError(401, message, code="access_revoked")
            if site.leaving.has_begun:
                raise stopping("Watch at another one.")
    finally:
        boards.leave(caller.account, ear)


class _Ear:
    """What a board has told and was not passed on yet."""

    def __init__(self) -> None:
        self._frames: deque[FromGateway] = deque()
        self._told = asyncio.Event()
        self._is_behind = False

    def offer(self, frame: Encoded) -> None:
        """Take a frame, if there is room for it."""
        if len(self._frames) < _MOST_FRAMES:
            self._frames.append(frame.frame)
        else:
            self._is_behind = True
        self._told.set()

    async def frames(self) -> list[FromGateway]:
        """Return what was told since; empty if that is nothing within a second.

        Raises:
            ApiError: if some of it found no room.
        """
        try:
            async with asyncio.timeout(_LOOK_S):
                await self._told.wait()
        except TimeoutError:
            return []
        self._told.clear()
        if self._is_behind:
            message = "You do not keep up with what happens in your account: Watch again, and read faster."
            raise ApiError(429, message, code="slow_reader")
        frames = list(self._frames)
        self._frames.clear()
        return frames


def _told(frame: FromGateway) -> Iterator[pb.WatchEvent]:
    match frame:
        case Tasks():
            for seen in frame.tasks:
                yield pb.WatchEvent(task=telling.view(seen))
            if frame.reset:
                yield pb.WatchEvent(caught_up=pb.CaughtUp())
        case Events():
            for each in frame.events:
                yield pb.WatchEvent(happened=telling.event(each.task, each.event))
        case _:
            return
