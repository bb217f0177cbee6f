"""How many tasks a second the pure scheduler places on one core: ``python -m benchmarks.scheduling``.

Nodes are of mixed speed, load, region and price, a tenth of them silent or draining; tasks are turns of conversations,
so that a part of each prompt was read before. Placed, taken, sent, released and learnt from: the whole way of a task.
Time is CPU time of this process, so that other work on the machine does not count.
"""

import random
import time
from collections import deque
from statistics import median

from gateway.scheduling.policies import POLICIES
from gateway.scheduling.policy import Policy
from gateway.scheduling.prefixes import blocks_of
from gateway.scheduling.scheduler import Scheduler
from gateway.scheduling.wish import Regard, Wish
from streams.devices.replica import Price, Replica
from streams.devices.roster import NodeView
from streams.messages import NodeStatus
from streams.subjects import TaskKey
from streams.tasks.chat import Message, Usage
from streams.tokens import Token

TASKS = 4_000
ROUNDS = 5
CONVERSATIONS = 500
SALT = bytes(32)
USAGE = Usage(prompt_tokens=600, completion_tokens=100)


def main() -> None:
    """Measure and print."""
    print(f"tasks/s on one core, median of {ROUNDS} rounds of {TASKS} tasks\n")
    print(f"{'nodes':>8} {'policy':>12} {'placing alone':>14} {'the whole way':>14}")
    wishes = _wishes()
    for nodes in (3, 100, 10_000):
        for policy in POLICIES.values():
            alone = median(_placed_per_s(nodes, policy, wishes) for _ in range(ROUNDS))
            whole = median(_done_per_s(nodes, policy, wishes) for _ in range(ROUNDS))
            print(f"{nodes:8} {policy.name:>12} {alone:14,.0f} {whole:14,.0f}")
    mesh = _mesh(10_000, POLICIES["edge-first"])
    print(f"\na full mesh of 10,000: {_full_per_s(mesh, wishes):,.0f} tasks/s are told that they wait")
    print(f"a report of a node taken in: {_reports_per_s(mesh):,.0f}/s")


def _view(number: int, dice: random.Random) -> NodeView:
    speed = dice.uniform(5, 80)
    replica = Replica(
        model="m",
        engine="e",
        context_tokens=8192,
        slots=dice.choice((1, 2, 4, 8)),
        tokens_per_s=speed,
        prompt_tokens_per_s=speed * 12,
        region=dice.choice(("eu", "us")),
        tier="cloud" if dice.random() < 0.02 else "edge",
        price=Price(prompt_micro=100_000, completion_micro=300_000),
    )
    return NodeView(
        node=Token(f"n{number}"),
        replicas=(replica,),
        status=NodeStatus(at_ms=1, interval_s=600, draining=dice.random() < 0.05),
        is_live=True,
        is_registered=True,
        is_lost=dice.random() < 0.05,
        heard_at_s=0.0,
    )


def _mesh(nodes: int, policy: Policy) -> Scheduler:
    dice = random.Random(7)
    mesh = Scheduler(policy=policy, regard_of=lambda _: _OWN)
    for number in range(nodes):
        mesh.observe(_view(number, dice))
    return mesh


_OWN = Regard(reputation=0.98, owner="a", stake=3)


def _wishes() -> list[Wish]:
    dice = random.Random(11)
    turns = [0] * CONVERSATIONS
    made: list[Wish] = []
    for number in range(TASKS):
        which = dice.randrange(CONVERSATIONS)
        turns[which] += 1
        text = f"{which} " + "what was said in this conversation. " * (20 * min(turns[which], 8))
        prefix = blocks_of([Message(role="user", content=text)], account="a", salt=SALT)
        wish = Wish(model="m", seed=f"{number:032x}", account="a", prompt_tokens=len(text) // 4, prefix=prefix)
        made.append(wish)
    return made


def _placed_per_s(nodes: int, policy: Policy, wishes: list[Wish]) -> float:
    mesh = _mesh(nodes, policy)
    begun = time.process_time()
    for wish in wishes:
        mesh.place(wish, now_s=1.0)
    return len(wishes) / (time.process_time() - begun)


def _done_per_s(nodes: int, policy: Policy, wishes: list[Wish]) -> float:
    """With as many tasks under way as fill a third of the mesh, and at least one."""
    mesh, under_way = _mesh(nodes, policy), deque[tuple[str, TaskKey]]()
    most = max(nodes, 1)
    begun = time.process_time()
    for number, wish in enumerate(wishes):
        now_s = 1.0 + number / 1000
        placed = mesh.place(wish, now_s=now_s)
        if placed.node is not None:
            key = TaskKey(Token("a"), Token(wish.seed))
            mesh.take(placed.node, "m", key, wish, now_s=now_s)
            mesh.sent(placed.node, "m", key, now_s=now_s)
            under_way.append((placed.node, key))
        if len(under_way) >= most or placed.node is None:
            node, key = under_way.popleft()
            stint = mesh.release(node, "m", key, now_s=now_s)
            if stint is not None:
                mesh.completed(stint, USAGE)
    return len(wishes) / (time.process_time() - begun)


def _full_per_s(mesh: Scheduler, wishes: list[Wish]) -> float:
    for seat in tuple(mesh.fleet.seats("m").all.values()):
        for number in range(seat.slots):
            mesh.take(seat.node, "m", TaskKey(Token("x"), Token(f"{seat.node}-{number}")), now_s=1.0)
    begun = time.process_time()
    for wish in wishes:
        mesh.place(wish, now_s=1.0)
    return len(wishes) / (time.process_time() - begun)


def _reports_per_s(mesh: Scheduler) -> float:
    dice = random.Random(7)
    views = [_view(number, dice) for number in range(2_000)]
    begun = time.process_time()
    for view in views:
        mesh.observe(view)
    return len(views) / (time.process_time() - begun)


if __name__ == "__main__":
    main()
