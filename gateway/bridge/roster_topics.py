"""The topics ``nodes`` and ``models``: the roster as it stands, then what changes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.bridge.audience import Audience
from gateway.bridge.frames import Models, ModelState, Nodes, NodeState
from gateway.bridge.wire import Encoded

if TYPE_CHECKING:
    from gateway.bridge.outbox import Outbox
    from gateway.roster.feed import RosterFeed
    from streams.devices.roster import ModelView, NodeView

_GATHER_S: Final = 0.1
"""Changes of so long go out together: a busy node reports on every task."""

_LOOK_S: Final = 1.0
"""A node that falls silent makes no event, so the roster is looked at this often."""


class RosterTopics:
    """Tells subscribers what changed in the roster. Each change is encoded once for all of them."""

    def __init__(self, feed: RosterFeed) -> None:
        """Follow ``feed``; ``run`` does the telling."""
        self._feed = feed
        self._nodes = Audience()
        self._models = Audience()
        self._told_nodes: dict[str, NodeView] = {}
        self._told_models: tuple[ModelView, ...] = ()
        self._changed = asyncio.Event()

    def join_nodes(self, outbox: Outbox) -> None:
        """Send all nodes as they stand, then their changes."""
        self.tell_changes()
        now_s = self._feed.now_s()
        views = self._feed.roster.nodes(now_s=now_s)
        outbox.offer(Encoded(Nodes(nodes=tuple(_node_state(view, now_s) for view in views), reset=True)))
        self._nodes.add(outbox)

    def join_models(self, outbox: Outbox) -> None:
        """Send all models as they stand, then again on every change."""
        self.tell_changes()
        outbox.offer(Encoded(_models_frame(self._told_models)))
        self._models.add(outbox)

    def leave_nodes(self, outbox: Outbox) -> None:
        """Send no more about nodes."""
        self._nodes.remove(outbox)

    def leave_models(self, outbox: Outbox) -> None:
        """Send no more about models."""
        self._models.remove(outbox)

    async def run(self) -> None:
        """Tell what changes, until cancelled."""
        leave = self._feed.subscribe(lambda _: self._changed.set())
        try:
            while True:
                await self._next_change()
                self._changed.clear()
                if self._nodes or self._models:
                    self.tell_changes()
        finally:
            leave()

    def tell_changes(self) -> None:
        """Compare the roster with what was told last, and tell the difference."""
        now_s = self._feed.now_s()
        views = self._feed.roster.nodes(now_s=now_s)
        changed = [view for view in views if not _is_told(view, self._told_nodes.get(view.node))]
        if changed:
            self._told_nodes |= {view.node: view for view in changed}
            self._nodes.tell(Nodes(nodes=tuple(_node_state(view, now_s) for view in changed)))
        models = self._feed.roster.models(now_s=now_s)
        if models != self._told_models:
            self._told_models = models
            self._models.tell(_models_frame(models))

    async def _next_change(self) -> None:
        try:
            async with asyncio.timeout(_LOOK_S):
                await self._changed.wait()
        except TimeoutError:
            return
        await asyncio.sleep(_GATHER_S)


def _is_told(view: NodeView, told: NodeView | None) -> bool:
    # A report that says the same still tells that the node is there: each is a new object and goes out.
    return (
        told is not None
        and told.status is view.status
        and told.is_live == view.is_live
        and (told.replicas == view.replicas)
    )


def _node_state(view: NodeView, now_s: float) -> NodeState:
    return NodeState(
        node=view.node,
        live=view.is_live,
        replicas=view.replicas,
        status=view.status,
        silent_s=None if view.heard_at_s is None else round(now_s - view.heard_at_s, 3),
    )


def _models_frame(models: tuple[ModelView, ...]) -> Models:
    return Models(
        models=tuple(
            ModelState(
                model=view.model,
                created_ms=view.created_ms,
                nodes=view.nodes,
                context_tokens=view.context_tokens,
                engine=view.engine,
                quantisation=view.quantisation,
                kind=view.kind,
            )
            for view in models
        )
    )
