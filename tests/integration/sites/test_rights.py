"""What a link lets through: copies of the site's events and nothing else, also if the site's broker wants more."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from mesh.broker.cluster import free_ports
from mesh.broker.credentials import Credentials
from mesh.broker.monitoring import leaf_links, links_of
from mesh.broker.server import EmbeddedServer
from mesh.bus.provision import provision
from mesh.bus.service_bus import Bus, BusOptions
from mesh.config.address import Address
from mesh.config.settings import MeshSettings
from mesh.history.stream_facts import stream_names
from mesh.sites.plan import broker_options, streams_here
from mesh.sites.records import add_site, join_hub, remove_site
from mesh.sites.settings import SiteSettings
from mesh.sites.watch import follow_sites
from streams import subjects
from streams.sites import MESH_SUBJECTS, domain_of
from streams.tokens import Token
from tests.identity_in_process import identity_service
from tests.integration.sites.linked import (
    LINKS_PER_SITE,
    LOOPBACK,
    Broker,
    Pair,
    content,
    eventually,
    held,
    link_count,
    linked_up,
    live_a_life,
    make_pair,
    new_key,
    wait_for_copies,
)
from tests.nats_server import NatsServer

pytestmark = pytest.mark.timeout(180)
NODE = Token("n1")
NOBODY_LISTENS = "503"


class Linked(NamedTuple):
    """Both brokers run and are linked; the site's broker does not hold back what the hub must refuse."""

    pair: Pair
    hub: Bus
    site: Bus


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    made = make_pair(tmp_path_factory.mktemp("rights"), by_line=False)
    disarm(made.site.mesh.data_dir / "nats.conf")
    with made.hub.as_hub(), made.site.server:
        asyncio.run(begin(made))
        yield made


async def begin(pair: Pair) -> None:
    await pair.site.provision()
    await linked_up(pair)
    await pair.hub.provision()


def disarm(conf: Path) -> None:
    """Take the site's own denials out of its configuration, as a hostile operator would."""
    text, removed = re.subn(r"deny_(imports|exports): \[.*\]", "", conf.read_text())
    assert removed == 4
    conf.write_text(text)


@pytest.fixture
async def linked(pair: Pair) -> AsyncIterator[Linked]:
    async with await pair.hub.bus() as hub, await pair.site.bus() as site:
        await live_a_life(site, new_key(), chunks=1)
        await wait_for_copies(hub, site, pair.name)
        yield Linked(pair, hub, site)


def of_the_mesh(key: subjects.TaskKey) -> list[str]:
    """A subject of each kind that a mesh uses within itself."""
    return [
        *(subjects.submitted("batch", key), subjects.result(key, NODE), subjects.live_of(key).replace("*", "n1")),
        *(subjects.ended(key), subjects.settled(key), subjects.status(NODE), subjects.node_inbox(NODE, "assign")),
        *(subjects.node_api(NODE, "announce"), subjects.user_api(key.account, "cancel"), f"site.x.{NODE}"),
        *("_INBOX.svc.x.1", "_INBOX.user.local.1", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.DELETE.TASKS", "anything"),
        *(
            f"models.{NODE}.m",
            subjects.device(NODE, "lost"),
            "billing.local",
            "sync.other.TASKS",
            "$JS.FC.MODELS.x.1",
        ),
    ]


async def raw(broker: Broker, account: str) -> Nats:
    """A client with all the rights that a service has in an account."""
    credentials = Credentials.load(broker.mesh.data_dir)
    who = credentials.edge_service if account == "EDGE" else credentials.core_service
    client = Nats()
    await client.connect(broker.server.url, nkeys_seed=str(who.seed_path))
    return client


async def there_and_back(hub: Nats, name: str) -> None:
    """Have the site answer a question of the hub: what either said before has been handled by then."""
    stream = "TASKS" if await has(hub, f"SITE_{name}_TASKS") else "ENDED"
    answer = await hub.subscribe("$JSC.R.test")
    # The site's broker answers, though with a refusal: nobody but a stream may ask this.
    question = f"$JS.{domain_of(Token(name))}.API.CONSUMER.CREATE.{stream}.x"
    await hub.publish(question, b"{", reply="$JSC.R.test")
    await answer.next_msg(timeout=60)
    await answer.unsubscribe()


async def has(hub: Nats, stream: str) -> bool:
    answer = await hub.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=60)
    return "error" not in json.loads(answer.data)


@pytest.mark.parametrize("account", ["EDGE", "CORE"])
@pytest.mark.parametrize("direction", ["to the site", "to the hub"])
async def test_nothing_of_a_mesh_crosses_a_link(linked: Linked, account: str, direction: str) -> None:
    hub, site = await raw(linked.pair.hub, account), await raw(linked.pair.site, account)
    said, hears = (hub, site) if direction == "to the site" else (site, hub)
    mine = new_key("crossing")
    heard: list[str] = []

    async def hear(message: Msg) -> None:
        heard.append(message.subject)

    for subject in {*MESH_SUBJECTS, "anything", "sync.other.>", "$JS.FC.MODELS.>"}:
        await hears.subscribe(subject, cb=hear)
    await there_and_back(hub, linked.pair.name)
    for subject in of_the_mesh(mine):
        await said.publish(subject, b"strange", reply="strange.reply")
    await there_and_back(hub, linked.pair.name)
    strange = [subject for subject in heard if "crossing" in subject or subject in of_the_mesh(mine)]
    assert strange == []
    await hub.close()
    await site.close()


