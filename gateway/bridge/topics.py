"""All that one gateway has to tell: shared by its connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from gateway.bridge.boards import Boards
from gateway.bridge.roster_topics import RosterTopics
from gateway.bridge.task_follower import FrameMemory
from gateway.errors import GatewayError
from gateway.intake.submissions import Submissions
from mesh.bus.task_log import decoded
from streams import subjects
from streams.codec import encode
from streams.errors import InvalidTaskId
from streams.messages import Cancel, CancelOutcome, Refusal
from streams.subjects import TaskKey
from streams.tasks.task_id import parse_task_id

if TYPE_CHECKING:
    from gateway.roster.feed import RosterFeed
    from mesh.bus.service_bus import Bus
    from streams.tokens import Token


_cancel_reply: Final = msgspec.msgpack.Decoder(CancelOutcome | Refusal)


class RequestRefused(GatewayError):
    """A request of a client cannot be served; ``code`` goes into the error frame."""

    def __init__(self, code: str, message: str) -> None:
        """Keep the machine-readable part beside the message."""
        super().__init__(message)
        self.code = code


def task_key(account: Token, text: str) -> TaskKey:
    """Return the key of a task that a client names.

    Raises:
        RequestRefused: if the id is none.
    """
    try:
        return TaskKey(account, parse_task_id(text))
    except InvalidTaskId as error:
        raise RequestRefused("bad_task_id", str(error)) from error


class Topics:
    """Where subscriptions get their frames from."""

    def __init__(self, bus: Bus, roster_feed: RosterFeed) -> None:
        """Read through ``bus``; ``roster_feed`` is started by its owner."""
        self._bus = bus
        self.bus_connected = True
        """What connections were told last of the bus; ``Bridge`` keeps it."""
        self.source = bus.source
        self.frames = FrameMemory()
        self.submissions = Submissions(bus.edge)
        self.boards = Boards(bus, self.submissions)
        self.roster = RosterTopics(roster_feed)

    async def exists(self, key: TaskKey) -> bool:
        """Whether a task is stored, or has events though its submission has expired.

        Raises:
            BusError: if the streams cannot be read now.
        """
        return await self.submissions.find(key) is not None or bool(
            decoded(await self._bus.log.last_of_each_writer(key))
        )

    async def cancel(self, key: TaskKey, reason: str) -> CancelOutcome:
        """Ask the dispatchers to end a task.

        Raises:
            RequestRefused: if they will not.
            BusError: if nobody answers; whether it was done is unknown.
        """
        subject = subjects.user_api(key.account, "cancel")
        answer = await self._bus.core.request(subject, encode(Cancel(task=key.task, reason=reason)))
        try:
            outcome = _cancel_reply.decode(answer.data)
        except msgspec.DecodeError as error:
            raise RequestRefused("bad_answer", f"the dispatcher's answer cannot be read: {error}") from error
        if isinstance(outcome, Refusal):
            raise RequestRefused(outcome.code, outcome.message)
        return outcome
