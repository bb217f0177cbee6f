"""What a task passes that came to the bus by itself: its account is open, has its key, and has not had its share.

A gateway has asked that of what it submits. Its mark (``mesh.access.passed_mark``) says that a task has paid; that an
account is open is asked of every task once more, since it may have been closed while the task waited. Here, and nowhere
else, the ledger puts aside what a task may cost, whoever has submitted it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from gateway.limits.bounds import answer_error, capped, time_error
from gateway.limits.price import price_of_task
from gateway.limits.reads import NOT_COUNTED
from gateway.limits.rules import BoundRules
from gateway.limits.ticket import LimitReached
from mesh.access.caller import Caller
from mesh.access.passed_mark import PASSED, has_passed
from mesh.bus.headers import header
from mesh.errors import WrittenByNewer
from streams.access.limits import NO_BOUNDS
from streams.events import TaskError
from streams.subjects import CHECKS
from streams.tasks.task_id import created_ms

if TYPE_CHECKING:
    from datetime import timedelta

    from gateway.dispatcher.holds import Holds
    from gateway.dispatcher.task_run import TaskRun
    from gateway.limits.limiter import Limiter
    from gateway.limits.reads import Reads
    from gateway.limits.ticket import Ticket
    from mesh.access.feed import AccessFeed
    from mesh.access.session_keys import SessionKeys
    from mesh.bus.work import Work
    from streams.access.limits import Bounds
    from streams.events import TaskSubmitted
    from streams.subjects import TaskKey
    from streams.tokens import Token


_UNBOUNDED: Final = BoundRules()


class Entrance:
    """Asks for one dispatcher. ``access`` is started and stopped by whoever made it."""

    def __init__(
        self,
        access: AccessFeed,
        limiter: Limiter,
        keys: SessionKeys,
        holds: Holds,
        *,
        answer_tokens: int,
        bounds: BoundRules = _UNBOUNDED,
        reads: Reads = NOT_COUNTED,
    ) -> None:
        """Go by ``access``; have tasks pay at ``limiter`` that show no mark made with ``keys``.

        Args:
            access: who may speak for which account.
            limiter: the limits, shared with the gateways.
            keys: whose secret makes marks.
            holds: has the ledger put aside what a task may cost, however it came.
            answer_tokens: what a task counts for that does not say how long its answer may be.
            bounds: how large answers to an account may be, and how long they may take.
            reads: counts what users ask the dispatcher on the bus.
        """
        self.reads = reads
        self._access = access
        self._limiter = limiter
        self._keys = keys
        self._holds = holds
        self._answer_tokens = answer_tokens
        self._bounds = bounds

    async def start(self) -> None:
        """Begin to give back what is not used of limits, and find out whether anything has a price.

        Raises:
            BusError: if that cannot be read.
        """
        await self._limiter.start()
        await self._holds.start()

    async def stop(self) -> None:
        """Give back what is in hand."""
        await self._holds.stop()
        await self._limiter.stop()

    def account_error(self, name: Token) -> TaskError | None:
        """Say why nobody speaks for an account, or None.

        A name that was never opened is let pass: nobody can show a key for it, so a service has submitted the task.

        Raises:
            WrittenByNewer: if a newer version has written of the account.
        """
        if (reason := self._access.access.unreadable(name)) is not None:
            raise WrittenByNewer(f"account {name} cannot be judged by this version: {reason}")
        account = self._access.access.account(name)
        if account is None or account.is_open:
            return None
        message = f"The account {name} was closed: nobody speaks for it any more."
        return TaskError(code="invalid_api_key", message=message, status=401)

    async def key_error(self, work: Work, account: Token, asked: TaskSubmitted) -> TaskError | None:
        """Say why a task may not name the API key that it does, or None: only a gateway has seen one shown.

        What came by itself may say which of its account's own keys it is to be counted for.

        Raises:
            BusError: if a key may only be unknown because the bus is away.
        """
        if asked.key is None or has_passed(self._keys, work.subject, header(work.headers, PASSED)):
            return None
        if self._access.access.key(asked.key) is None:
            # It may have been issued a moment ago.
            await self._access.look()
        key = self._access.access.key(asked.key)
        if key is not None and key.account == account:
            return None
        message = f"The account {account} has no such API key: leave 'key' out, or name one of its own."
        return TaskError(code="invalid_value", message=message, status=400, param="key")

    def ticket(self, work: Work, account: Token) -> Ticket | None:
        """Return what a task pays with; None if it has paid, or nobody has it pay."""
        if account == CHECKS or self._has_passed(work):
            return None
        ticket = self._limiter.ticket(Caller(account=account, how="session", rights=frozenset()))
        return ticket if ticket.has_meters else None

    def bounds_error(self, work: Work, key: TaskKey, asked: TaskSubmitted) -> TaskError | None:
        """Say why a task that came by itself asks for more than its account may have of one answer, or None.

        Gateways have seen to that of what they submit.
        """
        bounds = self._bounds_of(work, key)
        wanted_ms = 0 if asked.deadline_at_ms is None else asked.deadline_at_ms - created_ms(key.task)
        return answer_error(asked, bounds) or time_error(wanted_ms, bounds, param="deadline_at_ms")

    def capped(self, work: Work, key: TaskKey, asked: TaskSubmitted, usual: timedelta) -> TaskSubmitted:
        """Return such a task within its bounds, where it does not say itself how much it is to have.

        ``usual`` is how long a task may take that does not say it.
        """
        bounds = self._bounds_of(work, key)
        most_s = bounds.most_seconds
        if asked.deadline_at_ms is None and most_s is not None:
            longest_ms = min(round(usual.total_seconds() * 1000), most_s * 1000)
            asked = replace(asked, deadline_at_ms=created_ms(key.task) + longest_ms)
        return capped(asked, bounds)

    def _bounds_of(self, work: Work, key: TaskKey) -> Bounds:
        bounds = self._bounds.of_account(key.account)
        is_free = not bounds.has_any or key.account == CHECKS or self._has_passed(work)
        return NO_BOUNDS if is_free else bounds

    def _has_passed(self, work: Work) -> bool:
        return has_passed(self._keys, work.subject, header(work.headers, PASSED))

    async def pay(self, ticket: Ticket | None, asked: TaskSubmitted) -> TaskError | None:
        """Pay for a task, and for the stream that its account hears while it runs; returns why that cannot be."""
        try:
            if ticket is not None:
                await ticket.pay(lambda: price_of_task(asked, answer_tokens=self._answer_tokens), stream=True)
        except LimitReached as error:
            return TaskError(code="rate_limit_exceeded", message=str(error), status=429)
        return None

    def inherit(self, ticket: Ticket | None, record: TaskRun, asked: TaskSubmitted) -> None:
        """Settle at the end what another dispatcher has paid for a task, whether that one was stopped or killed.

        Who has a node has paid; when, no event says: not before the task was made, so not too much is given back.
        """
        if ticket is not None and record.state.attempt > 0:
            ticket.inherit(price_of_task(asked, answer_tokens=self._answer_tokens), created_ms(record.key.task))

    async def hold(self, key: TaskKey, asked: TaskSubmitted) -> TaskError | None:
        """Have put aside what a task may cost; returns why that cannot be. Asked last: no other refusal holds money.

        Raises:
            LedgerAway: if no ledger answers in time.
        """
        return await self._holds.refusal(key, asked)
