"""Continuous batching: one thread that runs the model over the tokens of all sequences at once, step by step.

A sequence joins at any step and leaves at any step. Each that writes has one token in every batch; what room is left is
for prompts, so that no prompt stops the answers of others for longer than a step.
"""

from __future__ import annotations

from collections import deque
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from nodes.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nodes.engines.llama.context import LlamaContext
    from nodes.engines.llama.sequence import LlamaSequence


class LlamaBatches:
    """The thread, and the places that sequences have in the context."""

    def __init__(self, context: LlamaContext, slots: int) -> None:
        """Begin to run; there is no work yet."""
        self._context = context
        self._arrivals: SimpleQueue[LlamaSequence | None] = SimpleQueue()
        self._free = deque(range(slots))
        self._running: dict[int, LlamaSequence] = {}
        # A daemon: a step that hangs must not keep the process from ending.
        self._thread = Thread(target=self._run, name="llama-batches", daemon=True)
        self._thread.start()

    def run(self, sequence: LlamaSequence) -> None:
        """Have one sequence computed, as many at once as there are slots; returns when its place is free again.

        Raises:
            EngineError: it failed.
        """
        self._arrivals.put(sequence)
        sequence.wait()

    def stop(self) -> None:
        """End the thread; every sequence must be over by now."""
        self._arrivals.put(None)
        self._thread.join()

    def _run(self) -> None:
        while self._admit():
            try:
                self._step()
            except Exception as e:  # whatever it is, nobody may wait for ever for a thread that is gone
                for sequence in self._running.values():
                    sequence.fail(e)
            self._let_go()

    def _admit(self) -> bool:
        """Give new sequences their places, and wait for one while there is nothing to do; False: it is over."""
        while True:
            try:
                arrived = self._arrivals.get(block=not self._running)
            except Empty:
                return True
            if arrived is None:
                return False
            self._running[self._free.popleft()] = arrived

    def _step(self) -> None:
        self._context.clear()
        present = {slot: sequence for slot, sequence in self._running.items() if not sequence.is_over}
        asking = [
            (sequence, self._add(slot, sequence, 1, asks=True))
            for slot, sequence in present.items()
            if sequence.left == 1
        ]
        # The last token of a prompt waits for a step of its own kind, as each token that is written has one: then an
        # answer that is continued alone is computed exactly as it was before.
        reading = [(slot, sequence) for slot, sequence in present.items() if sequence.left > 1]
        counts = shares(self._context.room, [sequence.left - 1 for _, sequence in reading])
        for (slot, sequence), count in zip(reading, counts, strict=True):
            if count:
                self._add(slot, sequence, count, asks=False)
        if present:
            self._context.compute()
        for sequence, place in asking:
            if not sequence.is_over:
                _write(sequence, self._context, place)

    def _add(self, slot: int, sequence: LlamaSequence, count: int, *, asks: bool) -> int:
        at = sequence.computed
        return self._context.add(slot, sequence.read(count), at, asks=asks)

    def _let_go(self) -> None:
        for slot in [slot for slot, sequence in self._running.items() if sequence.is_over]:
            self._context.forget(slot)
            self._free.append(slot)
            self._running.pop(slot).release()


def shares(room: int, wishes: Sequence[int]) -> list[int]:
    """Part ``room`` among wishes, evenly, what one does not need to the others; the first get what does not divide."""
    given = [0] * len(wishes)
    while room and (open_ones := [at for at, wish in enumerate(wishes) if given[at] < wish]):
        share = max(1, room // len(open_ones))
        for at in open_ones[:room]:
            more = min(share, wishes[at] - given[at])
            given[at] += more
            room -= more
    return given


def _write(sequence: LlamaSequence, context: LlamaContext, place: int) -> None:
    try:
        sequence.write(context, place)
    except EngineError as e:
        sequence.fail(e)
