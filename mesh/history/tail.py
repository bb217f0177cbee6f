"""Following a small stream whole, from its first event, for as long as the process lives.

The stream is read by position with batched direct gets; a message on the subject is only a nudge to look, and
without one a look is taken every two seconds. So no consumer has to be kept, and no leader change, reconnect or
restart can drop, repeat or reorder an event. Meant for streams of few events (MODELS, DEVICES). With snapshots of what
it feeds, it begins behind the newest good one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mesh.bus.headers import SEQUENCE, STREAM_SUBJECT, stamped
from mesh.errors import BusError, RequestTimedOut
from mesh.history.stream_facts import stream_facts

if TYPE_CHECKING:
    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link, Listener
    from mesh.history.checkpoint import Checkpoint

log = logging.getLogger(__name__)

SAVE_EVERY: Final = 10_000
"""Events after which a new snapshot is written."""

SAVE_AT_STOP: Final = 500
"""Events since the last snapshot that make one worth writing when the process ends."""

_BATCH: Final = 500
_BATCH_BYTES: Final = 4 * 1024 * 1024
_NEARLY_BYTES: Final = _BATCH_BYTES // 2
"""An answer of so many bytes may have been cut, whatever the broker counts besides the bodies."""
_FIRST_TRIES: Final = 4
_LOOK_S: Final = 2.0
_AFTER_NUDGE_S: Final = (0.005, 0.02, 0.1, 0.4)
_PAUSES_S: Final = (0.001, 0.005, 0.02, 0.1, 0.4, 1.0)

OnEvent = Callable[[int, str, bytes], None]
"""Called with stream sequence, subject and body, in stream order; must not wait."""


class StreamTail:
    """Hands every event of one stream to a function, once and in order."""

    def __init__(
        self,
        link: Link,
        stream: str,
        subject: str,
        on_event: OnEvent,
        *,
        checkpoint: Checkpoint | None = None,
        nudges: tuple[str, ...] = (),
    ) -> None:
        """Prepare.

        Args:
            link: a connection in the stream's account.
            stream: its name.
            subject: the wildcard of the whole stream: a message there means that it is time to look.
            on_event: gets every event.
            checkpoint: where the state that ``on_event`` feeds is saved and begins.
            nudges: where a message means that, if one wildcard covers more than the stream.
        """
        self._link = link
        self._stream = stream
        self._get = f"$JS.API.DIRECT.GET.{stream}"
        self._subject = subject
        self._nudges = nudges or (subject,)
        self._on_event = on_event
        self._checkpoint = checkpoint
        self._position = 0
        self._last: Delivery | None = None
        self._since_save = 0
        self._nudge = asyncio.Event()
        self._reaching = asyncio.Lock()
        self._listeners: list[Listener] = []
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read all that is stored, then go on in the background.

        Raises:
            BusError: if the stream cannot be read.
        """
        if self._checkpoint is not None:
            self._position = await self._checkpoint.load()
        self._listeners = [await self._link.listen(each, self._on_nudge) for each in self._nudges]
        if self._link.has_choice:
            # The copy that answers may be behind, or empty still: nobody begins with less than the leader has.
            await self.catch_up()
        await self._read_first()
        self._task = asyncio.create_task(self._run(), name=f"tail-{self._subject}")

    @property
    def position(self) -> int:
        """The stream sequence up to which every event was handed out."""
        return self._position

    async def stop(self) -> None:
        """Stop following; what was read since the last snapshot is saved if it is worth it."""
        for listener in self._listeners:
            await listener.close()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._since_save >= SAVE_AT_STOP:
            await self.save()

    async def save(self) -> None:
        """Write a snapshot now, if anything was handed out since the last one; a full disk is only a warning."""
        if self._checkpoint is None or self._last is None:
            return
        last, self._last, self._since_save = self._last, None, 0
        await self._checkpoint.save(self._position, stamped(last.headers, STREAM_SUBJECT) or "", last.data)

    async def reach(self, sequence: int) -> None:
        """Read on until ``sequence`` was handed out: who has just written an event sees it in the projection.

        Raises:
            BusError: if the stream cannot be read.
        """
        for pause_s in _PAUSES_S:
            # What one reads, all who wait have: hundreds of devices that come at once cost a few readings.
            async with self._reaching:
                if self._position < sequence:
                    await self._read_on()
            if self._position >= sequence:
                return
            # In a cluster any copy answers, and this one has not heard of it yet.
            await asyncio.sleep(pause_s)

    async def catch_up(self) -> int:
        """Read on until all that is stored by now was handed out, and return the stream's last sequence.

        Raises:
            BusError: if the stream cannot be read.
        """
        newest = (await stream_facts(self._link, self._stream)).last_sequence
        await self.reach(newest)
        return newest

    def _on_nudge(self, _: Delivery) -> None:
        self._nudge.set()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                # Not wait_for: in Python 3.11 that loses a cancellation which comes together with the nudge.
                async with asyncio.timeout(_LOOK_S):
                    await self._nudge.wait()
            is_nudged = self._nudge.is_set()
            self._nudge.clear()
            try:
                await self._look(is_nudged=is_nudged)
            except BusError as error:
                log.warning("%s cannot be read now, trying again: %s", self._subject, error)
                await asyncio.sleep(_LOOK_S)

    async def _look(self, *, is_nudged: bool) -> None:
        await self._read_on()
        if is_nudged and self._link.has_choice:
            # In a cluster the nudge overtakes the event, which is stored only when most copies have it.
            for pause_s in _AFTER_NUDGE_S:
                await asyncio.sleep(pause_s)
                await self._read_on()

    async def _read_first(self) -> None:
        """As ``_read_on``, of a broker that may stand still for seconds: whoever starts here would else end."""
        for tries_left in reversed(range(_FIRST_TRIES)):
            try:
                await self._read_on()
            except RequestTimedOut as error:
                if not tries_left:
                    raise
                log.warning("%s cannot be read now, trying again: %s", self._subject, error)
            else:
                return

    async def _read_on(self) -> None:
        while True:
            query = {
                "seq": self._position + 1,
                "next_by_subj": self._subject,
                "batch": _BATCH,
                "max_bytes": _BATCH_BYTES,
            }
            collected = await self._link.collect(self._get, json.dumps(query).encode())
            for part in collected.parts:
                self._hand_on(part)
            if self._since_save >= SAVE_EVERY:
                await self.save()
            is_full = sum(len(part.data) for part in collected.parts) >= _NEARLY_BYTES
            if len(collected.parts) < _BATCH and not is_full:
                return

    def _hand_on(self, part: Delivery) -> None:
        sequence = int(stamped(part.headers, SEQUENCE) or 0)
        subject = stamped(part.headers, STREAM_SUBJECT) or ""
        if sequence <= self._position:
            # Two readings at once, one of them for somebody who could not wait.
            return
        self._position, self._last = sequence, part
        self._since_save += 1
        try:
            self._on_event(sequence, subject, part.data)
        except Exception:
            # One event that cannot be used must not hide those after it.
            log.exception("event %d of %s could not be used", sequence, self._subject)
