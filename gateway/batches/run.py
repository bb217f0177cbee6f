"""Running one batch: its lines become tasks of the class batch, some at a time, and their answers lines of a file.

Every line's task has an id that follows from the batch and the line, so whoever takes a batch over, after a crash or a
stop, submits nothing twice: a line that has its answer is passed over, one whose task runs is followed.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from gateway.batches.outputs import Outputs
from gateway.batches.requests import Inputs
from gateway.http.admission import Asked, admit
from gateway.http.api import Grounded, Prepared
from gateway.http.errors import ApiError, from_end
from gateway.http.following import Follower
from gateway.http.placing_rules import with_redaction
from gateway.http.storing import store_task
from gateway.http.task_calls import cancel_quietly
from gateway.http.wishes import Wishes
from mesh.bus.answer import AnswerText
from streams.batches.events import BatchEnded, BatchRefused, BatchStarted, LineFault
from streams.clock import now_ms
from streams.subjects import TaskKey
from streams.tasks.task_id import sibling_task_id
from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.batches.log import BatchLog, Standing
    from gateway.batches.requests import Numbered
    from gateway.http.admission import Admitted
    from gateway.http.api import Question, Read
    from gateway.http.site import Site
    from mesh.access.caller import Caller
    from mesh.files.store import FileStore
    from streams.batches.events import BatchEvent
    from streams.batches.fold import Batch

    _Decide = Callable[[Batch], BatchEvent | None]

log = logging.getLogger(__name__)

_LOOK_S: Final = 1.0
"""How often it is looked at whether the batch is still wanted."""
_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 30.0
_NOT_NOW: Final = frozenset({429, 503})


class BatchRun:
    """One batch, from where it stands to its end."""

    def __init__(
        self,
        site: Site,
        store: FileStore,
        batches: BatchLog,
        readers: Mapping[str, Read],
        account: Token,
        name: Token,
    ) -> None:
        """Prepare to run the batch ``name`` of an account."""
        self._site = site
        self._store = store
        self._batches = batches
        self._readers = readers
        self._account = account
        self._name = name
        self._outputs = Outputs(store, account, name)
        self._unwanted = asyncio.Event()

    async def run(self) -> None:
        """Bring the batch to its end; once more is fine.

        Raises:
            BusError: if the streams cannot be read or written for long.
        """
        standing = await self._batches.find(self._account, self._name)
        if standing is None or standing.batch.is_over:
            return
        batch = standing.batch
        caller = await self._site.door.caller_of(self._account, batch.created.key_id)
        if caller is None:
            await self._refuse(LineFault(code="access_revoked", message="The key or account that asked is not good."))
            return
        inputs = Inputs(self._site, caller, batch.created.endpoint, self._readers)
        if batch.started is None and not await self._start(inputs, batch):
            return
        await self._outputs.look()
        await self._answer_all(inputs, caller, batch)
        await self._end()

    async def _start(self, inputs: Inputs, batch: Batch) -> bool:
        file = Token(batch.created.input_file)
        count, faults = await inputs.check(self._store.read(self._account, file))
        if faults:
            await self._refuse(*faults)
            return False
        await self._note(lambda _: BatchStarted(at_ms=now_ms(), requests=count))
        return True

    async def _answer_all(self, inputs: Inputs, caller: Caller, batch: Batch) -> None:
        file = Token(batch.created.input_file)
        room = asyncio.Semaphore(self._site.settings.batch_concurrency)
        looking = asyncio.create_task(self._look(batch))
        try:
            async with asyncio.TaskGroup() as group:
                async for numbered in inputs.all(self._store.read(self._account, file)):
                    if self._outputs.has(numbered.number):
                        continue
                    await room.acquire()
                    line = _Line(self._site, inputs, caller, batch, self._task_of(numbered), numbered)
                    working = group.create_task(self._answer(line))
                    working.add_done_callback(lambda _: room.release())
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _answer(self, line: _Line) -> None:
        """Have one line written, whatever becomes of its request."""
        if self._unwanted.is_set():
            await self._leave(line)
            return
        waiting = asyncio.create_task(self._unwanted.wait())
        answering = asyncio.create_task(line.answer())
        try:
            await asyncio.wait((waiting, answering), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                line.cancel()
                await asyncio.wait((answering,), timeout=_LONGEST_WAIT_S)
            body = await answering if answering.done() else None
        except ApiError as error:
            await self._outputs.failed(line.numbered, line.key.task, error)
            return
        finally:
            waiting.cancel()
            answering.cancel()
            await asyncio.gather(waiting, answering, return_exceptions=True)
        if body is None:
            await self._leave(line)
        else:
            await self._outputs.answered(line.numbered, line.key.task, body)

    async def _leave(self, line: _Line) -> None:
        await self._outputs.left(
            line.numbered, line.key.task, "batch_ended", "The batch was cancelled or expired before this request."
        )

    async def _look(self, batch: Batch) -> None:
        """See whether somebody has cancelled it, or its time is over."""
        while not self._unwanted.is_set():
            await asyncio.sleep(_LOOK_S)
            standing = await self._batches.find(self._account, self._name)
            is_cancelled = standing is None or standing.batch.cancelling is not None or standing.batch.is_over
            if is_cancelled or now_ms() >= batch.created.expires_at_ms:
                self._unwanted.set()

    async def _end(self) -> None:
        output, errors = await self._outputs.close("output"), await self._outputs.close("errors")
        counts = self._outputs.counts

        def decide(batch: Batch) -> BatchEnded | None:
            if batch.is_over:
                return None
            is_expired = now_ms() >= batch.created.expires_at_ms
            outcome = "cancelled" if batch.cancelling else "expired" if is_expired and counts.failed else "completed"
            return BatchEnded(
                at_ms=now_ms(),
                outcome=outcome,
                completed=counts.completed,
                failed=counts.failed,
                output_file=output,
                error_file=errors,
            )

        await self._note(decide)

    async def _refuse(self, *faults: LineFault) -> None:
        await self._note(lambda batch: None if batch.is_over else BatchRefused(at_ms=now_ms(), faults=faults))

    async def _note(self, decide: _Decide) -> Standing | None:
        return await self._batches.note(self._account, self._name, decide)

    def _task_of(self, numbered: Numbered) -> TaskKey:
        first = Token(self._name.removeprefix("batch_"))
        return TaskKey(self._account, sibling_task_id(first, numbered.number))


class _Line:
    """One request of a batch, and its task."""

    def __init__(
        self, site: Site, inputs: Inputs, caller: Caller, batch: Batch, key: TaskKey, numbered: Numbered
    ) -> None:
        self._site = site
        self._inputs = inputs
        self._caller = caller
        self._batch = batch
        self.key = key
        self.numbered = numbered

    async def answer(self) -> bytes:
        """Return the answer to the request as its API writes it.

        Raises:
            ApiError: why there is none.
        """
        question = await self._inputs.question(self.numbered.line)
        deadline_at_ms = self._batch.created.expires_at_ms
        defaults = self._site.defaults_of(self._caller)
        wishes = Wishes(
            urgency="batch",
            deadline_at_ms=deadline_at_ms,
            on_disconnect="continue",
            task=self.key.task,
            rules=with_redaction(None, defaults.redaction),
            bounds=defaults.bounds,
        )
        if isinstance(question, Prepared):
            question.urgency = wishes.urgency
        pause_s = _WAIT_S
        while True:
            try:
                return await self._asked(question, wishes)
            except ApiError as error:
                is_final = error.status not in _NOT_NOW or error.headers.get("x-should-retry") == "false"
                if is_final or now_ms() >= deadline_at_ms:
                    raise
            # There is no room now: batches wait, whoever else is served first.
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_WAIT_S)

    def cancel(self) -> None:
        """End the task, wherever it is."""
        self._site.spawn(cancel_quietly(self._site.bus, self.key, "the batch was cancelled, or its time is over"))

    async def _asked(self, question: Question, wishes: Wishes) -> bytes:
        site = self._site
        with site.limiter.ticket(self._caller) as ticket:
            asked = Asked(
                account=self.key.account,
                path="/v1/batches",
                body=b"",
                model=question.model,
                wishes=wishes,
                goes_on=False,
                stream=False,
                price=partial(question.price, site.settings.answer_tokens),
                draft=question.draft,
            )
            admitted: Admitted = await admit(site, asked, None, ticket)
            watch = None
            if not admitted.exists:
                if (most_s := wishes.bounds.most_seconds) is not None:
                    # Waiting for room is no part of it: batches are never in a hurry.
                    until_ms = min(wishes.deadline_at_ms, now_ms() + most_s * 1000)
                    wishes = replace(wishes, deadline_at_ms=until_ms)
                task = question.submission(wishes.deadline_at_ms, wishes.rules)
                watch = await store_task(site, admitted, question.model, task, wishes, ticket)
            if watch is None and isinstance(question, Grounded):
                await question.recall(self.key)
            with Follower(site.bus.source, self.key, watch=watch, only_whole=True) as follower:
                text = AnswerText()
                while not follower.is_over:
                    text.take(await follower.steps())
                if follower.state.outcome != "completed":
                    raise from_end(follower.state)
                site.gate.dropped(self.key)
                return question.answer(self.key.task, text, follower.state)
