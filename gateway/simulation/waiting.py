"""Who waits for a node: the dispatcher's own queues and its order of granting, without its futures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

from gateway.dispatcher.fair_queue import FairQueue
from streams.subjects import SERVICE_CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.scheduling.placement import Placement
    from streams.subjects import ServiceClass

T = TypeVar("T")

_MOST_LET_BY: Final = 32
"""As in the dispatcher."""


class Waiting(Generic[T]):
    """Urgent classes first, fair between accounts within each."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._queues: dict[str, dict[ServiceClass, FairQueue[T]]] = {}

    def add(self, model: str, service_class: ServiceClass, account: str, item: T) -> None:
        """Wait behind all others of the account."""
        self._queues.setdefault(model, {}).setdefault(service_class, FairQueue()).add(account, item)

    def remove(self, model: str, service_class: ServiceClass, account: str, item: T) -> None:
        """Wait no more."""
        self._queues[model][service_class].remove(account, item)

    def is_anyone(self, model: str) -> bool:
        """Whether anybody waits for a model."""
        return any(map(len, self._queues.get(model, {}).values()))

    def grant(self, model: str, place: Callable[[T], Placement], give: Callable[[T, Placement], None]) -> None:
        """Give what is free to who waits, in order; who waits for something particular lets some others by."""
        queues = self._queues.get(model, {})
        for service_class in SERVICE_CLASSES:
            queue = queues.get(service_class)
            if queue is not None:
                _grant(queue, place, give)


def _grant(queue: FairQueue[T], place: Callable[[T], Placement], give: Callable[[T, Placement], None]) -> None:
    let_by = 0
    while let_by < _MOST_LET_BY:
        for account, item in queue.in_order():
            placement = place(item)
            if placement.node is not None:
                queue.serve(account, item)
                give(item, placement)
                break
            let_by += 1
            if placement.is_full or let_by == _MOST_LET_BY:
                return
        else:
            return
