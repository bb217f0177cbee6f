"""A conversation in the terminal: what was said so far, and how an answer is written out as it arrives."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from mesh.errors import MeshError
from streams.events import TaskChunk, TaskQueued
from streams.tasks.chat import Message
from streams.tasks.task_id import new_task_id

if TYPE_CHECKING:
    from mesh.bus.answer import Step
    from mesh.client.client import SubmitOptions
    from mesh.client.sync import SyncAnswer, SyncClient
    from mesh.processes.terminal import Terminal
    from streams.tokens import Token

_KEPT: Final = "\n\t"
_REASON: Final = "cancelled by Ctrl-C"
_ON_ITS_WAY_S: Final = 1.0
"""How long a question that nothing is known of may still be on its way to the broker, ahead of the cancel."""
_PAUSE_S: Final = 0.1


class Asked(Struct, frozen=True, kw_only=True):
    """How one answer went: its text, and whether it was cut short by Ctrl-C."""

    text: str
    cancelled: bool = False


class ChatSession:
    """One conversation with one model at a time."""

    def __init__(self, client: SyncClient, screen: Terminal, model: str, options: SubmitOptions) -> None:
        """Begin an empty conversation."""
        self._client = client
        self._screen = screen
        self._options = options
        self._system: str | None = None
        self._said: list[Message] = []
        self._line_is_open = False
        self._task = ""
        self.model = model

    def instruct(self, system: str | None) -> None:
        """Say from now on how the model shall behave; None takes it back."""
        self._system = system or None

    def forget(self) -> None:
        """Begin a new conversation."""
        self._said.clear()

    def ask(self, question: str) -> Asked:
        """Send the conversation with one more question and write the answer out as it arrives.

        Ctrl-C cancels the answer, also while the question is on its way: it was never stored then, or is cancelled.
        What was written of an answer stays in the conversation. A question that fails leaves none.

        Raises:
            MeshError: if no answer comes.
        """
        self._said.append(Message(role="user", content=question))
        try:
            asked = self._write(new_task_id())
        except (MeshError, KeyboardInterrupt):
            self._said.pop()
            raise
        if asked.text:
            self._said.append(Message(role="assistant", content=asked.text))
        return asked

    def _messages(self) -> list[Message]:
        system = [] if self._system is None else [Message(role="system", content=self._system)]
        return [*system, *self._said]

    def _write(self, task: Token) -> Asked:
        self._task = task
        options: SubmitOptions = {**self._options, "task": task}
        begun = time.monotonic()
        first_s: float | None = None
        answer: SyncAnswer | None = None
        try:
            answer = self._client.submit(self.model, self._messages(), **options)
            for step in answer.events():
                self._show(step)
                if first_s is None and isinstance(step.event, TaskChunk):
                    first_s = time.monotonic() - begun
            result = answer.result()
        except KeyboardInterrupt:
            text = self._withdraw(task) if answer is None else self._cancel(answer)
            self._end_line()
            return Asked(text=text, cancelled=True)
        except MeshError:
            self._end_line()
            raise
        self._end_line()
        if self._screen.err.is_terminal and result.usage is not None:
            took = f"{time.monotonic() - begun:.1f} s, the first after {first_s or 0:.2f} s"
            self._screen.err.print(f"{result.usage.completion_tokens} tokens in {took}", style="dim", markup=False)
        return Asked(text=result.text)

    def _cancel(self, answer: SyncAnswer) -> str:
        """Cancel what is being written; return what there is of it."""
        answer.cancel(_REASON)
        return answer.result(check=False).text

    def _withdraw(self, task: Token) -> str:
        """Cancel a question of which nobody knows yet whether it was stored; there is no text of it."""
        give_up_at_s = time.monotonic() + _ON_ITS_WAY_S
        while True:
            # Looked at before asking: whatever stands still, one cancel is sent after that time.
            is_last = time.monotonic() >= give_up_at_s
            if self._client.cancel(task, reason=_REASON).outcome != "unknown" or is_last:
                return ""
            time.sleep(_PAUSE_S)

    def _show(self, step: Step) -> None:
        if step.restarts and self._line_is_open:
            self._begin_again()
        match step.event:
            case TaskChunk(text=text):
                sys.stdout.write(printable(text) if self._screen.out.is_terminal else text)
                sys.stdout.flush()
                self._line_is_open = self._line_is_open or bool(text)
            case TaskQueued(position=position, reason=reason):
                self._screen.err.print(f"queued, {position} before it: {reason}", style="dim", markup=False)
            case _:
                pass

    def _begin_again(self) -> None:
        self._end_line()
        if not self._screen.out.is_terminal:
            # What went into a pipe cannot be taken back: better no answer there than a wrong one.
            raise MeshError(
                f"the answer began again after a part was written; see `ig3 tasks show --follow {self._task}`"
            )
        notice = "the answer begins again: what was written so far is void"
        self._screen.err.print(notice, style="yellow", markup=False)

    def _end_line(self) -> None:
        if self._line_is_open:
            sys.stdout.write("\n")
            sys.stdout.flush()
        self._line_is_open = False


def printable(text: str) -> str:
    """Leave out control characters: a model must not steer the terminal."""
    return "".join(char for char in text if char in _KEPT or char.isprintable())
