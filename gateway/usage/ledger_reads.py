"""What a gateway asks the ledger: never the log itself, which only the ledger adds up."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.http.errors import ApiError
from mesh.errors import BusError, NoResponders, RequestTimedOut
from streams.billing.messages import (
    Balance,
    BalanceWanted,
    LedgerRefusal,
    PricesShown,
    PricesWanted,
    UsagePage,
    UsageWanted,
)
from streams.billing.subjects import ledger_api
from streams.codec import encode
from streams.messages import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.bus.link import Link
    from streams.billing.messages import UsageRow
    from streams.billing.subjects import LedgerVerb
    from streams.tokens import Token
    from streams.wire import Wire

_Answer = UsagePage | PricesShown | Balance | LedgerRefusal | Refusal
_answer: Final = msgspec.msgpack.Decoder(_Answer)

_TIMEOUT: Final = timedelta(seconds=2)
_PRICES_TIMEOUT: Final = timedelta(seconds=0.5)
"""A list of models does not wait long for its prices."""
_PRICES_KEPT_S: Final = 5.0
_NO_PRICES: Final = PricesShown()


class LedgerReads:
    """Asks for one gateway."""

    def __init__(self, core: Link, clock_s: Callable[[], float] = time.monotonic) -> None:
        """Ask through ``core``."""
        self._core = core
        self._clock_s = clock_s
        self._prices = _NO_PRICES
        self._prices_good_until_s = float("-inf")

    async def usage(self, account: Token, first_day: str, last_day: str) -> list[UsageRow]:
        """Return what an account has used on some days, both included.

        Raises:
            ApiError: 503 if no ledger answers.
        """
        rows: list[UsageRow] = []
        after: int | None = 0
        while after is not None:
            wanted = UsageWanted(account=account, first_day=first_day, last_day=last_day, after=after)
            page = await self._asked("usage", wanted)
            if not isinstance(page, UsagePage):
                raise _away("it has answered something else")
            rows += page.rows
            after = page.next_after
        return rows

    async def balance(self, account: Token) -> Balance:
        """Return what an account has, and how it pays.

        Raises:
            ApiError: 503 if no ledger answers.
        """
        answer = await self._asked("balance", BalanceWanted(account=account))
        if not isinstance(answer, Balance):
            raise _away("it has answered something else")
        return answer

    async def prices(self) -> PricesShown:
        """Return the price list that holds now, some seconds old at most; without a ledger none."""
        if self._clock_s() >= self._prices_good_until_s:
            try:
                shown = await self._asked("prices", PricesWanted(), _PRICES_TIMEOUT)
            except ApiError:
                shown = _NO_PRICES
            self._prices = shown if isinstance(shown, PricesShown) else _NO_PRICES
            self._prices_good_until_s = self._clock_s() + _PRICES_KEPT_S
        return self._prices

    async def _asked(self, verb: LedgerVerb, wanted: Wire, timeout: timedelta = _TIMEOUT) -> _Answer:
        try:
            reply = await self._core.request(ledger_api(verb), encode(wanted), timeout=timeout)
            answer = _answer.decode(reply.data)
        except (NoResponders, RequestTimedOut) as error:
            raise _away("no ledger runs, or it is busy") from error
        except (BusError, msgspec.DecodeError) as error:
            raise _away(str(error)) from error
        if isinstance(answer, LedgerRefusal | Refusal):
            raise _away(answer.message)
        return answer


def _away(reason: str) -> ApiError:
    message = f"The ledger cannot be asked now: {reason}."
    return ApiError(503, message, code="billing_unavailable", headers={"Retry-After": "5"})
