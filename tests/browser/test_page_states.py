"""What the page shows when there is nothing yet, when something waits, and when something is lost."""

import re

import pytest
from playwright.async_api import Browser, expect

from streams import subjects
from streams.codec import encode
from streams.events import TaskAssigned
from streams.messages import Cancel
from streams.subjects import MESH
from streams.tasks.placing import Hedge
from tests import chromium
from tests.bridge_server import BridgeServer
from tests.chromium import ENDLESS
from tests.mesh_in_process import InProcessMesh

UNKNOWN = "\N{EN DASH}"
"""What the page shows where it cannot know."""

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]


async def test_an_empty_mesh_says_what_to_do_next(browser: Browser, bridge: BridgeServer) -> None:
    async with chromium.visit(browser, bridge.url) as visit:
        await expect(visit.page.locator(".connection")).to_have_text("Live")
        await expect(visit.page.get_by_text("ig3 node --nats 127.0.0.1:4222")).to_be_visible()
        await expect(visit.page.get_by_text(f"curl {bridge.url}/v1/chat/completions")).to_be_visible()
        await expect(visit.page.get_by_text("no model is served now")).to_be_visible()
        await expect(visit.page.get_by_role("button", name="Send")).to_be_disabled()


async def test_a_task_that_waits_says_for_what(browser: Browser, mesh: InProcessMesh, bridge: BridgeServer) -> None:
    await mesh.add_dispatcher()
    await mesh.submit(text="Is anybody there?")

    async with chromium.visit(browser, bridge.url) as visit:
        task = visit.task("Is anybody there?")
        await expect(task).to_contain_text("Queued, next: no node serves this model")
        await expect(visit.page.get_by_test_id("waiting")).to_have_text("1")
        await mesh.add_node("late", delay_ms=5)
        await expect(task).to_have_attribute("data-state", "completed")
        await task.click()
        await expect(visit.page.get_by_test_id("entry-queued")).to_contain_text("no node serves this model")
        await expect(visit.page.get_by_test_id("node-late")).to_have_attribute("data-state", "live")


async def test_that_a_second_node_was_asked_is_told_with_the_reason_and_who_was_first(
    browser: Browser, mesh: InProcessMesh, bridge: BridgeServer
) -> None:
    key = await mesh.submit(text="Be quick!")
    hedge = Hedge(attempt=1, beside="slow", node="quick", waited_s=0.75, samples=64, outcome="won")
    for marker in (
        TaskAssigned(n=1, at_ms=0, attempt=1, node="slow", policy="latency.v1"),
        TaskAssigned(n=2, at_ms=0, attempt=2, node="quick", policy="latency.v1", hedge=hedge),
    ):
        await mesh.bus.edge.append(subjects.result(key, MESH), encode(marker))

    async with chromium.visit(browser, bridge.url) as visit:
        await visit.task("Be quick!").click()
        told = visit.page.get_by_test_id("hedge")
        await expect(told).to_contain_text("slow had no word after 0.75 s (later than 95 % of its last 64 were)")
        await expect(told).to_contain_text("quick was first; slow was stopped, and earns nothing")


async def test_a_task_that_failed_says_why(browser: Browser, mesh: InProcessMesh, bridge: BridgeServer) -> None:
    await mesh.add_dispatcher()
    await mesh.submit(model="nonesuch", text="Who are you?")

    async with chromium.visit(browser, bridge.url) as visit:
        await expect(visit.task("Who are you?")).to_have_attribute("data-state", "failed")
        await expect(visit.task("Who are you?")).to_contain_text("nonesuch")


async def test_a_node_that_vanishes_is_shown_as_gone(
    browser: Browser, mesh: InProcessMesh, bridge: BridgeServer
) -> None:
    await mesh.add_dispatcher()
    node = await mesh.add_node("brief", interval_s=0.2)

    async with chromium.visit(browser, bridge.url) as visit:
        shown = visit.page.get_by_test_id("node-brief")
        await expect(shown).to_have_attribute("data-state", "live")
        await node.vanish()
        await expect(shown).to_have_attribute("data-state", "gone")
        await expect(visit.page.get_by_text("0 of 1 live")).to_be_visible()


async def test_a_node_has_a_rate_while_it_works_and_none_when_it_is_done(
    browser: Browser, mesh: InProcessMesh, bridge: BridgeServer
) -> None:
    await mesh.add_dispatcher()
    # The rate comes a second after the change; of a second in which this machine stood still there is none.
    await mesh.add_node("busy", delay_ms=5, interval_s=20)

    async with chromium.visit(browser, bridge.url) as visit:
        shown = visit.page.get_by_test_id("node-busy")
        await expect(shown).to_have_attribute("data-state", "live")
        key = await mesh.submit(tokens=ENDLESS)
        await expect(shown).to_contain_text(re.compile(r"1/\d+ busy\s*\d[\d.]* tok/s"))
        user = await mesh.connect_user()
        await user.request(subjects.user_api(key.account, "cancel"), encode(Cancel(task=key.task)))
        # Its last report has the rate of the second before.
        await expect(shown).to_contain_text(re.compile(rf"0/\d+ busy\s*{UNKNOWN} tok/s"))


async def test_an_unknown_task_in_the_address_is_told(
    browser: Browser, mesh: InProcessMesh, bridge: BridgeServer
) -> None:
    async with chromium.visit(browser, f"{bridge.url}/#task={mesh.key().task}") as visit:
        await expect(visit.page.get_by_test_id("history").get_by_role("alert")).to_contain_text("there is no task")


async def test_a_gateway_that_stops_is_shown_and_not_taken_for_silence(browser: Browser, bridge: BridgeServer) -> None:
    async with chromium.visit(browser, bridge.url) as visit:
        await expect(visit.page.get_by_test_id("running")).to_have_text("0")
        await bridge.stop()
        await expect(visit.page.locator(".connection")).to_contain_text("Reconnecting")
        await expect(visit.page.get_by_test_id("running")).to_have_text(UNKNOWN)


@pytest.mark.parametrize("width", [360, 768, 1024, 1920])
async def test_nothing_is_wider_than_the_screen(
    browser: Browser, mesh: InProcessMesh, bridge: BridgeServer, width: int
) -> None:
    await mesh.add_dispatcher()
    await mesh.add_node("a-node-with-quite-a-long-name-in-the-attic", slots=200)
    key = await mesh.submit(tokens=200, text="A question without any spaces: " + "x" * 300)
    await mesh.steps(key)

    async with chromium.visit(browser, f"{bridge.url}/#task={key.task}") as visit:
        await visit.page.set_viewport_size({"width": width, "height": 800})
        await expect(visit.page.get_by_test_id("entry-completed")).to_be_visible()
        wider = "() => document.documentElement.scrollWidth > innerWidth"
        assert await visit.page.evaluate(wider) is False
        await visit.page.keyboard.press("Escape")
        await expect(visit.task("A question")).to_be_visible()
        assert await visit.page.evaluate(wider) is False
