"""A hub and a site as two real brokers with the shipped configuration, and what each holds."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from mesh.broker.cluster import free_ports
from mesh.broker.credentials import Credentials
from mesh.broker.files import BrokerOptions, broker_variables, conf_for, secret_variables
from mesh.broker.monitoring import leaf_links
from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.bus.provision import provision
from mesh.bus.service_bus import Bus, BusOptions
from mesh.config.address import Address, parse_address
from mesh.config.settings import MeshSettings
from mesh.errors import BusError
from mesh.history.stream_facts import Recorded, message_range, stream_facts
from mesh.identity.callout import Callout
from mesh.identity.nats_jwt import Admission, CalloutKeys, Question
from mesh.sites.admission import SiteLinks
from mesh.sites.plan import broker_options, copies_of, streams_here
from mesh.sites.records import add_site, join_hub, site_records
from mesh.sites.settings import SiteSettings
from mesh.sites.standing import CopyStanding, standing
from streams import subjects
from streams.consumers import consumer_specs
from streams.sites import subject_at_home
from streams.subjects import TaskKey
from streams.tasks.task_id import new_task_id
from streams.tokens import Token
from streams.topology import Account
from tests.nats_server import NatsServer
from tests.processes import PATIENCE_S

LOOPBACK = "127.0.0.1"
LINKS_PER_SITE = 2
Files = Mapping[str, Path]
NO_FILES: Files = {}
HOMES: dict[str, tuple[str, ...]] = {
    "TASKS": ("TASKS",),
    "RESULTS": ("RESULTS_0", "RESULTS_1", "RESULTS_2", "RESULTS_3"),
    "ENDED": ("ENDED",),
    "DEAD": ("DEAD",),
}
ACCOUNTS: dict[str, Account] = {"TASKS": "EDGE", "RESULTS": "EDGE", "ENDED": "CORE", "DEAD": "CORE"}


class LinksOnly:
    """A gatekeeper of a hub to which nobody but sites connects. It needs no stream."""

    def __init__(self, data_dir: Path) -> None:
        self._links = SiteLinks(data_dir)

    async def decide(self, question: Question) -> Admission:
        """Return the rights of a link."""
        return self._links.admit(question)

    def claims_to_be_admitted(self, _: Question) -> bool:
        """Nobody waits."""
        return True


@dataclass(kw_only=True)
class Broker:
    """One broker of a mesh, as `ig3 broker` would run it."""

    mesh: MeshSettings
    options: BrokerOptions
    server: NatsServer

    @classmethod
    def of(cls, folder: Path, site: SiteSettings) -> "Broker":
        """Prepare a broker in a data folder; what belongs to its sites must be there already."""
        mesh = MeshSettings(data_dir=folder, nats=f"{LOOPBACK}:0")
        options = broker_options(mesh, site)
        variables = broker_variables(options, Credentials.load_or_create(folder)) | secret_variables(options)
        server = NatsServer(folder / "server", "-c", str(conf_for(options)), environment=variables, store=False)
        return cls(mesh=mesh, options=options, server=server)

    @contextmanager
    def as_hub(self) -> Iterator[None]:
        """Run it, and decide about links as an identity service does, in a thread: tests have loops of their own."""
        with self.server, ThreadPoolExecutor(1) as thread:
            begun, over = threading.Event(), threading.Event()
            deciding = thread.submit(asyncio.run, self._decide(begun, over))
            try:
                assert begun.wait(PATIENCE_S)
                yield
            finally:
                over.set()
                deciding.result()

    async def _decide(self, begun: threading.Event, over: threading.Event) -> None:
        credentials = Credentials.load(self.mesh.data_dir)
        options = LinkOptions(
            servers=(self.server.url,),
            name="identity",
            inbox_prefix="_INBOX.svc.identity",
            seed_file=credentials.identity.seed_path,
        )
        link = await Link.connect(options)
        keys = CalloutKeys(credentials.issuer, credentials.sealed)
        callout = Callout(link, keys, LinksOnly(self.mesh.data_dir))  # type: ignore[arg-type]  # decides as a gatekeeper does
        await callout.start()
        await link.client.flush()
        begun.set()
        await asyncio.to_thread(over.wait)
        await callout.stop()
        await link.close()

    async def bus(self, name: str = "test") -> Bus:
        """Connect as our own services do."""
        credentials = Credentials.load(self.mesh.data_dir)
        return await Bus.connect(
            BusOptions(
                servers=(self.server.url,),
                name=name,
                edge_seed=credentials.edge_service.seed_path,
                core_seed=credentials.core_service.seed_path,
            )
        )

    async def provision(self) -> None:
        """Make all streams and consumers."""
        async with await self.bus("provision") as bus:
            await provision(bus.links, streams_here(self.mesh), consumer_specs())


@dataclass(kw_only=True)
class Pair:
    """A hub, a site, and the addresses between them: a line must run from `line` to `door`."""

    hub: Broker
    site: Broker
    name: Token
    line: Address
    door: Address


def make_pair(
    folder: Path, name: str = "berlin", *, by_line: bool = True, at_hub: Files = NO_FILES, at_site: Files = NO_FILES
) -> Pair:
    """Prepare a hub and a site that has joined it, by a line of the test's or directly; neither runs yet."""
    door, other = (Address(LOOPBACK, port) for port in free_ports(LOOPBACK, 2))
    line = other if by_line else door
    join_file = folder / f"{name}.join"
    record = add_site(folder / "hub", name, results_streams=4, join_file=join_file)
    join_hub(folder / "site", join_file)
    return Pair(
        hub=Broker.of(folder / "hub", replace(SiteSettings(leaf_listen=str(door)), **at_hub)),
        site=Broker.of(folder / "site", replace(SiteSettings(leaf=str(line)), **at_site)),
        name=record.site,
        line=line,
        door=door,
    )


