"""The calls of ``ig3.mesh.v1.Inference``: each is what its comment in ``proto/ig3/mesh/v1/inference.proto`` says."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from gateway.auth.caller import need, need_model
from gateway.http.admission import Asked, admit
from gateway.http.errors import ApiError, from_task_error, stopping
from gateway.http.exchange import OVERDUE_MS
from gateway.http.file_search.finder import Finder
from gateway.http.following import Follower
from gateway.http.measuring import Measure
from gateway.http.storing import store_task
from gateway.http.task_calls import cancel, cancel_quietly
from gateway.http.wishes import unknown_task
from gateway.intake.demands import demand_error
from gateway.limits.price import price_of_task
from gateway.rpc import telling
from gateway.rpc.asking import read_submission, read_task_id, read_wishes
from gateway.rpc.file_search import add_citations, read_file_search
from gateway.rpc.watching import watch
from gateway.rpc.wire import inference_pb2 as pb
from mesh.bus.answer import Reader
from streams.clock import now_ms
from streams.events import TaskChunk
from streams.subjects import TaskKey
from streams.tasks.task import TaskState

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from gateway.bridge.boards import Boards
    from gateway.http.admission import Admitted
    from gateway.http.site import Site
    from gateway.http.wishes import Wishes
    from gateway.limits.ticket import Price, Ticket
    from gateway.rpc.call import Call
    from mesh.bus.answer import Step
    from mesh.bus.live import Watch
    from streams.events import TaskSubmitted

_PATH: Final = "/ig3.mesh.v1.Inference/Submit"
"""Under which a request is known by its idempotency key, however it is followed."""


class Inference:
    """Serves calls that were let in."""

    def __init__(self, site: Site, boards: Boards) -> None:
        """Serve for ``site``."""
        self._site = site
        self._boards = boards

    async def submit(self, call: Call, request: pb.SubmitRequest) -> pb.SubmitReply:
        """Store a task."""
        with self._site.limiter.ticket(call.caller) as ticket:
            asking = await _Asking.read(self._site, call, request)
            admitted = await asking.admit(ticket, is_streamed=False)
            measure = asking.measure(admitted)
            try:
                if not admitted.exists and (heard := await asking.store(admitted, ticket, measure)) is not None:
                    heard.close()
            finally:
                measure.end(TaskState())
            return pb.SubmitReply(task=admitted.key.task)

    async def stream(self, call: Call, request: pb.SubmitRequest) -> AsyncGenerator[pb.TaskEvent]:
        """Store a task and follow it."""
        with self._site.limiter.ticket(call.caller) as ticket:
            asking = await _Asking.read(self._site, call, request)
            admitted = await asking.admit(ticket, is_streamed=True)
            measure = asking.measure(admitted)
            following = _Following(self._site, call, admitted.key, ticket, asking.wishes)
            try:
                heard = None if admitted.exists else await asking.store(admitted, ticket, measure)
                async for told in following.events(heard, measure=measure):
                    yield told
            except (GeneratorExit, asyncio.CancelledError):
                following.hung_up()
                raise
            finally:
                measure.end(following.state)

    async def resume(self, call: Call, request: pb.ResumeRequest) -> AsyncGenerator[pb.TaskEvent]:
        """Follow a task from behind an event on."""
        key = _key(call, request.task)
        with self._site.limiter.ticket(call.caller) as ticket:
            await ticket.open_stream()
            following = _Following(self._site, call, key, ticket)
            async for told in following.events(after=request.after_n):
                yield told

    async def get(self, call: Call, request: pb.GetRequest) -> pb.Task:
        """Say what a task has become."""
        key = _key(call, request.task)
        reader = Reader(self._site.bus.source, key)
        steps, submission = await asyncio.gather(reader.catch_up(), self._site.submissions.find(key))
        if reader.state.n == 0 and submission is None:
            raise unknown_task(key.task)
        told = telling.task(key.task, "" if submission is None else submission.asked.model, reader.state)
        telling.add_answer(told, steps)
        add_citations(told, None if submission is None else submission.asked.grounding)
        return told

    async def cancel(self, call: Call, request: pb.CancelRequest) -> pb.CancelReply:
        """Cancel a task."""
        need(call.caller, "chat")
        key = TaskKey(call.caller.account, read_task_id(request.task))
        answer = await cancel(self._site.bus, key, request.reason[:256] or "cancelled by gRPC")
        if answer.outcome == "unknown":
            raise unknown_task(key.task)
        return pb.CancelReply(outcome=telling.OUTCOMES[answer.outcome])

    async def watch(self, call: Call, _request: pb.WatchRequest) -> AsyncGenerator[pb.WatchEvent]:
        """Follow all tasks of the account."""
        need(call.caller, "read")
        with self._site.limiter.ticket(call.caller) as ticket:
            await ticket.open_stream()
            async for told in watch(self._site, self._boards, call.caller):
                yield told

    async def list_models(self, call: Call, _request: pb.ListModelsRequest) -> pb.ListModelsReply:
        """List the models that the caller may ask now."""
        feed = self._site.roster_feed
        views = sorted(feed.roster.models(now_s=feed.now_s()), key=lambda view: view.model)
        return pb.ListModelsReply(models=[telling.model(view) for view in views if call.caller.may_ask(view.model)])

    async def get_usage(self, call: Call, _request: pb.GetUsageRequest) -> pb.Usage:
        """Say what is left of the caller's limits."""
        meters = self._site.limiter.meters_of(call.caller)
        return pb.Usage(allowances=[allowance for meter in meters for allowance in telling.allowances(meter)])


