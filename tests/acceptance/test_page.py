"""The live page in a real browser, beside a real `ig3 up` with all its processes."""

import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from urllib.request import urlopen

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests import chromium
from tests.chromium import LIMIT_MS, Visit
from tests.integration.test_up import Up, running
from tests.processes import PATIENCE_S, is_running, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

TOKENS_OF_A_CHAT = 50
"""What the synthetic engine answers with where nobody says how much."""
PATIENT = {"IG3_HEARTBEAT": "30s"}
"""A part that this machine holds up for seconds is not taken for lost."""
RESTARTED_MS = 1000 * PATIENCE_S
UNFINISHED = """([question, tokens]) => {
    const answer = [...document.querySelectorAll("[data-testid=answer-turn]")].at(-1);
    const tasks = [...document.querySelectorAll("[data-testid=tasks] .task")];
    const task = tasks.find(({ textContent }) => textContent.includes(question));
    const early = answer?.querySelector(".text").textContent.trim() ?? "";
    const tail = task?.querySelector("[data-testid=tail]")?.textContent ?? "";
    const isWritten = answer?.ariaBusy === "true" && task?.dataset.state === "running";
    if (isWritten && early.length > 20 && early.split(/\\s+/).length < tokens && tail) return { early, tail };
    return answer && answer.dataset.state !== "open" && { early: "", tail: "" };
}"""
"""What the page shows of an answer, in one and the same moment, while it is written; nothing once it is over."""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("page") / "data", "--token-delay-ms", "50", **PATIENT) as up:
        yield up


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium.browser() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def visit(browser: Browser, mesh: Up) -> AsyncIterator[Visit]:
    async with chromium.visit(browser, mesh.ready.url) as visiting:
        yield visiting


def stored_text(mesh: Up, task: str) -> str:
    """The answer of a task that has ended, as the streams hold it."""
    with urlopen(f"{mesh.ready.url}/v1/tasks/{task}/events") as response:
        lines = response.read().decode().splitlines()
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    assert events[-1]["type"] == "task.ended.v1"
    return "".join(event.get("text", "") for event in events)


async def asked_and_unfinished(visit: Visit, question: str) -> dict[str, str]:
    """Ask, and see the answer before it is complete; on a machine that stalls it may come at once: then ask again."""
    while True:
        asked = await visit.page.get_by_test_id("answer-turn").count()
        await visit.ask(question)
        await expect(visit.page.get_by_test_id("answer-turn")).to_have_count(asked + 1)
        seen = await visit.page.wait_for_function(UNFINISHED, arg=[question, TOKENS_OF_A_CHAT], timeout=LIMIT_MS)
        if (shown := await seen.json_value())["early"]:
            return shown


async def test_tokens_arrive_on_the_page_before_the_answer_is_complete(visit: Visit) -> None:
    shown = await asked_and_unfinished(visit, "How does it look?")

    await expect(visit.task("How does it look?")).to_have_attribute("data-state", "completed")
    answer = visit.page.get_by_test_id("answer-turn").last
    await expect(answer).to_have_attribute("data-state", "done")
    whole = await answer.locator(".text").text_content() or ""
    assert whole.startswith(shown["early"])
    assert len(whole.split()) == TOKENS_OF_A_CHAT
    assert 0 < len(shown["tail"]) < len(whole)


async def test_load_and_throughput_are_shown_while_it_runs(visit: Visit) -> None:
    await visit.answers_go_on()
    await visit.ask("How busy is it?")

    await visit.until("() => Number(document.querySelector('[data-testid=tokens-per-s]').textContent) > 1")
    await expect(visit.page.get_by_test_id("running")).to_have_text("1")
    await expect(visit.page.get_by_test_id("nodes")).to_contain_text("1/256 busy")
    await visit.page.get_by_role("button", name="Stop", exact=True).click()
    await expect(visit.page.get_by_test_id("running")).to_have_text("0")
    await expect(visit.page.get_by_test_id("nodes")).to_contain_text("0/256 busy")
    drawn = "() => document.querySelectorAll('.canvas canvas').length"
    assert await visit.page.evaluate(drawn) == 2


async def test_a_click_opens_the_history_of_a_task_with_the_reasons_for_its_place(visit: Visit) -> None:
    await visit.ask("Why there?")
    await visit.task("Why there?").click()

    history = visit.page.get_by_test_id("history")
    await expect(history.get_by_role("heading", name="Why there?")).to_be_focused()
    await expect(history.get_by_test_id("entry-assigned")).to_contain_text("policy")
    await expect(history.get_by_test_id("entry-assigned").locator("[data-chosen=true]")).to_contain_text(
        "first token after"
    )
    await expect(history.locator("[data-chosen=true]")).to_have_count(1)
    await expect(history.get_by_test_id("entry-completed")).to_contain_text("Ended: completed")
    await expect(history.get_by_test_id("entry-chunks")).to_contain_text(f"{TOKENS_OF_A_CHAT} tokens in")
    kinds = await history.locator(".entry").evaluate_all("(entries) => entries.map((entry) => entry.dataset.kind)")
    assert kinds == ["submitted", "assigned", "chunks", "completed"]

    await visit.page.keyboard.press("Escape")
    await expect(history).to_have_count(0)


