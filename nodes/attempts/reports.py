"""How attempts on this node ended: told to the dispatcher once, and remembered in case somebody asks again."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from streams import subjects
from streams.codec import encode
from streams.messages import Finished, Refused
from streams.subjects import TaskKey
from streams.tokens import Token

if TYPE_CHECKING:
    from mesh.bus.link import Link
    from nodes.attempts.attempt import Report
    from streams.messages import Assign

log = logging.getLogger(__name__)

_REMEMBERED: Final = 1024
"""Ended attempts whose end can be told once more, should a dispatcher hand them again."""


class Reports:
    """Tells and remembers the ends of one node's attempts."""

    def __init__(self, link: Link, node: Token) -> None:
        """Report by ``link`` as ``node``."""
        self._link = link
        self._node = node
        self._ended: dict[tuple[TaskKey, int], Report | None] = {}

    def ended(self, key: TaskKey, attempt: int, report: Report | None) -> None:
        """Tell how an attempt ended; None, if the dispatcher ended it itself."""
        self._ended[key, attempt] = report
        if len(self._ended) > _REMEMBERED:
            del self._ended[next(iter(self._ended))]
        self.tell(report)

    def has_ended(self, assign: Assign) -> bool:
        """Whether the attempt is over; then its end is told once more, maybe to another dispatcher than before."""
        attempt = (TaskKey(Token(assign.account), Token(assign.task)), assign.attempt)
        if attempt not in self._ended:
            return False
        report = self._ended[attempt]
        self.tell(None if report is None else replace(report, dispatcher=assign.dispatcher))
        return True

    def tell(self, report: Report | None) -> None:
        """Send a report of an attempt that may never have begun."""
        if isinstance(report, Finished):
            self._link.send(subjects.node_api(self._node, "finished"), encode(report))
        elif isinstance(report, Refused):
            log.debug("task %s: refused: %s (%s)", report.task, report.code, report.message)
            self._link.send(subjects.node_api(self._node, "refused"), encode(report))
