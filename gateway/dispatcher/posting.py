"""Handing a task to a node, and what is known of the node's work on it since."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from mesh.bus.headers import TRACEPARENT, header_block
from streams import subjects
from streams.codec import encode
from streams.messages import Assign, Stop
from streams.tasks.answer_parts import joined_calls
from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.dispatcher.task_run import TaskRun
    from mesh.bus.service_bus import Bus
    from streams.events import TaskSubmitted


class Posting:
    """One task's place with a node. ``node`` is None while it has none."""

    def __init__(
        self, bus: Bus, record: TaskRun, dispatcher: str, traceparent: str | None, now_s: Callable[[], float]
    ) -> None:
        """Begin without a node; ``now_s`` stands still while nodes cannot be heard, whose silence is none then."""
        self.node: str | None = None
        self.orders_repeated = 0
        self._now_s = now_s
        self._bus = bus
        self._record = record
        self._dispatcher = dispatcher
        self._traceparent = traceparent
        self._process: str | None = None
        self._progress = (0, 0)
        self._moved_at_s = 0.0
        self._told_at_s = 0.0

    def begin(self, node: str, process: str | None) -> None:
        """The task is this node's now, which last reported from ``process``."""
        self.node = node
        self.orders_repeated = 0
        self._process = process
        self._moved_at_s = self._now_s()

    def end(self) -> None:
        """It is nobody's."""
        self.node = None

    def is_forgotten_by(self, process: str) -> bool:
        """Whether the node, which reports from ``process`` now, was started again since it got the task."""
        self._process = self._process or process
        return process != self._process

    def stands_still_for_s(self, tokens: int) -> float:
        """How long the attempt has made no progress, given the count of tokens that the node reports now."""
        now_s = self._now_s()
        if (progress := (self._record.state.attempt, tokens)) != self._progress:
            self._progress, self._moved_at_s = progress, now_s
        return now_s - self._moved_at_s

    def unlisted_for_s(self) -> float:
        """How long ago the node was told of the task, or somebody last looked what it makes of that."""
        return self._now_s() - self._told_at_s

    def is_looked_at(self) -> None:
        """Somebody looks now."""
        self._told_at_s = self._now_s()

    def hand_over(self, asked: TaskSubmitted, deadline_at_ms: int) -> None:
        """Give the node the task, or the right to write it once more: it knows an attempt that it has already."""
        if self.node is None:
            return
        self._told_at_s = self._now_s()
        node = Token(self.node)
        self._send(node, self._order(asked, deadline_at_ms), reply=subjects.result(self._record.key, node))

    def ask_second(self, node: str, model: str, asked: TaskSubmitted, deadline_at_ms: int) -> int:
        """Have another node begin too, out of sight: what follows the current attempt, without the right to write.

        Returns the number of that attempt.
        """
        order = self._order(asked, deadline_at_ms)
        order = replace(order, attempt=order.attempt + 1, model=model, written=0, hedge=True)
        self._send(Token(node), order, reply="")
        return order.attempt

    def _order(self, asked: TaskSubmitted, deadline_at_ms: int) -> Assign:
        record = self._record
        return Assign(
            account=record.key.account,
            task=record.key.task,
            attempt=record.state.attempt,
            next_n=record.state.n + 1,
            last_sequence=record.sequence,
            model=record.state.model or asked.model,
            messages=asked.messages,
            prompt=asked.prompt,
            sampling=asked.sampling,
            tools=asked.tools,
            format=asked.format,
            dispatcher=self._dispatcher,
            prefix="".join(record.text),
            prefix_calls=joined_calls(record.calls),
            prefix_tokens=record.state.tokens,
            written=record.state.shares[-1].chars,
            texts=asked.texts[record.state.chars :],
            first=record.state.chars if asked.texts else 0,
            dimensions=asked.dimensions,
            deadline_at_ms=deadline_at_ms,
            seam=record.state.seam,
            redaction=None if asked.rules is None else asked.rules.redaction,
        )

    def _send(self, node: Token, order: Assign, *, reply: str) -> None:
        self._bus.edge.send(
            subjects.node_inbox(node, "assign"),
            encode(order),
            reply=reply,
            headers=header_block((TRACEPARENT, self._traceparent)) if self._traceparent else b"",
        )

    def call_off(self, reason: str) -> None:
        """Tell the node of the current attempt to write no more; the broker's fence holds it to that."""
        state = self._record.state
        if state.node is not None:
            self.stop(state.node, state.attempt, reason)

    def stop(self, node: str, attempt: int, reason: str) -> None:
        """Tell a node to write no more of an attempt, or to forget what it began out of sight."""
        key = self._record.key
        stop = Stop(task=key.task, attempt=attempt, reason=reason, account=key.account)
        self._bus.edge.send(subjects.node_inbox(Token(node), "stop"), encode(stop))
