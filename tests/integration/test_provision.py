"""Provisioning on a real server: what is found to differ, what is mended, and what is kept because it would delete."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.bus.provision import SHORTENING, Action, Finding, check, provision
from mesh.errors import BusError
from mesh.history.stream_facts import stream_facts
from mesh.inspection.surplus_streams import surplus_streams
from streams.consumers import ConsumerSpec
from streams.topology import Account, StreamSpec
from tests.nats_server import NatsServer

DAY = timedelta(days=1)
SOON = timedelta(milliseconds=100)
CONSUMER = ConsumerSpec(
    stream="A", account="EDGE", name="c", filter_subject="a.>", description="c", ack_wait=DAY, max_ack_pending=1
)


def spec(name: str = "A", **fields: Any) -> StreamSpec:
    given = {"max_age": DAY, "description": "test", **fields}
    return StreamSpec(name=name, account="EDGE", subjects=(f"{name.lower()}.>",), **given)


@pytest.fixture
async def links(nats_server: NatsServer) -> AsyncIterator[dict[Account, Link]]:
    options = LinkOptions(servers=(nats_server.url,), name="t", inbox_prefix="_INBOX.svc.t")
    link = await Link.connect(options)
    yield {"EDGE": link}
    await link.close()


async def api(links: dict[Account, Link], subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = b"" if body is None else json.dumps(body).encode()
    answer = json.loads((await links["EDGE"].request(f"$JS.API.{subject}", data)).data)
    assert "error" not in answer, answer
    return answer


async def set_by_somebody(links: dict[Account, Link], stream: str, **fields: Any) -> None:
    config = (await api(links, f"STREAM.INFO.{stream}"))["config"]
    await api(links, f"STREAM.UPDATE.{stream}", {**config, **fields})


async def one(links: dict[Account, Link], wanted: StreamSpec, *, shorten: bool = False) -> Finding:
    return (await provision(links, [wanted], (), shorten=shorten))[0]


def fields(finding: Finding) -> dict[str, str]:
    return {difference.field: difference.kind for difference in finding.differences}


async def messages(links: dict[Account, Link], stream: str) -> int:
    return (await stream_facts(links["EDGE"], stream)).messages


async def test_a_shorter_retention_deletes_nothing_unless_that_is_asked_for(
    links: dict[Account, Link], caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("A", "B"):
        await one(links, spec(name))
        await links["EDGE"].append(f"{name.lower()}.x", b"old")
    caplog.set_level(logging.WARNING)
    kept = await one(links, spec("A", max_age=SOON))
    assert (kept.action, kept.shortens, fields(kept)) == (Action.KEPT, True, {"max_age": "shortening"})
    assert f"A is kept as it is (max_age: {86400 * 10**9} -> {10**8}): {SHORTENING}" in caplog.text

    assert (await one(links, spec("B", max_age=SOON), shorten=True)).action is Action.UPDATED
    async with asyncio.timeout(30):
        while await messages(links, "B"):  # noqa: ASYNC110 - the broker tells nobody that it expires something
            await asyncio.sleep(0.02)
    assert await messages(links, "A") == 1


async def test_what_else_differs_is_mended_beside_a_retention_that_is_kept(links: dict[Account, Link]) -> None:
    await one(links, spec())
    wanted = spec(max_age=SOON, description="new words")
    assert fields(await one(links, wanted)) == {"max_age": "shortening"}
    config = (await api(links, "STREAM.INFO.A"))["config"]
    assert (config["description"], config["max_age"]) == ("new words", 86400 * 10**9)
    (checked,) = await check(links, [wanted], ())
    assert (checked.action, fields(checked)) == (Action.DRIFTED, {"max_age": "shortening"})


@pytest.mark.parametrize("longer", [2 * DAY, None], ids=["longer", "for ever"])
async def test_a_longer_retention_is_applied_at_once(links: dict[Account, Link], longer: timedelta | None) -> None:
    await one(links, spec())
    (checked,) = await check(links, [spec(max_age=longer)], ())
    assert fields(checked) == {"max_age": "ours"}
    assert (await one(links, spec(max_age=longer))).action is Action.UPDATED
    assert fields(await one(links, spec())) == {"max_age": "shortening"}


async def test_one_message_per_subject_is_not_made_of_several_unasked(links: dict[Account, Link]) -> None:
    wanted = spec(one_per_subject=True)
    await one(links, wanted)
    await set_by_somebody(links, "A", max_msgs_per_subject=-1, discard="old", discard_new_per_subject=False)
    for body in (b"first", b"second"):
        await links["EDGE"].append("a.x", body)
    with pytest.raises(BusError, match=rf"max_msgs_per_subject: -1 -> 1.* without --shorten: {SHORTENING}"):
        await one(links, wanted)
    assert await messages(links, "A") == 2
    assert (await one(links, wanted, shorten=True)).action is Action.UPDATED
    assert await messages(links, "A") == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_msgs", 1000),
        ("max_bytes", 10**6),
        ("max_msg_size", 1000),
        ("max_consumers", 7),
        ("compression", "s2"),
        ("no_ack", True),
        ("consumer_limits", {"max_ack_pending": 10}),
        ("subject_transform", {"src": "a.>", "dest": "z.>"}),
    ],
)
async def test_what_somebody_else_has_set_is_shown_and_unset(
    links: dict[Account, Link], field: str, value: object
) -> None:
    await one(links, spec())
    await links["EDGE"].append("a.x", b"x")
    await set_by_somebody(links, "A", **{field: value})
    (checked,) = await check(links, [spec()], ())
    assert checked.action is Action.DRIFTED
    shown = {difference.field: str(difference) for difference in checked.differences if difference.kind == "foreign"}
    assert shown == {field: f"{field}: {value!r} -> not set"}
    assert (await one(links, spec())).action is Action.UPDATED
    assert [finding.action for finding in await check(links, [spec()], ())] == [Action.SAME]
    assert await messages(links, "A") == 1


async def test_a_stream_that_somebody_else_has_made_takes_no_rollups_afterwards(links: dict[Account, Link]) -> None:
    # A roll-up deletes what was stored; the broker allows it only where streams may be purged.
    made = {"name": "A", "subjects": ["a.>"], "max_age": 86400 * 10**9, "allow_rollup_hdrs": True}
    await api(links, "STREAM.CREATE.A", made)
    (checked,) = await check(links, [spec()], ())
    assert fields(checked)["allow_rollup_hdrs"] == "foreign"
    assert (await one(links, spec())).action is Action.UPDATED
    assert not (await api(links, "STREAM.INFO.A"))["config"]["allow_rollup_hdrs"]


async def test_what_cannot_be_unset_is_kept_and_shown_and_all_else_is_mended(
    links: dict[Account, Link], caplog: pytest.LogCaptureFixture
) -> None:
    await one(links, spec())
    await set_by_somebody(links, "A", allow_msg_ttl=True, max_msgs=5)
    caplog.set_level(logging.WARNING)
    kept = await one(links, spec(description="new words"))
    assert (kept.action, fields(kept)) == (Action.KEPT, {"max_msgs": "foreign", "allow_msg_ttl": "foreign"})
    assert "the broker cannot unset it" in caplog.text
    assert (await api(links, "STREAM.INFO.A"))["config"]["description"] == "new words"


async def test_a_stream_of_an_older_version_that_denies_deletes_for_ever_is_kept(links: dict[Account, Link]) -> None:
    await one(links, spec())
    kept = await one(links, spec(is_erasable=True, description="new words"))
    assert (kept.action, fields(kept)) == (Action.KEPT, {"deny_delete": "sealed"})
    assert (await api(links, "STREAM.INFO.A"))["config"]["description"] == "new words"


async def test_a_consumer_that_somebody_has_changed_differs(links: dict[Account, Link]) -> None:
    assert [finding.action for finding in await provision(links, [spec()], [CONSUMER])] == [Action.CREATED] * 2
    assert [finding.action for finding in await check(links, [spec()], [CONSUMER])] == [Action.SAME] * 2
    config = (await api(links, "CONSUMER.INFO.A.c"))["config"]
    await api(links, "CONSUMER.CREATE.A.c", {"stream_name": "A", "config": {**config, "headers_only": True}})
    _, checked = await check(links, [spec()], [CONSUMER])
    assert [str(difference) for difference in checked.differences] == ["headers_only: True -> not set"]
    _, mended = await provision(links, [spec()], [CONSUMER])
    assert mended.action is Action.UPDATED


async def test_streams_that_nobody_asks_for_are_shown_and_left(links: dict[Account, Link]) -> None:
    wanted = [spec("A"), spec("B"), spec("C")]
    await provision(links, wanted, ())
    await links["EDGE"].append("c.x", b"x")
    assert await surplus_streams(links, wanted) == []
    fewer = [*wanted[:2], replace(wanted[2], account="CORE")]
    found = await surplus_streams(links, fewer)
    assert [(surplus.account, surplus.facts.name, surplus.facts.messages) for surplus in found] == [("EDGE", "C", 1)]
    await provision(links, wanted[:2], ())
    assert await messages(links, "C") == 1
