"""nats.conf: what an operator runs, and what each of its users may and may not do, on a real server."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from nats.aio.client import Client as Nats
from nats.js.api import AccountInfo

from mesh.broker.credentials import Credential, Credentials
from mesh.broker.files import BrokerOptions, broker_variables, find_binary, find_conf, write_env_file
from mesh.broker.server import EmbeddedServer
from mesh.config.address import Address
from mesh.config.settings import MeshSettings
from streams import subjects
from streams.tasks.task_id import new_task_id
from streams.tokens import Token, token

NODE, ACCOUNT, STRANGER = token("n1"), token("local"), token("stranger")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("broker")


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer(BrokerOptions(data_dir=folder, listen=Address("127.0.0.1", 0))) as running:
        yield running


class Client:
    """A connection that remembers what it was refused."""

    def __init__(self) -> None:
        self.refused: list[str] = []
        self.first_refusal = asyncio.Event()
        self.nats = Nats()

    async def _on_error(self, error: Exception) -> None:
        self.refused.append(str(error).lower())
        self.first_refusal.set()

    @classmethod
    async def connect(cls, server: EmbeddedServer, who: Credential, inbox: str = "_INBOX") -> "Client":
        client = cls()
        await client.nats.connect(
            server.url, nkeys_seed=str(who.seed_path), inbox_prefix=inbox.encode(), error_cb=client._on_error
        )
        return client

    async def may_publish(self, subject: str, reply: str = "") -> bool:
        return not await self._refusals(self.nats.publish(subject, b"", reply=reply))

    async def may_subscribe(self, subject: str) -> bool:
        return not await self._refusals(self.nats.subscribe(subject))

    async def _refusals(self, action: object) -> list[str]:
        """The server answers in order: once a ping is back, so is every refusal before it."""
        before = len(self.refused)
        await action  # type: ignore[misc]  # one of two coroutines of nats-py
        await asyncio.sleep(0)
        await self.nats.flush()
        await self.nats.flush()
        return self.refused[before:]


@pytest.fixture
async def user(server: EmbeddedServer) -> AsyncIterator[Client]:
    client = await Client.connect(server, server.credentials.user, subjects.user_inbox_prefix(ACCOUNT))
    yield client
    await client.nats.close()


def key(account: Token = ACCOUNT) -> subjects.TaskKey:
    return subjects.TaskKey(account, new_task_id())


async def test_a_user_may_say_and_hear_what_is_its_accounts(user: Client) -> None:
    assert await user.may_publish(subjects.submitted("interactive", key()))
    assert await user.may_publish(subjects.user_api(ACCOUNT, "events"))
    assert await user.may_subscribe(subjects.live_of_account(ACCOUNT))
    assert await user.may_subscribe(subjects.live_of(key()))
    assert await user.may_subscribe(f"{subjects.user_inbox_prefix(ACCOUNT)}.>")


@pytest.mark.parametrize(
    "subject",
    [
        pytest.param(subjects.submitted("interactive", key(STRANGER)), id="a task of a stranger"),
        subjects.user_api(STRANGER, "cancel"),
        pytest.param(subjects.result(key(), subjects.MESH), id="a marker"),
        pytest.param(subjects.live_of(key()).replace("*", "mesh"), id="a live event"),
        subjects.node_inbox(NODE, "stop"),
        subjects.status(NODE),
        "$JS.API.INFO",
        "$JS.API.CONSUMER.MSG.NEXT.TASKS.dispatch-standard",
    ],
)
async def test_a_user_may_not_say(user: Client, subject: str) -> None:
    assert not await user.may_publish(subject)


@pytest.mark.parametrize(
    "subject",
    [">", "live.>", "live.*.stranger.>", "live.*.*.>", "results.>", "tasks.>", "node.>", "_INBOX.>", "_INBOX.svc.>"],
)
async def test_a_user_may_not_hear(user: Client, subject: str) -> None:
    assert not await user.may_subscribe(subject)


async def test_claims_and_facts_are_apart(server: EmbeddedServer) -> None:
    edge = await Client.connect(server, server.credentials.edge_service)
    core = await Client.connect(server, server.credentials.core_service)
    crossed = await core.nats.subscribe(">")
    await core.nats.flush()
    await edge.nats.publish("ended.x", b"a claim")
    await edge.nats.flush()
    await core.nats.publish("marker", b"")
    assert (await crossed.next_msg(timeout=30)).subject == "marker"
    await edge.nats.close()
    await core.nats.close()


async def test_the_system_user_hears_who_connects_and_disconnects(server: EmbeddedServer) -> None:
    system = await Client.connect(server, server.credentials.system)
    events = await system.nats.subscribe("$SYS.ACCOUNT.EDGE.DISCONNECT")
    await system.nats.flush()
    gone = await Client.connect(server, server.credentials.user)
    await gone.nats.close()
    told = json.loads((await events.next_msg(timeout=30)).data)
    assert told["client"]["user"] == server.credentials.user.public_key
    await system.nats.close()


@pytest.mark.parametrize(("durability", "interval_s"), [("power", 0), ("process", 120)])
async def test_the_operator_chooses_what_is_survived(tmp_path: Path, durability: str, interval_s: int) -> None:
    settings = MeshSettings(data_dir=tmp_path, nats="127.0.0.1:0", durability=durability)  # type: ignore[arg-type]  # parametrized
    async with EmbeddedServer(settings.broker) as server:
        body = await asyncio.to_thread(lambda: urlopen(f"{server.monitor.http_url}/varz").read())
    config = json.loads(body)["jetstream"]["config"]
    assert config.get("sync_always", False) is (durability == "power")
    assert config.get("sync_interval", 0) // 10**9 == (interval_s or config.get("sync_interval", 0) // 10**9)


async def test_limits_stay_below_the_disk_and_leave_room_for_facts(server: EmbeddedServer) -> None:
    def limit(info: AccountInfo) -> int:
        return info.limits.max_storage

    edge = await Client.connect(server, server.credentials.edge_service)
    core = await Client.connect(server, server.credentials.core_service)
    limits = [limit(await one.nats.jetstream().account_info()) for one in (edge, core)]
    await edge.nats.close()
    await core.nats.close()
    assert sum(limits) <= 0.6 * shutil.disk_usage(server.credentials.user.seed_path).free
    assert limits[0] > limits[1] > 0


async def test_monitoring_is_on_loopback(server: EmbeddedServer) -> None:
    assert server.monitor.host == "127.0.0.1"
    body = await asyncio.to_thread(lambda: urlopen(f"{server.monitor.http_url}/varz").read())
    listening = json.loads(body)
    assert listening["http_host"] == "127.0.0.1"
    assert "websocket" not in listening or not listening["websocket"].get("port")
    assert not listening.get("mqtt", {}).get("port")
    assert not listening.get("leaf", {}).get("port")


def test_a_posix_shell_sources_nats_env_and_the_server_accepts_nats_conf(tmp_path: Path) -> None:
    folder = tmp_path / "a 'quoted' \"folder\" $HOME"
    options = BrokerOptions(data_dir=folder)
    env_file = write_env_file(options, broker_variables(options, Credentials.load_or_create(folder)))
    script = 'set -a; . "$1"; set +a; exec "$2" -t -c "$3"'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", env_file, find_binary(), find_conf()], capture_output=True, text=True, env={}
    )
    assert done.returncode == 0, done.stderr
    assert "is valid" in done.stderr


def test_there_is_no_secret_in_what_an_operator_may_show(tmp_path: Path) -> None:
    options = BrokerOptions(data_dir=tmp_path)
    credentials = Credentials.load_or_create(tmp_path)
    shown = write_env_file(options, broker_variables(options, credentials)).read_text() + find_conf().read_text()
    for one in (*credentials.all(), credentials.issuer, credentials.sealed):
        assert one.public_key in shown
        assert one.seed_path.read_text().strip() not in shown
