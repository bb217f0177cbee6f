"""A node that sleeps through the loss of its task, and one whose line is cut: both come back and do no harm.

A real node process with the rights of a node; the test plays the dispatcher.
"""

from pathlib import Path

import pytest

from streams.events import TaskChunk
from streams.messages import Finished
from streams.subjects import TaskKey
from streams.tasks.chat import Sampling
from tests.integration.worker.faulty_line import FaultyLine
from tests.integration.worker.node_child import NodeChild, node_child
from tests.integration.worker.played_dispatcher import ELSEWHERE, until
from tests.integration.worker.site import Site, synthetic, text_of

pytestmark = pytest.mark.timeout(120)

TASKS = 4
LONG = Sampling(max_tokens=20_000)
SLOW = ("--token-delay-ms", "5")


async def begin(site: Site, count: int = TASKS) -> list[TaskKey]:
    keys = [await site.dispatcher.place(sampling=LONG) for _ in range(count)]
    for key in keys:
        await site.dispatcher.chunks_stored(key, 1)
    return keys


async def serves(site: Site) -> None:
    """See that the node takes a new task and does it to the end."""
    key = await site.dispatcher.place(content="and now", sampling=Sampling(max_tokens=5))
    answer = await site.dispatcher.whole(key)
    assert answer.text == await text_of(await started_synthetic(), "and now", 5)


async def started_synthetic():
    engine = synthetic()
    await engine.start()
    return engine


async def assert_untouched(site: Site, key: TaskKey, stored: int) -> None:
    answer = await site.dispatcher.answer(key)
    assert answer.stored == stored, "the zombie's late chunk was stored"
    assert answer.chunks[-1].text == "elsewhere "


async def told_of_losses(node: NodeChild, count: int) -> None:
    """Wait until it has said so many times that its line is cut."""
    await until(lambda: sum("lost, reconnecting" in text for text in node.log) >= count)


def complaints(node: NodeChild) -> list[str]:
    return [line for line in node.log if "WARNING" in line or "ERROR" in line]


async def test_a_node_that_wakes_after_its_tasks_went_elsewhere_writes_nothing_and_serves_on(
    site: Site, tmp_path: Path
) -> None:
    dispatcher = site.dispatcher
    async with node_child(site, tmp_path / "node", *SLOW) as node:
        for wake in range(1, 4):
            keys = await begin(site)
            async with node.frozen():
                gone = [await dispatcher.give_away(key, "elsewhere ") for key in keys]
            # It tries to write, is refused by the broker's fence, asks, and hears that the attempt is not its own.
            await node.idle()
            assert {ask.task for ask in dispatcher.asks} >= {key.task for key in keys}
            for key, answer in zip(keys, gone, strict=True):
                await assert_untouched(site, key, answer.stored)
            assert len(dispatcher.asks) <= 5 * wake * TASKS, "one question for each lost task, or a few on a slow day"
            await serves(site)
        assert dispatcher.refused == []
        assert len(complaints(node)) < 10
        assert len(node.log) < 50 * TASKS


async def test_an_order_that_a_sleeper_finds_late_does_no_harm(site: Site, tmp_path: Path) -> None:
    """It was assigned while it slept, and lost the task again before it woke: its grant is good, its place is not."""
    dispatcher = site.dispatcher
    async with node_child(site, tmp_path / "node", *SLOW) as node:
        async with node.frozen():
            key = await dispatcher.place(sampling=LONG)
            gone = await dispatcher.give_away(key, "elsewhere ")
        await until(lambda: [ask for ask in dispatcher.asks if ask.task == key.task])
        await node.idle()
        # Handed to it once more, it is still over.
        dispatcher.hand(key, dispatcher.assigned[key.task])
        await serves(site)
        await assert_untouched(site, key, gone.stored)


async def test_a_sleeper_that_still_has_its_task_goes_on_with_it(site: Site, tmp_path: Path) -> None:
    sampling = Sampling(max_tokens=60)
    async with node_child(site, tmp_path / "node", "--token-delay-ms", "20") as node:
        is_asleep = False
        while not is_asleep:
            key = await site.dispatcher.place(content="sleep well", sampling=sampling)
            before = await site.dispatcher.chunks_stored(key, 1)
            async with node.frozen():
                # What a stranger stores meanwhile moves the fence, so that the sleeper must ask.
                stray = TaskChunk(n=1, attempt=1, offset=0, text="stray")
                await site.dispatcher.append_foreign(key, ELSEWHERE, stray)
                # A node that was quicker than this test has nothing left to interrupt.
                is_asleep = (await site.dispatcher.answer(key)).state.finish_reason is None
        assert isinstance(await site.dispatcher.report_of(key), Finished)
        answer = await site.dispatcher.answer(key)
        assert answer.text == await text_of(await started_synthetic(), "sleep well", 60)
        assert answer.text.startswith(before.text)
        assert answer.state.tokens == 60


@pytest.mark.parametrize("fate", ["still its own", "moved on"])
async def test_a_node_whose_line_was_cut_comes_back(site: Site, tmp_path: Path, fate: str) -> None:
    """It generates on while it is cut off; what became of its attempt is told by the dispatcher."""
    dispatcher = site.dispatcher
    words = 300
    sampling = Sampling(max_tokens=words) if fate == "still its own" else LONG
    async with FaultyLine(site.server.url) as line:
        nats = line.url.removeprefix("nats://")
        async with node_child(site, tmp_path / "node", *SLOW, nats=nats) as node:
            is_cut, losses = False, 0
            while not is_cut:
                line.up()
                key = await dispatcher.place(content="hold the line", sampling=sampling)
                await dispatcher.chunks_stored(key, 1)
                line.down()
                losses += 1
                await told_of_losses(node, losses)
                before = await dispatcher.answer(key)
                is_cut = before.state.finish_reason is None
            if fate == "moved on":
                before = await dispatcher.give_away(key, "elsewhere ")
            line.up()
            if fate == "moved on":
                await node.idle()
                await assert_untouched(site, key, before.stored)
            else:
                answer = await dispatcher.whole(key)
                assert answer.text == await text_of(await started_synthetic(), "hold the line", words)
                assert answer.text.startswith(before.text)
                assert answer.state.tokens == words
            await serves(site)
            # A line that is cut is told once, and its return; nothing is said again and again.
            assert len(complaints(node)) < 10 * losses
