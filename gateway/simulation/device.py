"""One device: requests share it out, each slower for every other one, and what was read lately need not be read again.

The work of a request is counted in seconds that it would take alone. With ``k`` at once each of them gets on at
``1 / (1 + crowding * (k - 1))`` of that speed, reading and writing alike.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from gateway.scheduling.prefixes import BLOCK_TOKENS
from streams.devices.roster import NodeView
from streams.messages import NodeStatus, Running
from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.simulation.scenario import NodeKind
    from streams.devices.replica import Replica
    from streams.subjects import TaskKey

HEARTBEAT_S: Final = 1.8
"""As nodes have it by default."""

_UNTOLD_TOKENS_PER_S: Final = 10.0
_INSTANT_S: Final = 1e-9

Stage = Literal["read", "broken", "written"]


class Order(NamedTuple):
    """One attempt at a task, as it is given to a device."""

    key: TaskKey
    attempt: int
    model: str
    prefix: tuple[bytes, ...]
    prompt_tokens: int
    """All there is to read, what earlier attempts wrote included."""
    answer_tokens: int
    """What is left to write, at least one."""
    breaks_at: float | None = None
    """At which part of the work it breaks off; None: it does not."""
    stalls_s: float = 0.0
    """How long it stands still before the first token, for reasons of its own."""


class Job(NamedTuple):
    """An order in work; marks stand on the device's own count of work done, in seconds of a request alone."""

    order: Order
    cached_tokens: int
    read: float
    """When the prompt is read and the first token written."""
    ends: float
    breaks: float
    has_read: bool = False

    @property
    def next_mark(self) -> tuple[float, Stage]:
        """What comes next if it is left to itself."""
        if not self.has_read:
            return (self.breaks, "broken") if self.breaks < self.read else (self.read, "read")
        return (self.breaks, "broken") if self.breaks < self.ends else (self.ends, "written")

    def tokens_written(self, done: float) -> int:
        """How much of the answer there is."""
        if not self.has_read:
            return 0
        share = (done - self.read) / max(self.ends - self.read, _INSTANT_S)
        return 1 + int(min(max(share, 0.0), 1.0) * (self.order.answer_tokens - 1))


class ReadCache:
    """Blocks of prompts, the latest last, at most so many."""

    def __init__(self, tokens: int) -> None:
        """Begin empty."""
        self._most = max(tokens // BLOCK_TOKENS, 1)
        self._blocks: OrderedDict[bytes, None] = OrderedDict()

    def tokens_of(self, prefix: Sequence[bytes]) -> int:
        """How much of a prompt's beginning is kept."""
        count = next((place for place, block in enumerate(prefix) if block not in self._blocks), len(prefix))
        return count * BLOCK_TOKENS

    def note(self, prefix: Sequence[bytes]) -> None:
        """A prompt was read: ends are dropped before beginnings."""
        for block in reversed(prefix):
            self._blocks[block] = None
            self._blocks.move_to_end(block)
        while len(self._blocks) > self._most:
            self._blocks.popitem(last=False)

    def clear(self) -> None:
        """Keep nothing."""
        self._blocks.clear()


class Device:
    """Changed in place by the loop; ``version`` goes up with each change, so that older plans are void."""

    def __init__(self, name: str, kind: NodeKind, replicas: tuple[Replica, ...], *, rtt_s: float, truth: float) -> None:
        """``truth`` is its speed over what its replicas claim."""
        self.name = Token(name)
        self.kind = kind
        self.replicas = {replica.model: replica for replica in replicas}
        self.rtt_s = rtt_s
        self.truth = truth
        self.is_up = True
        self.has_left = False
        self.is_draining = False
        self.process = 1
        self.version = 0
        self.jobs: dict[TaskKey, Job] = {}
        self.cache = ReadCache(kind.cache_tokens)
        self.done = 0.0
        self._at_s = 0.0

    def begin(self, order: Order, now_s: float) -> Job:
        """Take up an order beside what is in work already."""
        self.advance(now_s)
        cached = min(self.cache.tokens_of(order.prefix), order.prompt_tokens)
        prompt_s, token_s = self._speeds(order.model)
        read = self.done + order.stalls_s + (order.prompt_tokens - cached) * prompt_s + token_s
        ends = read + (order.answer_tokens - 1) * token_s
        breaks = math.inf if order.breaks_at is None else self.done + order.breaks_at * (ends - self.done)
        job = self.jobs[order.key] = Job(order, cached, read, ends, breaks)
        self.version += 1
        return job

    def drop(self, key: TaskKey) -> None:
        """Have done with a job."""
        del self.jobs[key]
        self.version += 1

    def stop(self, now_s: float) -> None:
        """Be gone: jobs and all that was read."""
        self.advance(now_s)
        self.is_up = False
        self.jobs.clear()
        self.cache.clear()
        self.version += 1

    def start(self, now_s: float) -> None:
        """Be here again, as another process."""
        self.advance(now_s)
        self.is_up, self.has_left, self.is_draining = True, False, False
        self.process += 1

    def advance(self, now_s: float) -> None:
        """Get on with all jobs until now."""
        if self.jobs:
            self.done += (now_s - self._at_s) / self._slowdown
        self._at_s = now_s

    def next_mark(self) -> tuple[float, TaskKey, Stage] | None:
        """When which job gets how far, if nothing else comes; asked when advanced to now."""
        if not self.jobs:
            return None
        (mark, stage), key = min((job.next_mark, key) for key, job in self.jobs.items())
        return self._at_s + max(mark - self.done, 0.0) * self._slowdown, key, stage

    def has_read(self, key: TaskKey) -> None:
        """A job's prompt is read, and kept."""
        job = self.jobs[key]
        self.cache.note(job.order.prefix)
        self.jobs[key] = job._replace(has_read=True)
        self.version += 1

    def view(self, heard_at_s: float, *, is_lost: bool = False) -> NodeView:
        """How the roster shows it after a report."""
        running = tuple(
            Running(task=key.task, account=key.account, attempt=job.order.attempt, model=job.order.model)
            for key, job in self.jobs.items()
        )
        status = NodeStatus(
            at_ms=round(heard_at_s * 1000),
            interval_s=HEARTBEAT_S,
            running=running,
            draining=self.is_draining,
            process=str(self.process),
        )
        return NodeView(
            node=self.name,
            replicas=tuple(self.replicas.values()),
            status=status,
            is_live=not is_lost,
            is_registered=True,
            is_lost=is_lost,
            heard_at_s=heard_at_s,
        )

    def _speeds(self, model: str) -> tuple[float, float]:
        """Seconds for a token of a prompt, and for one of an answer, alone."""
        replica = self.replicas[model]
        claim = replica.tokens_per_s or _UNTOLD_TOKENS_PER_S
        reads = replica.prompt_tokens_per_s or claim * self.kind.reads_faster
        return 1 / (reads * self.truth), 1 / (claim * self.truth)

    @property
    def _slowdown(self) -> float:
        return 1 + self.kind.crowding * (len(self.jobs) - 1)