async def test_a_history_has_an_address_of_its_own(visit: Visit, browser: Browser) -> None:
    await visit.ask("Where is it?")
    await visit.page.get_by_role("button", name="how it went").click()
    await expect(visit.page.get_by_test_id("history")).to_be_visible()

    async with chromium.visit(browser, visit.page.url) as second:
        await expect(second.page.get_by_test_id("entry-completed")).to_be_visible()
        await expect(second.page.get_by_test_id("history")).to_contain_text("Where is it?")


async def test_a_task_is_cancelled_from_its_history(visit: Visit) -> None:
    await visit.answers_go_on()
    await visit.ask("Will it end?")
    await visit.task("Will it end?").click()
    await visit.page.get_by_role("button", name="Cancel the task").click()

    await expect(visit.page.get_by_test_id("entry-cancelled")).to_contain_text("Ended: cancelled")
    await expect(visit.page.get_by_test_id("answer-turn")).to_have_attribute("data-state", "failed")


async def test_stop_ends_the_task_and_not_only_the_reading(visit: Visit) -> None:
    await visit.answers_go_on()
    await visit.ask("Shall I stop?")
    await visit.until("() => document.querySelector('.answer .text')?.textContent.length > 5")
    await visit.page.get_by_role("button", name="Stop", exact=True).click()

    await expect(visit.page.get_by_test_id("answer-turn")).to_have_attribute("data-state", "stopped")
    task = visit.task("Shall I stop?")
    await expect(task).to_have_attribute("data-state", "cancelled")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_an_answer_goes_on_without_gap_or_repeat_when_the_gateway_restarts(
    visit: Visit, mesh: Up, how: signal.Signals
) -> None:
    await asked_and_unfinished(visit, "Does it survive?")
    await visit.task("Does it survive?").click()
    killed = mesh.pid_of("gateway")
    os.kill(killed, how)

    await until(lambda: not is_running(killed))
    connection, answer = visit.page.locator(".connection"), visit.page.get_by_test_id("answer-turn").last
    await expect(answer).to_have_attribute("data-state", "done", timeout=RESTARTED_MS)
    await expect(connection).to_have_text("Live", timeout=RESTARTED_MS)
    await expect(visit.page.get_by_test_id("entry-completed")).to_be_visible()

    history = await visit.page.get_by_test_id("answer").text_content()
    chat = await answer.locator(".text").text_content()
    task = (await visit.page.locator(".history .facts .mono").text_content()) or ""
    assert chat == history == stored_text(mesh, task)
    assert len((chat or "").split()) == TOKENS_OF_A_CHAT
    board = visit.task("Does it survive?")
    await expect(board).to_have_attribute("data-state", "completed")
    await expect(board).to_contain_text(f"{TOKENS_OF_A_CHAT} tok")


async def test_what_people_and_models_write_is_text_and_never_markup(visit: Visit) -> None:
    await visit.ask("<img src=x onerror='document.title=1'><script>document.title = 2</script><b>bold</b>")

    task = visit.task("<img src=x")
    await expect(task).to_contain_text("<img src=x onerror=")
    assert await visit.page.locator("#page b:has-text('bold')").count() == 0
    assert await visit.page.title() == "iG3 mesh"


async def test_the_page_breaks_none_of_its_own_rules_and_asks_nobody_else(visit: Visit, mesh: Up) -> None:
    await visit.ask("Is all well?")
    await expect(visit.page.get_by_test_id("answer-turn")).to_have_attribute("data-state", "done")
    await visit.page.get_by_role("button", name="Colours").click()

    assert visit.errors == []
    assert {url.split("/")[2] for url in visit.requested if "://" in url} == {mesh.ready.url.split("/")[2]}


async def test_colours_follow_the_choice_and_are_remembered(visit: Visit) -> None:
    paper = "() => getComputedStyle(document.body).backgroundColor"
    light = await visit.page.evaluate(paper)
    button = visit.page.get_by_role("button", name="Colours")
    await button.click()
    assert await visit.page.evaluate(paper) == light
    await button.click()
    dark = await visit.page.evaluate(paper)
    await visit.page.reload()

    assert dark != light
    assert await visit.page.evaluate(paper) == dark
