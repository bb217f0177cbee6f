"""What one connection has subscribed to: at most one subscription per topic, or per task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.bridge.frames import Subscribed, Unsubscribed
from gateway.bridge.task_follower import send_task
from gateway.bridge.topics import RequestRefused, task_key
from gateway.bridge.wire import Encoded

if TYPE_CHECKING:
    from gateway.bridge.frames import Subscribe, Topic, Unsubscribe
    from gateway.bridge.outbox import Outbox
    from gateway.bridge.topics import Topics
    from streams.subjects import TaskKey
    from streams.tokens import Token

MAX_SUBSCRIPTIONS: Final = 128

Leave = Callable[[], object]


class Channel(NamedTuple):
    """What a subscription is to; ``key`` is set for the topic ``task`` only."""

    topic: Topic
    key: TaskKey | None

    @property
    def task(self) -> str | None:
        """The task's id, if it is a task's channel."""
        return None if self.key is None else self.key.task


class Subscriptions:
    """Joins and leaves topics for one connection."""

    def __init__(self, topics: Topics, account: Token, outbox: Outbox, on_failure: Callable[[Exception], None]) -> None:
        """Start with none. ``on_failure`` hears of what nobody awaits."""
        self._topics = topics
        self._account = account
        self._outbox = outbox
        self._on_failure = on_failure
        self._held: dict[Channel, Leave] = {}
        self._followers: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._held)

    async def subscribe(self, frame: Subscribe) -> None:
        """Join a topic: say so, then let it send.

        Raises:
            RequestRefused: if it cannot be joined.
            BusError: if it cannot be read now.
        """
        channel = self._channel(frame)
        if channel in self._held:
            raise RequestRefused("already_subscribed", "there is one subscription per topic or task: unsubscribe first")
        if len(self._held) >= MAX_SUBSCRIPTIONS:
            raise RequestRefused("too_many_subscriptions", f"a connection holds at most {MAX_SUBSCRIPTIONS}")
        answer = Encoded(Subscribed(id=frame.id, topic=channel.topic, task=channel.task))
        if channel.key is not None:
            await self._join_task(channel, channel.key, frame.after, answer)
        elif channel.topic == "tasks":
            await self._join_board(channel, answer)
        else:
            self._join_roster(channel, answer)

    def unsubscribe(self, frame: Unsubscribe) -> None:
        """Leave a topic; nothing of it is added to the outbox after the answer.

        Raises:
            RequestRefused: if it was not joined.
        """
        channel = self._channel(frame)
        leave = self._held.pop(channel, None)
        if leave is None:
            raise RequestRefused("not_subscribed", "there is no such subscription; a task's ends by itself: 'over'")
        leave()
        self._outbox.offer(Encoded(Unsubscribed(id=frame.id, topic=channel.topic, task=channel.task)))

    async def close(self) -> None:
        """Leave everything."""
        for leave in self._held.values():
            leave()
        self._held.clear()
        await asyncio.gather(*self._followers, return_exceptions=True)

    def _channel(self, frame: Subscribe | Unsubscribe) -> Channel:
        if frame.topic == "task":
            if frame.task is None:
                raise RequestRefused("bad_request", "the topic task needs a task id")
            return Channel("task", task_key(self._account, frame.task))
        if frame.task is not None:
            raise RequestRefused("bad_request", f"the topic {frame.topic} takes no task id")
        return Channel(frame.topic, None)

    async def _join_task(self, channel: Channel, key: TaskKey, after: int, answer: Encoded) -> None:
        if not await self._topics.exists(key):
            raise RequestRefused("task_not_found", f"there is no task {key.task}, or it has expired")
        self._outbox.offer(answer)
        sending = send_task(self._topics.source, key, after, self._outbox, self._topics.frames)
        follower = asyncio.create_task(sending, name=f"websocket-{key.task}")
        self._followers.add(follower)
        self._held[channel] = follower.cancel
        follower.add_done_callback(lambda done: self._on_task_over(channel, done))

    async def _join_board(self, channel: Channel, answer: Encoded) -> None:
        board = await self._topics.boards.open(self._account, self._outbox)
        self._held[channel] = lambda: self._topics.boards.leave(self._account, self._outbox)
        self._outbox.offer(answer)
        board.join(self._outbox)

    def _join_roster(self, channel: Channel, answer: Encoded) -> None:
        roster = self._topics.roster
        self._outbox.offer(answer)
        if channel.topic == "nodes":
            roster.join_nodes(self._outbox)
            self._held[channel] = lambda: roster.leave_nodes(self._outbox)
        else:
            roster.join_models(self._outbox)
            self._held[channel] = lambda: roster.leave_models(self._outbox)

    def _on_task_over(self, channel: Channel, follower: asyncio.Task[None]) -> None:
        self._followers.discard(follower)
        if self._held.get(channel) == follower.cancel:
            del self._held[channel]
        if not follower.cancelled() and (error := follower.exception()) is not None:
            self._on_failure(error if isinstance(error, Exception) else RuntimeError(str(error)))
