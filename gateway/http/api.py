"""What an API is to the one flow that serves them all: a reader of its requests, and writers of its answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.http.cache.use import CacheUse
    from gateway.http.chat.request import ServiceTier
    from gateway.http.errors import ApiError
    from gateway.http.site import Site
    from gateway.limits.ticket import Price
    from mesh.access.caller import Caller
    from mesh.bus.answer import AnswerText, Step
    from streams.events import TaskSubmitted
    from streams.subjects import ServiceClass, TaskKey
    from streams.tasks.placing import Rules
    from streams.tasks.task import TaskState
    from streams.tokens import Token


class Frames(Protocol):
    """Writes one answer's stream, event by event. It sees every valid event of the task once, in order, by one method.

    What it writes follows from these events alone, so any gateway writes the same bytes of the same task.
    """

    has_text: bool
    """Whether the client has text of the answer, by this stream or by an earlier one."""
    last: bytes
    """What ends a stream that has nothing to tell, since its client has it all."""
    tells_failures: bool
    """Whether a task that has failed before its stream began is told in the stream; else it is a 4xx or 5xx."""

    def write(self, step: Step) -> bytes:
        """Write what a client is told of one event; empty: nothing."""
        ...

    def resume(self, steps: Sequence[Step]) -> None:
        """Take note of what an earlier stream has told this client; at most once, before all else."""
        ...

    def skip(self, steps: Sequence[Step]) -> None:
        """Take note of what is void before the client has seen any of it."""
        ...

    def restart(self, error: ApiError, steps: Sequence[Step]) -> bytes:
        """Write what ends a stream whose client has text that is void since the last of ``steps``, all of them new.

        Empty: the client has been told, and the stream goes on with that step.
        """
        ...

    def comment(self, text: bytes) -> bytes:
        """Write what clients skip."""
        ...

    def failure(self, error: ApiError, *, n: int | None = None) -> bytes:
        """Write the event that ends a stream whose answer does not come; ``n`` is where to go on behind."""
        ...


class Answerable(Protocol):
    """Whatever an answer can be written to, whole or as a stream."""

    def answer(self, task: Token, text: AnswerText, state: TaskState) -> bytes:
        """Write the whole answer of a completed task as JSON; in the background, of one that stands anyhow."""
        ...

    def frames(self, task: Token) -> Frames:
        """A writer for the stream of a task."""
        ...


class Question(Answerable, Protocol):
    """One request, read and checked, in the words of its API."""

    draft: TaskSubmitted
    """The task that it asks for, as far as that is known before there is room: what it demands of a replica. Whoever
    lets the request in may give it less than it asks for."""

    @property
    def is_length_usual(self) -> bool:
        """Whether the length of the answer is what the API gives where a request does not say it."""
        ...

    @property
    def model(self) -> str:
        """Who is asked."""
        ...

    @property
    def is_streamed(self) -> bool:
        """Whether the answer comes as it is written."""
        ...

    @property
    def is_background(self) -> bool:
        """Whether a client that wants no stream is answered at once with how it stands; the task goes on either way."""
        ...

    @property
    def service_tier(self) -> ServiceTier | None:
        """How urgent it is, where the body says so."""
        ...

    @property
    def cache_use(self) -> CacheUse:
        """When its answer may come from the cache."""
        ...

    def price(self, answer_tokens: int) -> Price:
        """What it may use; ``answer_tokens`` where it does not say how long its answer may be."""
        ...

    async def submission(self, deadline_at_ms: int, rules: Rules | None) -> TaskSubmitted:
        """The task that it asks for; called only when there is room for it, and it is not known to be stored."""
        ...


class OfVectors:
    """Marks what is answered with vectors; all else is answered with text."""


@runtime_checkable
class Grounded(Protocol):
    """A question whose answer shows what was found before the task was stored."""

    async def recall(self, key: TaskKey) -> None:
        """Take from the log what was found for a task that was stored before, whoever has stored it.

        Raises:
            BusError: if it cannot be read now.
        """
        ...


@runtime_checkable
class Prepared(Protocol):
    """A question for which models may be asked before its own task is stored."""

    urgency: ServiceClass
    """The class of the request, in which they are asked too; whoever lets it in says it."""


Read = Callable[["Site", "Caller", bytes], Awaitable[Question]]
"""Reads the body of a request.

Raises:
    ApiError: 400, naming the parameter that is wrong.
"""
