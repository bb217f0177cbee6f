"""What placing one task costs a small mesh, by the dispatcher's own objects: ``python -m benchmarks.placing``.

A ticket is made, a node asked for, the order sent and the slot released, for a short prompt and for one of 2,000
characters that its nodes have read before. CPU time of this process, so that other work on the machine counts less.
"""

import asyncio
import gc
import time
from statistics import median
from typing import TYPE_CHECKING, cast

from gateway.dispatcher.placer import Placer, Ticket
from gateway.scheduling.wish import WELL_REGARDED, Wish
from streams.devices.replica import Replica
from streams.devices.roster import Roster
from streams.events import DeviceReturned, ModelAnnounced, TaskSubmitted
from streams.messages import NodeStatus
from streams.subjects import TaskKey
from streams.tasks.chat import Message
from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.roster.feed import RosterFeed

TASKS = 3_000
ROUNDS = 7
SHORT = (Message(role="user", content="hello"),)
LONG = (Message(role="user", content="what was said in this conversation. " * 56),)


class _Heard:
    """A roster as ``RosterFeed`` would have it, without a bus."""

    def __init__(self, nodes: int) -> None:
        self.roster = Roster()
        for number in range(nodes):
            node = Token(f"n{number}")
            replica = Replica(model="m", engine="e", context_tokens=8192, slots=4, tokens_per_s=20.0 + number)
            self.roster.apply_device(node, DeviceReturned(node=node, at_ms=1))
            self.roster.apply_model(node, ModelAnnounced(node=node, at_ms=1, replica=replica))
            self.roster.apply_status(node, NodeStatus(at_ms=1, interval_s=600), now_s=self.now_s())

    def now_s(self) -> float:
        return time.monotonic()

    def subscribe(self, _: object) -> "Callable[[], None]":
        return lambda: None


def main() -> None:
    """Measure and print."""
    asyncio.run(_measure())


async def _measure() -> None:
    print(f"CPU time per task, median of {ROUNDS} rounds of {TASKS} tasks\n")
    print(f"{'nodes':>6} {'short prompt':>14} {'2,000 characters':>18}")
    for nodes in (1, 3, 20):
        short, long = (median(_task_us(nodes, messages) for _ in range(ROUNDS)) for messages in (SHORT, LONG))
        print(f"{nodes:6} {short:11.1f} us {long:15.1f} us")


def _task_us(nodes: int, messages: tuple[Message, ...]) -> float:
    placer = Placer(cast("RosterFeed", _Heard(nodes)), lambda _: WELL_REGARDED)
    placer.start()
    tokens = sum(len(each.content) for each in messages) // 4
    keys = [TaskKey(Token("a"), Token(f"{number:032x}")) for number in range(TASKS)]
    asked = TaskSubmitted(model="m", messages=messages)
    gc.collect()
    begun = time.process_time()
    for key in keys:
        prefix = placer.blocks_of("a", asked)
        wish = Wish(model="m", seed=key.task, account="a", prompt_tokens=tokens, prefix=prefix)
        node = placer.ask(Ticket(key, "standard", wish)).node
        if node is None:
            msg = "the mesh has a free slot for each task: something is wrong"
            raise AssertionError(msg)
        placer.sent(node, "m", key)
        placer.release(node, "m", key)
    return (time.process_time() - begun) / TASKS * 1e6


if __name__ == "__main__":
    main()
