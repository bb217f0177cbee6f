"""The websocket asks too who is there: by header, by the first frame, and for as long as that is good."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import WSServerHandshakeError

from gateway.bridge import session as bridge_session
from mesh.access import credentials_check
from mesh.access.session_keys import SessionKeys
from mesh.access.session_tokens import issue_session
from streams.clock import now_ms
from streams.tasks.task_id import new_task_id
from streams.tokens import Token
from tests.bridge_server import Socket
from tests.http_gateway import HttpGateway, data_dir_of, serve_http
from tests.integration.auth.conftest import Guarded

DID = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"


@asynccontextmanager
async def connect(gateway: HttpGateway, **headers: str) -> AsyncIterator[Socket]:
    async with gateway.session.ws_connect(f"{gateway.url}/ws", protocols=("ig3.v1.json",), headers=headers) as ws:
        yield Socket(ws)


def bare(key: str) -> str:
    return key.removeprefix("Bearer ")


async def test_a_program_shows_its_key_in_the_header(guarded: Guarded) -> None:
    async with connect(guarded.gateway, Authorization=await guarded.key("acme")) as socket:
        hello = await socket.until_type("hello")
        assert hello["account"] == "acme"
        await socket.send(type="subscribe", topic="tasks", id=1)
        assert (await socket.until_type("tasks"))["reset"]


@pytest.mark.parametrize("shown", [f"Bearer ig3_{'a' * 13}_{'a' * 52}", "Bearer unused"])
async def test_a_header_that_opens_nothing_makes_no_connection(guarded: Guarded, shown: str) -> None:
    with pytest.raises(WSServerHandshakeError) as caught:
        async with connect(guarded.gateway, Authorization=shown):
            pass
    assert caught.value.status == 401


async def test_a_page_shows_it_in_the_first_frame(guarded: Guarded) -> None:
    key = await guarded.key("acme", ("read",))
    async with connect(guarded.gateway) as socket:
        assert "account" not in await socket.until_type("hello")
        for frame in (
            {"type": "subscribe", "topic": "tasks"},
            {"type": "subscribe", "topic": "task", "task": new_task_id()},
            {"type": "subscribe", "topic": "nodes"},
            {"type": "unsubscribe", "topic": "nodes"},
            {"type": "cancel", "task": new_task_id()},
        ):
            await socket.send(**frame, id=7)
            error = await socket.until_type("error")
            assert (error["code"], error["id"]) == ("not_authenticated", 7)
        await socket.send(type="ping", id=8)
        await socket.until_type("pong")
        await socket.send(type="authenticate", token=bare(key), id=9)
        said = await socket.until_type("authenticated")
        assert (said["id"], said["account"], said["rights"]) == (9, "acme", ["read"])
        await socket.send(type="subscribe", topic="nodes", id=10)
        await socket.until_type("nodes")
        await socket.send(type="cancel", task=new_task_id(), id=11)
        assert (await socket.until_type("error"))["code"] == "missing_right"


async def test_whoever_shows_a_wrong_one_or_none_in_time_is_sent_away(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connect(guarded.gateway) as socket:
        await socket.send(type="authenticate", token=f"ig3_{'a' * 13}_{'a' * 52}")
        assert await socket.until_closed() == 4401
    monkeypatch.setattr(bridge_session, "AUTHENTICATE_WITHIN_S", 0.05)
    async with connect(guarded.gateway) as socket:
        with suppress(ConnectionResetError):  # its time may be over by now
            await socket.send(type="ping")
        assert await socket.until_closed() == 4401


async def test_an_account_follows_no_task_of_another_even_under_the_same_id(guarded: Guarded) -> None:
    gateway, task = guarded.gateway, new_task_id()
    ours, theirs = await guarded.key("acme"), await guarded.key("beta")
    await (await gateway.ask({"max_tokens": 5}, Authorization=ours, x_ig3_task=task)).read()
    async with connect(gateway, Authorization=ours) as socket, connect(gateway, Authorization=theirs) as other:
        await other.send(type="subscribe", topic="task", task=task, id=1)
        assert (await other.until_type("error"))["code"] == "task_not_found"
        await other.send(type="cancel", task=task, id=2)
        assert (await other.until_type("cancelled"))["outcome"] == "unknown"
        await other.send(type="subscribe", topic="tasks", id=3)
        assert (await other.until_type("tasks"))["tasks"] == []
        # A task of their own under the same id, with as many events: each reader gets its own.
        question = {"messages": [{"role": "user", "content": "quite another question"}], "max_tokens": 5}
        await (await gateway.ask(question, Authorization=theirs, x_ig3_task=task)).read()
        texts = []
        for reader in (socket, other):
            await reader.send(type="subscribe", topic="task", task=task, id=4)
            await reader.until_type("over")
            texts.append("".join(event.get("text", "") for event in reader.events(task)))
        own = [
            (await (await gateway.ask({}, Authorization=ours, x_ig3_task=task)).json())["choices"][0],
            (await (await gateway.ask(question, Authorization=theirs, x_ig3_task=task)).json())["choices"][0],
        ]
        assert texts == [choice["message"]["content"] for choice in own]
        ends = [
            [event for event in reader.events(task) if event["type"] == "task.assigned.v1"]
            for reader in (socket, other)
        ]
        assert ends[0] != ends[1]


async def test_a_key_that_is_revoked_ends_its_connections(guarded: Guarded) -> None:
    key, other = await guarded.key("acme"), await guarded.key("acme")
    async with (
        connect(guarded.gateway, Authorization=key) as socket,
        connect(guarded.gateway, Authorization=other) as staying,
    ):
        await socket.until_type("hello")
        await guarded.writer.revoke(Token("acme"), key.split("_")[1], reason="lost")
        assert await socket.until_closed() == 4401
        await staying.send(type="ping", id=1)
        assert (await staying.until_type("pong"))["id"] == 1


def session_of(guarded: Guarded, account: str = "acme", left_s: int = 900) -> str:
    sessions = SessionKeys.load_or_create(data_dir_of(guarded.mesh.bus))
    now_s = now_ms() // 1000 - 900 + left_s
    return issue_session(sessions, did=DID, account=account, role="member", now_s=now_s)[0]


async def test_a_session_that_is_renewed_in_time_goes_on_and_one_that_is_not_ends(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    await guarded.gateway.access.reach(await guarded.writer.join(Token("acme"), DID, "member"))
    async with connect(guarded.gateway) as renewed, connect(guarded.gateway) as ending:
        for socket in (renewed, ending):
            await socket.send(type="authenticate", token=session_of(guarded, left_s=300))
            assert (await socket.until_type("authenticated"))["role"] == "member"
        await renewed.send(type="subscribe", topic="tasks", id=1)
        await renewed.until_type("tasks")
        await renewed.send(type="authenticate", token=session_of(guarded), id=2)
        assert (await renewed.until_type("authenticated"))["id"] == 2
        monkeypatch.setattr(credentials_check, "now_ms", lambda: now_ms() + 400_000)
        assert await ending.until_closed() == 4401
        await renewed.send(type="ping", id=3)
        assert (await renewed.until_type("pong"))["id"] == 3


async def test_a_connection_that_follows_an_account_does_not_change_to_another(guarded: Guarded) -> None:
    ours, theirs = await guarded.key("acme"), await guarded.key("beta")
    async with connect(guarded.gateway, Authorization=ours) as socket:
        await socket.send(type="authenticate", token=bare(theirs), id=1)
        assert (await socket.until_type("authenticated"))["account"] == "beta"
        await socket.send(type="subscribe", topic="tasks", id=2)
        await socket.until_type("tasks")
        await socket.send(type="authenticate", token=bare(ours), id=3)
        assert (await socket.until_type("error"))["code"] == "another_account"
        await socket.send(type="authenticate", token="ig3_wrong", id=4)
        assert (await socket.until_type("error"))["code"] == "not_authenticated"
        await socket.send(type="ping", id=5)
        await socket.until_type("pong")


async def test_where_nobody_is_asked_a_key_still_speaks_for_its_account(guarded: Guarded) -> None:
    key: Any = await guarded.key("acme")
    async with serve_http(guarded.mesh.bus) as gateway, connect(gateway) as socket:
        assert (await socket.until_type("hello"))["account"] == "local"
        await socket.send(type="authenticate", token=bare(key), id=1)
        assert (await socket.until_type("authenticated"))["account"] == "acme"
