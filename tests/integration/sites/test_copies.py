"""A site and its hub, linked and cut: each event of the site is at the hub once and in its order, whatever happens."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import pytest

from mesh.bus.provision import Action, check
from mesh.bus.service_bus import Bus
from mesh.sites.plan import streams_here
from streams import subjects
from streams.consumers import consumer_specs
from streams.tokens import Token
from streams.topology import results_stream
from tests.integration.sites.linked import (
    Pair,
    assert_same,
    content,
    eventually,
    heard,
    held,
    linked_up,
    live_a_life,
    make_pair,
    new_key,
    wait_for_copies,
)
from tests.integration.sites.uplink_line import UplinkLine

pytestmark = pytest.mark.timeout(180)

N1 = Token("n1")


class Linked(NamedTuple):
    """What a test gets: both brokers run, and there is a line between them."""

    pair: Pair
    hub: Bus
    site: Bus
    line: UplinkLine


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    made = make_pair(tmp_path_factory.mktemp("linked"))
    with made.hub.as_hub(), made.site.server:
        asyncio.run(begin(made))
        yield made


async def begin(pair: Pair) -> None:
    """Make the streams while both are linked: a hub that finds no site asks again after 40 s."""
    async with UplinkLine(pair.line, pair.door):
        await pair.site.provision()
        await linked_up(pair)
        await pair.hub.provision()
        async with await pair.hub.bus() as hub:
            await heard(pair, hub)


@pytest.fixture
async def linked(pair: Pair) -> AsyncIterator[Linked]:
    async with (
        UplinkLine(pair.line, pair.door) as line,
        await pair.hub.bus() as hub,
        await pair.site.bus() as site,
    ):
        yield Linked(pair, hub, site, line)


async def test_what_is_stored_at_the_site_is_copied_while_both_are_linked(linked: Linked) -> None:
    key = new_key()
    await live_a_life(linked.site, key, chunks=5)
    await wait_for_copies(linked.hub, linked.site, linked.pair.name)
    assert await assert_same(linked.hub, linked.site, linked.pair.name) >= 8
    copies = await held(linked.hub, "CORE", "SITE_berlin_ENDED")
    assert f"site.berlin.{subjects.ended(key)}" in [copy.subject for copy in copies]
    await heard(linked.pair, linked.hub)


async def test_tasks_begin_and_end_at_the_site_while_the_line_is_cut_and_the_hub_gets_them_later(
    linked: Linked,
) -> None:
    await linked.line.down()
    for _ in range(20):
        await live_a_life(linked.site, new_key(), chunks=4)
    before = await held(linked.hub, "CORE", "SITE_berlin_ENDED")
    assert len(before) <= len(await held(linked.site, "CORE", "ENDED")) - 20
    await linked.line.up()
    await wait_for_copies(linked.hub, linked.site, linked.pair.name)
    await assert_same(linked.hub, linked.site, linked.pair.name)


async def test_a_line_that_breaks_again_and_again_in_the_middle_of_copying(linked: Linked) -> None:
    await linked.line.down()
    key = new_key()
    for n in range(600):
        await linked.site.edge.append(subjects.result(key, N1), b"%d " % n * 50)
    linked.line.wear(25_000, 50_000)
    await linked.line.up()
    await wait_for_copies(linked.hub, linked.site, linked.pair.name)
    assert linked.line.breaks == 2
    await assert_same(linked.hub, linked.site, linked.pair.name)


async def test_the_site_is_killed_and_comes_back_while_the_line_is_cut(linked: Linked) -> None:
    await linked.line.down()
    await live_a_life(linked.site, new_key(), chunks=30)
    await asyncio.to_thread(linked.pair.site.server.kill)
    await asyncio.to_thread(linked.pair.site.server.start)
    async with await linked.pair.site.bus("again") as site:
        await live_a_life(site, new_key(), chunks=30)
        await linked.line.up()
        await wait_for_copies(linked.hub, site, linked.pair.name)
        await assert_same(linked.hub, site, linked.pair.name)


async def test_the_streams_are_what_they_should_be_and_provisioning_again_changes_nothing(linked: Linked) -> None:
    for broker, bus in ((linked.pair.hub, linked.hub), (linked.pair.site, linked.site)):
        await broker.provision()
        findings = await check(bus.links, streams_here(broker.mesh), consumer_specs())
        assert {finding.action for finding in findings} == {Action.SAME}


async def test_a_message_id_that_is_used_twice_costs_nobody_else_an_event(linked: Linked) -> None:
    """Stored far enough apart, the site keeps both; at the hub they arrive together and the second is taken for a
    repeat of the first. Services set no message ids, so no end is ever lost by it (docs/sites.md)."""
    await linked.line.down()
    key, other = new_key(), new_key()
    same_id = (("Nats-Msg-Id", "x"),)
    await linked.site.edge.append(subjects.result(key, N1), b"first", headers=same_id)

    async def stored_again() -> bool:
        """The site's own window must be over; until then it answers with the first one's sequence."""
        await linked.site.edge.append(subjects.result(key, N1), b"second", headers=same_id)
        return len(await of(linked.site, "RESULTS_", key)) == 2

    await eventually(stored_again)
    await linked.site.edge.append(subjects.result(other, N1), b"theirs")
    await linked.line.up()

    async def arrived() -> bool:
        return await of(linked.hub, "SITE_berlin_RESULTS", other) == [b"theirs"]

    await eventually(arrived)
    assert b"first" in await of(linked.hub, "SITE_berlin_RESULTS", key)


async def of(bus: Bus, stream: str, key: subjects.TaskKey) -> list[bytes]:
    """What a stream, or the RESULTS stream of the task's bucket, holds of one writer's events of a task."""
    name = stream if stream.startswith("SITE_") else results_stream(key.task[-1], 4)
    return [data for subject, data in content(await held(bus, "EDGE", name)) if subject == subjects.result(key, N1)]
