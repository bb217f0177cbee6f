"""What is done to a fleet while it answers: each fault injures it, and makes good what a supervisor would."""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from aiohttp import ClientError, ClientSession, ClientTimeout

from tests.chaos.answers import Reader
from tests.chaos.fleet import IDENTITIES, Fleet

HANG_S = 7.0
"""Longer than it takes to find out that a node hangs, and than the queue waits for a dispatcher."""
SHORT_HANG_S = 4.0
RESTART_S = 1.0
NOTICED_S = 90.0
"""On a machine that stalls itself it takes longer to find out; so long at most."""
_LOOK_S = 10.0
_POLL_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Injection:
    """One fault that was injected."""

    kind: str
    victims: tuple[str, ...]
    at_s: float
    """On the event loop's clock, as readers note what they get."""
    at_ns: int
    """In Unix time, as the broker notes what it stores."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """What a fault may hit."""

    fleet: Fleet
    readers: Sequence[Reader]
    chance: random.Random
    note: Callable[[Injection], None]

    def begin(self, kind: str, *victims: str) -> None:
        """Note that the fault happens now."""
        self.note(Injection(kind=kind, victims=victims, at_s=asyncio.get_running_loop().time(), at_ns=time.time_ns()))


Fault = Callable[[Field], Awaitable[None]]


async def _kill(field: Field, kind: str, *names: str) -> None:
    """Kill them in the same moment, and start them again a little later."""
    field.begin(kind, *names)
    for name in names:
        field.fleet.kill(name)
    await asyncio.sleep(RESTART_S)
    await asyncio.gather(*map(field.fleet.start_again, names))


async def _hang(
    field: Field, kind: str, name: str, seconds: float, *, pid: int | None = None, held: Sequence[str] = ()
) -> None:
    pid = field.fleet.parts.running[name].pid if pid is None else pid
    field.begin(kind, name)
    try:
        for _ in range(round(seconds / _POLL_S)):
            # Again and again: `tests.stalls` may have it go on.
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(_POLL_S)
        await _until_taken_from(field, name, held)
    finally:
        os.kill(pid, signal.SIGCONT)


async def _cut(field: Field, kind: str, name: str, seconds: float, *, held: Sequence[str] = ()) -> None:
    field.begin(kind, name)
    field.fleet.lines.cut(name)
    try:
        await asyncio.sleep(seconds)
        await _until_taken_from(field, name, held)
    finally:
        field.fleet.lines.heal()


async def _until_taken_from(field: Field, node: str, tasks: Sequence[str]) -> None:
    """Wait until none of these tasks is the node's any more."""
    left = set(tasks)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(NOTICED_S):
            while left:
                left = {task for task in left if await _holder(field, task) == node}
                await asyncio.sleep(_POLL_S)


async def _holder(field: Field, task: str) -> str | None:
    """The node that writes an answer now; None where nobody does or no gateway says."""
    async with ClientSession(timeout=ClientTimeout(total=_LOOK_S)) as session:
        with contextlib.suppress(ClientError, TimeoutError):
            async with session.get(f"{field.fleet.url(0)}/v1/tasks/{task}") as response:
                summary = await response.json()
                return summary.get("node") if summary.get("finish_reason") is None else None
    return None


async def _busy_node(field: Field) -> tuple[str, list[str]]:
    """The node with the most answers in hand, and those; one that was away lately is given few, and not missed."""
    tasks = [reader.now.task for reader in field.readers if reader.now is not None and reader.now.task]
    holders = {task: await _holder(field, task) for task in tasks}
    busy = [node for node, _ in Counter(holders.values()).most_common() if node in field.fleet.nodes]
    node = busy[0] if busy and busy[0] is not None else field.chance.choice(field.fleet.nodes)
    return node, [task for task, holder in holders.items() if holder == node]


async def kill_node(field: Field) -> None:
    """A device loses power."""
    node, _ = await _busy_node(field)
    await _kill(field, "node killed", node)


