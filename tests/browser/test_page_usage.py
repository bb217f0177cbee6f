"""What the page shows of what an account has used and paid."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from streams.billing.messages import UsageRow
from tests import chromium
from tests.http_gateway import serve_http
from tests.mesh_in_process import InProcessMesh
from tests.played_ledger import played_ledger
from tests.processes import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

TODAY = datetime.now(UTC).date()


def row(days_ago: int, model: str, amount_nano: int, **more: Any) -> UsageRow:
    day = (TODAY - timedelta(days=days_ago)).isoformat()
    return UsageRow(day=day, model=model, currency="EUR", amount_nano=amount_nano, **more)


async def test_usage_adds_up_by_model_without_losing_money(browser: Browser, mesh: InProcessMesh) -> None:
    async with serve_http(mesh.bus) as gateway, chromium.visit(browser, gateway.url) as visit:
        await visit.page.get_by_role("button", name="Usage").click()
        usage = visit.page.get_by_test_id("usage")
        await expect(usage.get_by_role("alert")).to_contain_text("The ledger cannot be asked now")
        # The browser notes both 503s, and the page is told of the first.
        await until(lambda: len(visit.errors) == 2)
        visit.errors.clear()
        await visit.page.keyboard.press("Escape")
        await expect(usage).to_have_count(0)

        async with played_ledger(mesh.bus.core) as ledger:
            ledger.rows["local"] = (
                row(9, "small", 1, tasks=9, prompt_tokens=10),
                row(2, "small", 10**8, tasks=3, prompt_tokens=1000, cached_prompt_tokens=250, completion_tokens=500),
                row(0, "small", 2 * 10**8, tasks=2, prompt_tokens=100, completion_tokens=40),
                row(0, "large", 9 * 10**17 + 1, tasks=1, hits=4, prompt_tokens=7, completion_tokens=2),
            )
            await visit.page.get_by_role("button", name="Usage").click()
            # A float would have 900000000.3 of it.
            await expect(visit.page.get_by_test_id("usage-cost")).to_have_text("900000000.300000001 EUR")
            await expect(usage.locator("tbody tr")).to_have_text(
                ["large1+4 cached72900000000.000000001 EUR", "small51,100250 cached5400.3 EUR"]
            )
            await expect(usage.locator(".columns li")).to_have_count(7)
            await usage.get_by_role("button", name="30 days").click()
            await expect(usage.locator("tbody tr").last).to_contain_text("0.300000001 EUR")
            assert await sideways(visit.page) == 0
        assert visit.errors == []


async def sideways(page: Page) -> int:
    return await page.evaluate("document.documentElement.scrollWidth - innerWidth")