async def test_a_task_of_the_hub_is_its_own_and_nobody_doubles_it(linked: Linked) -> None:
    ours, theirs = new_key(), new_key()
    await live_a_life(linked.hub, ours, chunks=2)
    await live_a_life(linked.site, theirs, chunks=2)
    await wait_for_copies(linked.hub, linked.site, linked.pair.name)

    async def tasks(bus: Bus, stream: str) -> list[str]:
        return [subject.split(".")[4] for subject, _ in content(await held(bus, "EDGE", stream))]

    found = {stream: await tasks(linked.hub, stream) for stream in ("TASKS", "SITE_berlin_TASKS")}
    assert [found["TASKS"].count(task) for task in (ours.task, theirs.task)] == [1, 0]
    assert [found["SITE_berlin_TASKS"].count(task) for task in (ours.task, theirs.task)] == [0, 1]
    assert ours.task not in await tasks(linked.site, "TASKS")


@pytest.mark.parametrize(
    "call", ["STREAM.NAMES", "STREAM.DELETE.TASKS", "CONSUMER.CREATE.MODELS.x", "STREAM.MSG.GET.TASKS"]
)
async def test_the_hub_cannot_use_the_sites_jetstream(linked: Linked, call: str) -> None:
    hub = await raw(linked.pair.hub, "EDGE")
    answers: list[Msg] = []

    async def take(message: Msg) -> None:
        answers.append(message)

    await hub.subscribe("$JSC.R.mine", cb=take)
    await hub.publish(f"$JS.{domain_of(linked.pair.name)}.API.{call}", b"", reply="$JSC.R.mine")
    await there_and_back(hub, linked.pair.name)
    assert {(answer.headers or {}).get("Status") for answer in answers} == {NOBODY_LISTENS}
    assert "TASKS" in await stream_names(linked.site.edge)
    await hub.close()


@pytest.mark.parametrize("who", ["identity", "user", "edge-service"])
async def test_a_client_of_the_hub_cannot_link_a_broker_of_its_own(tmp_path: Path, pair: Pair, who: str) -> None:
    seed = (pair.hub.mesh.data_dir / "credentials" / f"{who}.nk").read_text().strip()
    conf = tmp_path / "leaf.conf"
    conf.write_text(
        f'leafnodes {{ remotes: [ {{ urls: ["nats-leaf://{pair.door}"], nkey: {seed}, compression: off }} ] }}'
    )
    with NatsServer(tmp_path / "nats", "-c", str(conf)) as server:

        async def refused() -> bool:
            return "Authorization Violation" in server.log.read_text()

        await eventually(refused)
        assert await link_count(pair) == LINKS_PER_SITE


async def test_sites_come_and_go_while_the_hub_runs(tmp_path: Path) -> None:
    (port,) = free_ports(LOOPBACK, 1)
    door = Address(LOOPBACK, port)
    settings = SiteSettings(leaf_listen=str(door))
    mesh = MeshSettings(data_dir=tmp_path / "hub", nats=f"{LOOPBACK}:0")
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(EmbeddedServer(broker_options(mesh, settings)))
        bus = await stack.enter_async_context(await bus_of(server))
        await provision(bus.links, streams_here(mesh), ())
        await stack.enter_async_context(identity_service(server))
        watch = asyncio.create_task(follow_sites(mesh, settings, server, bus))
        sites = {name: new_site(tmp_path, name, door) for name in ("oslo", "rome")}
        for site in sites.values():
            stack.enter_context(site.server)
        for name, site in sites.items():
            await site.provision()
            async with await site.bus() as site_bus:
                await live_a_life(site_bus, new_key(name), chunks=2)
            await eventually(lambda name=name: has_copy(bus, name))
        for name in sites:
            asked = await held(bus, "EDGE", f"SITE_{name}_TASKS")
            assert [event.subject.split(".")[5] for event in asked] == [name]
        staying = [*await links_of(server.monitor, "site:rome:EDGE"), *await links_of(server.monitor, "site:rome:CORE")]
        remove_site(mesh.data_dir, "oslo")

        async def only_rome_is_linked() -> bool:
            return list(await leaf_links(server.monitor)) == sorted(staying)

        await eventually(only_rome_is_linked)
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


def new_site(folder: Path, name: str, door: Address) -> Broker:
    join = folder / f"{name}.join"
    add_site(folder / "hub", name, results_streams=4, join_file=join)
    join_hub(folder / name, join)
    return Broker.of(folder / name, SiteSettings(leaf=str(door)))


async def bus_of(server: EmbeddedServer) -> Bus:
    edge, core = server.credentials.edge_service.seed_path, server.credentials.core_service.seed_path
    return await Bus.connect(BusOptions(servers=(server.url,), name="test", edge_seed=edge, core_seed=core))


async def has_copy(bus: Bus, name: str) -> bool:
    stream = f"SITE_{name}_TASKS"
    return stream in await stream_names(bus.edge) and len(await held(bus, "EDGE", stream)) == 1