async def hang_node(field: Field) -> None:
    """A device stands still, and wakes when its tasks are somebody else's."""
    node, held = await _busy_node(field)
    await _hang(field, "node hung", node, HANG_S, held=held)


async def cut_node(field: Field) -> None:
    """A device's cable is pulled; when it is back, what it wrote meanwhile arrives, for tasks that are another's."""
    node, held = await _busy_node(field)
    await _cut(field, "node cut off", node, HANG_S, held=held)


async def kill_dispatcher(field: Field) -> None:
    """A dispatcher dies; another gets its tasks from the queue."""
    await _kill(field, "dispatcher killed", field.chance.choice(field.fleet.dispatchers))


async def hang_dispatcher(field: Field) -> None:
    """A dispatcher stands still for longer than the queue waits, and wakes to tasks that are not its own."""
    await _hang(field, "dispatcher hung", field.chance.choice(field.fleet.dispatchers), HANG_S)


async def cut_dispatcher(field: Field) -> None:
    """A dispatcher does not reach the bus for longer than the queue waits; then its tasks are another's."""
    await _cut(field, "dispatcher cut off", field.chance.choice(field.fleet.dispatchers), HANG_S)


async def kill_identity(field: Field) -> None:
    """All who decide about connections die: who is connected stays, and writes on."""
    await _kill(field, "identity killed", *IDENTITIES)


async def kill_gateway(field: Field) -> None:
    """A gateway dies with all its connections; its readers come back to another one."""
    await _kill(field, "gateway killed", field.chance.choice(field.fleet.gateways))


async def hang_gateway(field: Field) -> None:
    """A gateway stands still."""
    await _hang(field, "gateway hung", field.chance.choice(field.fleet.gateways), SHORT_HANG_S)


async def cut_gateway(field: Field) -> None:
    """A gateway does not reach the bus; its readers are connected, and hear nothing."""
    await _cut(field, "gateway cut off", field.chance.choice(field.fleet.gateways), SHORT_HANG_S)


async def kill_server(field: Field) -> None:
    """A nats-server dies; its broker starts it again."""
    broker = field.chance.choice(field.fleet.brokers)
    pid = await field.fleet.server_pid(broker)
    field.begin("nats-server killed", broker)
    os.kill(pid, signal.SIGKILL)


async def hang_server(field: Field) -> None:
    """A nats-server stands still."""
    broker = field.chance.choice(field.fleet.brokers)
    await _hang(field, "nats-server hung", broker, SHORT_HANG_S, pid=await field.fleet.server_pid(broker))


async def kill_broker(field: Field) -> None:
    """A broker dies with its server; somebody starts it again."""
    await _kill(field, "broker killed", field.chance.choice(field.fleet.brokers))


async def drop_clients(field: Field) -> None:
    """Every reader is cut off and comes back."""
    field.begin("clients cut off", "all readers")
    for reader in field.readers:
        reader.drop()


async def kill_services(field: Field) -> None:
    """A dispatcher and a gateway die in the same moment."""
    groups = (field.fleet.dispatchers, field.fleet.gateways)
    await _kill(field, "both services killed", *map(field.chance.choice, groups))


async def kill_one_of_each(field: Field) -> None:
    """A node, a dispatcher and a gateway die in the same moment."""
    groups = (field.fleet.nodes, field.fleet.dispatchers, field.fleet.gateways)
    await _kill(field, "one of each killed", *map(field.chance.choice, groups))


FAULTS: tuple[Fault, ...] = (
    kill_node,
    hang_node,
    cut_node,
    kill_dispatcher,
    hang_dispatcher,
    cut_dispatcher,
    kill_identity,
    kill_gateway,
    hang_gateway,
    cut_gateway,
    kill_server,
    hang_server,
    kill_broker,
    drop_clients,
    kill_services,
    kill_one_of_each,
)