async def link_count(pair: Pair) -> int:
    """How many links the hub holds, as soon as it says so."""
    monitor = parse_address(pair.hub.server.monitoring_url.removeprefix("http://"))
    counts: list[int] = []

    async def told() -> bool:
        counts.append(len(await leaf_links(monitor)))
        return True

    await eventually(told)
    return counts[-1]


async def linked_up(pair: Pair) -> None:
    """Wait until both links are there."""

    async def both() -> bool:
        return await link_count(pair) == LINKS_PER_SITE

    await eventually(both)


def new_key(account: str = "local") -> TaskKey:
    """A task of its own."""
    return TaskKey(Token(account), new_task_id())


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a question to a server is answered by yes; one that gets no answer is asked again."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(BusError, OSError):
            if await condition():
                return
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.02)


async def look(pair: Pair, hub: Bus) -> list[CopyStanding]:
    """How far the hub has got, as `ig3 sites list` tells it."""
    mesh = pair.hub.mesh
    copies = [spec for record in site_records(mesh.data_dir) for spec in copies_of(mesh, record)]
    return await standing(hub.links, copies)


async def heard(pair: Pair, hub: Bus) -> None:
    """Wait until the hub hears all streams of the site and is behind with none."""

    async def all_of_them() -> bool:
        return all(copy.is_linked and copy.behind == 0 for copy in await look(pair, hub))

    await eventually(all_of_them)


async def live_a_life(bus: Bus, key: TaskKey, chunks: int) -> None:
    """Store what a task leaves behind, in order."""
    await bus.edge.append(subjects.submitted("standard", key), b"asked")
    for n in range(chunks):
        await bus.edge.append(subjects.result(key, Token("n1")), b"%d" % n)
    await bus.core.append(subjects.ended(key), b"ended")
    await bus.edge.append(subjects.result(key, subjects.MESH), b"closed")


async def held(bus: Bus, account: Account, stream: str) -> list[Recorded]:
    """All messages of a stream."""
    link = bus.links[account]
    last = (await stream_facts(link, stream)).last_sequence
    found: list[Recorded] = []
    while (found[-1].sequence if found else 0) < last:
        found += await message_range(link, stream, found[-1].sequence + 1 if found else 1, 500)
    return found


def content(events: list[Recorded]) -> list[tuple[str, bytes]]:
    """What events are about, wherever they are stored."""
    return [(subject_at_home(event.subject), event.data) for event in events]


async def wait_for_copies(hub: Bus, site: Bus, name: str) -> None:
    """Wait until the hub holds as many events of the site as the site does."""

    async def count(bus: Bus, account: Account, streams: tuple[str, ...]) -> int:
        return sum([(await stream_facts(bus.links[account], stream)).messages for stream in streams])

    for family, origins in HOMES.items():
        account = ACCOUNTS[family]

        async def caught_up(family: str = family, origins: tuple[str, ...] = origins, at: Account = account) -> bool:
            return await count(hub, at, (f"SITE_{name}_{family}",)) >= await count(site, at, origins)

        await eventually(caught_up)


async def assert_same(hub: Bus, site: Bus, name: str) -> int:
    """Every event of the site is at the hub once, and those of each of its streams in their order; returns how many."""
    total = 0
    for family, origins in HOMES.items():
        copies = content(await held(hub, ACCOUNTS[family], f"SITE_{name}_{family}"))
        for origin in origins:
            there = content(await held(site, ACCOUNTS[family], origin))
            wanted_here = set(there)
            assert [copy for copy in copies if copy in wanted_here] == there, f"{origin} differs at the hub"
            total += len(there)
        assert len(copies) == len(set(copies)) == sum([len(await held(site, ACCOUNTS[family], o)) for o in origins])
    return total
