"""One client's part in an answer that goes into the cache, or that others wait for too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.cache.answers import Recorder
from gateway.cache.hits import Given
from gateway.http.admission import Admitted
from gateway.limits.ticket import Price
from streams.subjects import TaskKey

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.cache.cache import Ask
    from gateway.cache.flight import Flight
    from gateway.http.cache.caching import Caching
    from gateway.limits.ticket import Ticket
    from mesh.bus.answer import Step
    from streams.tokens import Token

_FREE: Final = Price()
_OF_THE_REQUEST: Final = range(400, 500)
_PASSING: Final = frozenset({408, 429, 499})
"""Statuses below 500 that say nothing of the request itself: another task may fare better."""


class Part:
    """Leave it with ``leave``; ``flight`` None: nobody else waits, and nobody is told."""

    def __init__(self, caching: Caching, ask: Ask, flight: Flight | None) -> None:
        """Take part in ``flight``, which was entered for this client."""
        self._caching = caching
        self._ask = ask
        self._flight = flight
        self._recorder = Recorder(caching.rules.most_bytes)
        self._leads = flight is not None and flight.readers == 1
        self._has_left = False
        self._has_stored = False
        self._has_whole = False

    @property
    def task(self) -> Token | None:
        """The task that writes the answer, where that is settled."""
        return None if self._flight is None else self._flight.task

    @property
    def follows(self) -> bool:
        """Whether somebody else has had the task submitted."""
        return self._flight is not None and not (self._leads and self._flight.is_ours)

    @property
    def is_alone(self) -> bool:
        """Whether nobody else at this gateway waits for the answer, and the task is ours."""
        return self._flight is None or (not self.follows and self._flight.readers == 1)

    @property
    def may_be_tried_again(self) -> bool:
        """Whether somebody else's task came to nothing, for a reason that need not be ours."""
        if not self.follows or not self._recorder.has_failed:
            return False
        error = self._recorder.state.error
        return error is None or error.status not in _OF_THE_REQUEST or error.status in _PASSING

    async def admitted(self, account: Token, ticket: Ticket, *, stream: bool) -> Admitted | None:
        """Return the task if somebody here has had it stored; None: this client has to see to that.

        Raises:
            LimitReached: if the client has made too many requests.
        """
        if self._flight is None or self._leads:
            return None
        await self._flight.until_begun()
        if not self._flight.is_submitted:
            return None
        await ticket.pay(lambda: _FREE, stream=stream)
        return Admitted(TaskKey(account, self._flight.task), may_exist=True, exists=True)

    def begun(self, *, by_us: bool) -> None:
        """The task is stored; ``by_us``: this client's request is what has put it there."""
        self._has_stored = by_us
        if self._flight is not None:
            self._flight.begun(is_submitted=True)

    def take(self, steps: Iterable[Step]) -> None:
        """Take down what the client sees."""
        self._recorder.take(steps)

    def given(self) -> None:
        """The client was given all of the answer."""
        self._has_whole = True

    def hit(self, account: Token, model: str) -> Given | None:
        """Return the whole answer of another request's task that ``account`` was given; None: its own, or not whole.

        Who has had the task stored pays for it by its end. In doubt it is nobody's hit: where two gateways try at once,
        the claim's own client and the one that was faster are both taken for who had it generated.
        """
        state = self._recorder.state
        is_own = not self.follows or self._has_stored
        if is_own or not self._has_whole or self.task is None or state.usage is None:
            return None
        return Given(account, self.task, state.model or model, state.usage)

    def ended(self, key: TaskKey) -> None:
        """The client has seen all that it sees of the task."""
        if self._recorder.has_failed and self._flight is not None:
            self._caching.cache.give_up(self._flight)
        else:
            self._caching.cache.keep(self._ask, key, self._recorder, self._flight)

    async def abandon(self) -> bool:
        """The client has hung up, alone; whether nobody anywhere waits for the answer."""
        if self._flight is None:
            return True
        others = self._flight.readers - (0 if self._has_left else 1)
        return not others and await self._caching.cache.abandon(self._flight)

    def leave(self) -> None:
        """Wait no more."""
        if self._flight is not None:
            if self._leads:
                self._flight.begun(is_submitted=False)
            self._has_left = True
            self._caching.cache.leave(self._flight)
