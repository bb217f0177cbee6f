"""How often an account may ask for what no model has to answer: tasks, their events, models, the websocket.

Such a request costs a look into a stream at most, so each gateway counts for itself, in memory, with the same bucket as
requests that ask a model (``gateway.limits.bucket``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.limits.bucket import FULL, Draw, draw, reset_ms, wait_ms
from gateway.limits.meter import Shortage
from gateway.limits.store import Owner
from gateway.limits.ticket import LimitReached
from streams.access.fold import LOCAL
from streams.clock import now_ms
from streams.messages import Refusal
from streams.subjects import parse_call

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streams.access.limits import RateState
    from streams.tokens import Token

_MOST: Final = 20_000
_ONE: Final = Draw(least=1, most=1)


class Reads:
    """Counts and refuses."""

    def __init__(self, usual: int | None, of: Mapping[str, int | None], *, clock: Callable[[], int] = now_ms) -> None:
        """Let each account ask ``usual`` times a minute, or as often as ``of`` says; None: as often as it likes.

        The account of whoever runs the mesh has only a limit that names it. ``clock`` says Unix milliseconds.
        """
        self._usual = usual
        self._of = of
        self._clock = clock
        self._taken: dict[Token, RateState] = {}

    def count(self, account: Token) -> None:
        """Count one request.

        Raises:
            LimitReached: if it is one too many.
        """
        limit = self._of.get(account, None if account == LOCAL else self._usual)
        if limit is None:
            return
        now, state = self._clock(), self._taken.get(account, FULL)
        drawn = draw(limit, state, now, _ONE)
        if not drawn.allowed:
            owner = Owner("account", account)
            raise LimitReached(Shortage(owner, "reads", limit, drawn.remaining, 1, wait_ms(limit, state, now, 1)))
        if len(self._taken) >= _MOST and account not in self._taken:
            self._forget(now)
        self._taken[account] = drawn.state

    def refusal(self, subject: str) -> Refusal | None:
        """Count a question on the bus, whose subject says whose it is; return the answer where it is one too many.

        Raises:
            StreamsError: if the subject names no account.
        """
        try:
            self.count(parse_call(subject).caller)
        except LimitReached as error:
            return Refusal(code="rate_limit_exceeded", message=str(error), status=429)
        return None

    def _forget(self, now: int) -> None:
        """Keep those who have asked within the last minute, more or less: the others are as good as new."""
        self._taken = {name: state for name, state in self._taken.items() if reset_ms(1, state, now)}
        while len(self._taken) >= _MOST:
            del self._taken[next(iter(self._taken))]


NOT_COUNTED: Final = Reads(None, {})
"""Nobody asks too often."""
