"""``GET /v1/usage`` and ``GET /v1/usage/costs``: what the caller's own account has used, and what that cost."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from gateway.auth.caller import caller_with
from gateway.usage.buckets import cost_list, usage_list
from gateway.usage.query import DAY, read_query

if TYPE_CHECKING:
    from gateway.usage.ledger_reads import LedgerReads
    from gateway.usage.query import UsageQuery
    from streams.billing.messages import UsageRow

USAGE_PATH: Final = "/v1/usage"
COSTS_PATH: Final = "/v1/usage/costs"
_JSON: Final = {"Content-Type": "application/json"}


class UsageViews:
    """The handlers."""

    def __init__(self, ledger: LedgerReads) -> None:
        """Ask ``ledger``."""
        self._ledger = ledger

    async def usage(self, request: web.Request) -> web.Response:
        """Answer with tokens and requests by day."""
        query, rows = await self._rows(request)
        return web.Response(body=msgspec.json.encode(usage_list(query, rows)), headers=_JSON)

    async def costs(self, request: web.Request) -> web.Response:
        """Answer with amounts by day."""
        query, rows = await self._rows(request)
        return web.Response(body=msgspec.json.encode(cost_list(query, rows)), headers=_JSON)

    async def _rows(self, request: web.Request) -> tuple[UsageQuery, list[UsageRow]]:
        caller = caller_with(request, "read")
        query = read_query(request.query, now=datetime.now(UTC))
        last_day = query.page_end - DAY
        rows = await self._ledger.usage(caller.account, query.first_day.isoformat(), last_day.isoformat())
        return query, rows
