"""Nodes to place tasks on, as a roster would show them."""

from collections.abc import Callable, Mapping

from gateway.scheduling.policies import EDGE_FIRST
from gateway.scheduling.policy import Policy
from gateway.scheduling.scheduler import Scheduler
from gateway.scheduling.wish import Regard
from streams.devices.hints import DeviceHints
from streams.devices.replica import Replica
from streams.devices.roster import NodeView
from streams.messages import NodeStatus, Running
from streams.subjects import TaskKey
from streams.tokens import Token

KEY = TaskKey(Token("a"), Token("0"))


def replica(**said: object) -> Replica:
    """A replica of model ``m`` that writes 10 tokens a second and has four slots, unless otherwise said."""
    return Replica(**{"model": "m", "engine": "e", "context_tokens": 100, "slots": 4, "tokens_per_s": 10.0} | said)  # pyright: ignore[reportArgumentType] - fields by name


def node(
    name: str,
    *,
    live: bool = True,
    draining: bool = False,
    process: str = "1",
    heard_at_s: float = 0.0,
    running: tuple[Running, ...] = (),
    hints: DeviceHints | None = None,
    replicas: tuple[Replica, ...] | None = None,
    **said: object,
) -> NodeView:
    """One node that was heard at 0 s, and promises to be heard again within 5 s."""
    return NodeView(
        node=Token(name),
        replicas=(replica(**said),) if replicas is None else replicas,
        status=NodeStatus(at_ms=1, interval_s=5, draining=draining, process=process, running=running, hints=hints),
        is_live=live,
        is_registered=True,
        is_lost=not live,
        heard_at_s=heard_at_s,
    )


def scheduler(
    *nodes: NodeView,
    in_use: Mapping[str, int] | None = None,
    policy: Policy = EDGE_FIRST,
    regard_of: Callable[[str], Regard] | None = None,
) -> Scheduler:
    """A scheduler that has heard of these nodes, some with slots in use."""
    made = Scheduler(policy=policy, regard_of=regard_of)
    for view in nodes:
        made.observe(view)
    for name, count in (in_use or {}).items():
        for number in range(count):
            made.take(name, "m", TaskKey(Token("other"), Token(f"{name}{number}")), now_s=0.0)
    return made