class _Asking:
    """One request for a task, read and checked."""

    @classmethod
    async def read(cls, site: Site, call: Call, request: pb.SubmitRequest) -> _Asking:
        """Read and check one.

        Raises:
            ApiError: the caller may not ask that, or it cannot be asked so.
        """
        need(call.caller, "chat")
        need_model(call.caller, request.model)
        if not await site.is_known(request.model):
            message = f"The model `{request.model[:256]}` does not exist on this mesh; ListModels names those that do."
            raise ApiError(404, message, code="model_not_found", param="model")
        return cls(site, call, request)

    def __init__(self, site: Site, call: Call, request: pb.SubmitRequest) -> None:
        self._site = site
        self._call = call
        self._request = request
        self.wishes: Wishes = read_wishes(request, site.defaults_of(call.caller))
        self._task = site.need_allowed(call.caller, read_submission(request, self.wishes))
        if (wrong := demand_error(self._task)) is not None:
            raise from_task_error(wrong)
        wanted = read_file_search(request)
        self._finder = None if wanted is None else Finder(site, call.caller, wanted, self._task)

    async def admit(self, ticket: Ticket, *, is_streamed: bool) -> Admitted:
        question = Asked(
            account=self._call.caller.account,
            path=_PATH,
            body=self._request.SerializeToString(deterministic=True),
            model=self._request.model,
            wishes=self.wishes,
            goes_on=False,
            stream=is_streamed,
            price=self._price,
            draft=self._task,
        )
        return await admit(self._site, question, self._request.idempotency_key or None, ticket)

    def measure(self, admitted: Admitted) -> Measure:
        return Measure(
            self._site.open_answers, self._call.traceparent, task=admitted.key.task, model=self._request.model
        )

    async def store(self, admitted: Admitted, ticket: Ticket, measure: Measure) -> Watch | None:
        return await store_task(
            self._site,
            admitted,
            self._request.model,
            self._submission(),
            self.wishes,
            ticket,
            headers=measure.bus_headers,
        )

    def _price(self) -> Price:
        price = price_of_task(self._task, answer_tokens=self._site.settings.answer_tokens)
        return price if self._finder is None else self._finder.price(price)

    async def _submission(self) -> TaskSubmitted:
        return self._task if self._finder is None else await self._finder.ground(self._task, self.wishes.urgency)


class _Following:
    """One call that reads a task."""

    def __init__(self, site: Site, call: Call, key: TaskKey, ticket: Ticket, wishes: Wishes | None = None) -> None:
        self._site = site
        self._call = call
        self._key = key
        self._ticket = ticket
        self._wishes = wishes
        self._follower: Follower | None = None

    @property
    def state(self) -> TaskState:
        """What the client has seen of the task."""
        return TaskState() if self._follower is None else self._follower.state

    def hung_up(self) -> None:
        """The client has gone; what it wanted then is done."""
        wishes, site = self._wishes, self._site
        if wishes is not None and wishes.on_disconnect == "cancel" and not site.leaving.has_begun:
            site.spawn(cancel_quietly(site.bus, self._key, "the client hung up"))

    async def events(
        self, heard: Watch | None = None, *, after: int = 0, measure: Measure | None = None
    ) -> AsyncGenerator[pb.TaskEvent]:
        """Yield what happens behind ``after``, to the end."""
        with self._reading(heard, after) as follower:
            steps = await self._first(follower, after)
            while True:
                for step in steps:
                    if measure is not None and isinstance(step.event, TaskChunk):
                        measure.first_token()
                    yield telling.event(self._key.task, step.event)
                if follower.is_over:
                    return
                self._check(follower)
                steps = await follower.steps()

    @contextmanager
    def _reading(self, heard: Watch | None, after: int) -> Generator[Follower]:
        site = self._site
        with (
            Follower(site.bus.source, self._key, watch=heard, after=after) as follower,
            site.leaving.reading(follower),
            site.readers.reading(self._call.caller, "chat" if self._wishes else "read", follower),
        ):
            self._follower = follower
            yield follower

    async def _first(self, follower: Follower, after: int) -> list[Step]:
        if self._wishes is not None:
            return await follower.steps()
        try:
            return await follower.first_steps()
        finally:
            # Goes before whatever else is wrong: of a task that is not here no counter is right.
            if follower.state.n == 0 and not await self._site.submissions.exists(self._key):
                raise unknown_task(self._key.task)

    def _check(self, follower: Follower) -> None:
        if self._site.leaving.is_over:
            raise stopping(f"Go on at another one: Resume with after_n {follower.reached}.")
        if self._wishes is not None and now_ms() > self._wishes.deadline_at_ms + OVERDUE_MS:
            message = "The mesh does not answer; Get shows whether it still does."
            raise ApiError(504, message, code="deadline_exceeded")


def _key(call: Call, task: str) -> TaskKey:
    """The task that a client names, in its own account."""
    need(call.caller, "read")
    return TaskKey(call.caller.account, read_task_id(task))
