"""A whole mesh in one test process: the real broker with the shipped rights, real services, real workers."""

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Self

from gateway.dispatcher.entrance import Entrance
from gateway.dispatcher.holds import Holds
from gateway.dispatcher.service import Dispatcher
from gateway.dispatcher.settings import DispatcherSettings
from gateway.groups.registry import GroupRegistry
from gateway.limits.open_limiter import open_limiter
from gateway.limits.reads import Reads
from gateway.roster.feed import RosterFeed
from gateway.roster.registry import Registry
from gateway.settings import GatewaySettings
from gateway.user_api import UserApi
from mesh.access.feed import AccessFeed
from mesh.access.session_keys import SessionKeys
from mesh.broker.files import BrokerOptions
from mesh.broker.server import EmbeddedServer
from mesh.bus.answer import Step, follow
from mesh.bus.departures import Departures
from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.bus.provision import provision
from mesh.bus.service_bus import Bus, BusOptions
from mesh.config.address import Address
from mesh.identity.chunk_proof import sign_chunks
from mesh.telemetry.telemetry import Telemetry
from nodes.attempts.worker import Worker
from nodes.embedding import AnyEngine
from nodes.engine import EngineSpec, SyntheticKind
from nodes.engines import open_engine
from nodes.models.loaded import Served
from nodes.presence.announce import Announcer
from nodes.presence.probe_answers import ProbeAnswers
from nodes.presence.status import StatusReporter
from streams import subjects
from streams.codec import encode
from streams.consumers import consumer_name, consumer_specs
from streams.devices.probe import Probed
from streams.events import CheckOf, TaskChunk, TaskSubmitted
from streams.subjects import ServiceClass, TaskKey
from streams.tasks.answer_parts import ToolCallPiece
from streams.tasks.chat import Message, Sampling
from streams.tasks.placing import Rules
from streams.tasks.task_id import new_task_id
from streams.tasks.tools import Tools
from streams.tokens import Token, token
from streams.topology import TASKS, stream_specs
from tests.identity_in_process import connect_device, device_did, device_key, identity_service
from tests.paced_engine import Pace, PacedEngine

LIMIT_S = 30.0
_STANDS_STILL_MS = 10_000
"""A node of such a delay does nothing more: it lies when it is asked whether it works."""


@dataclass(kw_only=True)
class RunningNode:
    """One worker with a synthetic engine, connected with the rights of a node."""

    name: Token
    link: Link
    worker: Worker
    status: StatusReporter
    stack: AsyncExitStack

    async def vanish(self) -> None:
        """Leave without a word, as by a power cut."""
        await self.stack.aclose()


@dataclass(kw_only=True)
class RunningDispatcher:
    """One dispatcher with its registry, on a bus of its own."""

    bus: Bus
    feed: RosterFeed
    access: AccessFeed
    registry: Registry
    groups: GroupRegistry
    departures: Departures
    dispatcher: Dispatcher

    async def stop(self) -> None:
        """Stop in good order."""
        await self.dispatcher.stop()
        await self.groups.stop()
        await self.registry.stop()
        await self.access.stop()
        await self.feed.stop()
        await self.departures.close()
        await self.bus.close()

    async def vanish(self) -> None:
        """Cut the bus first, so that nothing is handed back."""
        await self.departures.close()
        await self.bus.close()


@dataclass(kw_only=True)
class InProcessMesh:
    """Start with ``async with InProcessMesh(folder=tmp_path)``; then add dispatchers and nodes."""

    folder: Path
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    identity: AsyncExitStack = field(default_factory=AsyncExitStack)
    telemetry: Telemetry = field(default_factory=Telemetry.off)
    dispatchers: list[RunningDispatcher] = field(default_factory=list["RunningDispatcher"])
    pace: Pace = field(default_factory=Pace)
    """How far the answers of all synthetic engines get."""

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            # What it leaves open would be held against whichever test is next.
            await self.stack.aclose()
            raise
        return self

    async def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        options = BrokerOptions(data_dir=self.folder, listen=Address("127.0.0.1", 0), durability="process")
        self.server = await self.stack.enter_async_context(EmbeddedServer(options))
        self.bus = await self.new_bus("test")
        await provision(self.bus.links, stream_specs(), consumer_specs())
        await self.start_identity()
        self.stack.push_async_callback(self.stop_identity)
        await self.bus.follow()
        self.user_api = UserApi(self.bus)
        await self.user_api.start()
        self.stack.push_async_callback(self.user_api.stop)

    async def __aexit__(self, *_: object) -> None:
        await self.stack.aclose()

    async def start_identity(self) -> None:
        """Have somebody decide who may connect."""
        await self.identity.enter_async_context(identity_service(self.server))

    async def stop_identity(self) -> None:
        """Have nobody decide, until `start_identity`."""
        await self.identity.aclose()

    async def new_bus(self, name: str) -> Bus:
        """Connect as a service."""
        bus = await Bus.connect(
            BusOptions(
                servers=(self.server.url,),
                name=name,
                edge_seed=self.server.credentials.edge_service.seed_path,
                core_seed=self.server.credentials.core_service.seed_path,
            )
        )
        self.stack.push_async_callback(bus.close)
        return bus

    async def connect_user(self, account: str = "local") -> Link:
        """Connect with the rights of a user."""
        link = await Link.connect(
            LinkOptions(
                servers=(self.server.url,),
                name="user",
                inbox_prefix=subjects.user_inbox_prefix(token(account)),
                seed_file=self.server.credentials.user.seed_path,
            )
        )
        self.stack.push_async_callback(link.close)
        return link

    async def _departures(self, name: str) -> Departures:
        departures = await Departures.connect(
            LinkOptions(
                servers=(self.server.url,),
                name=f"service:{name}",
                inbox_prefix=f"_INBOX.svc.{name}",
                seed_file=self.server.credentials.system.seed_path,
            )
        )
        self.stack.push_async_callback(departures.close)
        return departures

    async def add_dispatcher(
        self, name: str = "d1", *, gateway: GatewaySettings | None = None, **settings: object
    ) -> RunningDispatcher:
        """Start a dispatcher with a registry; ``gateway`` says what is limited for tasks that come by themselves."""
        bus = await self.new_bus(name)
        feed = RosterFeed(bus)
        await feed.start()
        departures = await self._departures(name)
        registry = Registry(bus, feed, departures)
        await registry.start()
        groups = GroupRegistry(bus, feed)
        await groups.start()
        chosen = {"known_models": ("synthetic", "promised"), **settings}
        limits, access = gateway or GatewaySettings(), AccessFeed(bus.core)
        await access.start()
        sessions = SessionKeys.load_or_create(self.folder)
        dispatching = DispatcherSettings(**chosen)
        holds = Holds(bus.core, feed, dispatching.alias_table, patience=dispatching.ledger_patience)
        limiter, bounds = open_limiter(bus.core, limits), limits.bound_rules
        reads = Reads(limits.reads_per_minute, limits.read_limits)
        entrance = Entrance(
            access, limiter, sessions, holds, answer_tokens=limits.answer_tokens, bounds=bounds, reads=reads
        )
        dispatcher = Dispatcher(
            bus,
            feed,
            dispatching,
            entrance=entrance,
            retention=timedelta(days=1),
            telemetry=self.telemetry,
        )
        await dispatcher.start()
        running = RunningDispatcher(
            bus=bus,
            feed=feed,
            access=access,
            registry=registry,
            groups=groups,
            departures=departures,
            dispatcher=dispatcher,
        )
        self.stack.push_async_callback(running.stop)
        self.dispatchers.append(running)
        return running

    async def add_node(
        self,
        name: str = "n1",
        *,
        slots: int = 4,
        delay_ms: float = 0,
        interval_s: float = 1.8,
        synthetic: SyntheticKind = "continues",
        spec: EngineSpec | None = None,
        engine: AnyEngine | None = None,
    ) -> RunningNode:
        """Start a node and wait until the registry has accepted it."""
        node = token(name)
        stack = AsyncExitStack()
        self.stack.push_async_callback(stack.aclose)
        usual = EngineSpec(engine="synthetic", slots=slots, token_delay_ms=delay_ms, synthetic=synthetic)
        engine = engine or (PacedEngine(usual, self.pace) if spec is None else open_engine(spec))
        replica = await engine.start()
        stack.push_async_callback(engine.stop)
        link = await connect_device(self.server, node)
        sign = partial(sign_chunks, device_did(name), device_key(name))
        worker = Worker(link, node, [Served(engine, replica)], self.telemetry, sign=sign)
        status = StatusReporter(link, node, worker, timedelta(seconds=interval_s))
        await worker.listen()
        if delay_ms < _STANDS_STILL_MS:
            await ProbeAnswers(link, node, worker).listen()
        else:
            works = encode(Probed(works=True))
            await link.listen(subjects.node_inbox(node, "probe"), lambda asked: link.reply_to(asked, works))
        announcer = Announcer(link, node, worker.replicas)
        await announcer.listen()
        running = asyncio.create_task(announcer.run())
        stack.callback(running.cancel)
        stack.push_async_callback(link.close)
        await status.start()
        stack.callback(status.stop)
        async with asyncio.timeout(LIMIT_S):
            await announcer.accepted()
        return RunningNode(name=node, link=link, worker=worker, status=status, stack=stack)

    def key(self, account: str = "local") -> TaskKey:
        """Name a new task."""
        return TaskKey(token(account), new_task_id())

    async def submit(
        self,
        key: TaskKey | None = None,
        *,
        model: str = "synthetic",
        tokens: int = 10,
        service_class: ServiceClass = "standard",
        deadline_at_ms: int | None = None,
        text: str = "hello",
        raw: bool = False,
        temperature: float | None = None,
        check_of: CheckOf | None = None,
        rules: Rules | None = None,
        tools: Tools | None = None,
    ) -> TaskKey:
        """Ask for an answer of ``tokens`` tokens; ``raw``: behind the text as it stands."""
        key = key or self.key()
        asked = TaskSubmitted(
            model=model,
            messages=() if raw else (Message(role="user", content=text),),
            prompt=text if raw else "",
            sampling=Sampling(max_tokens=tokens, temperature=temperature),
            deadline_at_ms=deadline_at_ms,
            check_of=check_of,
            rules=rules,
            tools=tools,
        )
        subject = subjects.submitted(service_class, key)
        await self.bus.edge.append(subject, encode(asked), timeout=timedelta(seconds=LIMIT_S))
        return key

    async def all_acknowledged(self, service_class: ServiceClass) -> None:
        """Wait until no message of a class is handed out and not settled."""
        subject = f"$JS.API.CONSUMER.INFO.{TASKS}.{consumer_name(service_class)}"
        async with asyncio.timeout(LIMIT_S):
            while True:
                answer = await self.bus.edge.request(subject, b"", timeout=timedelta(seconds=LIMIT_S))
                info = json.loads(answer.data)
                if info["num_ack_pending"] == 0 and info["num_pending"] == 0:
                    return
                await asyncio.sleep(0.05)

    async def reached(self, key: TaskKey, n: int) -> None:
        """Wait until a task has come to counter ``n``."""
        async with asyncio.timeout(LIMIT_S):
            async for steps in follow(self.bus.source, key):
                if steps[-1].state.n >= n:
                    return

    async def written(self, key: TaskKey, tokens: int) -> None:
        """Wait until so many tokens of a task are stored, in however many chunks."""
        async with asyncio.timeout(LIMIT_S):
            async for steps in follow(self.bus.source, key):
                if steps[-1].state.tokens >= tokens:
                    return

    async def steps(self, key: TaskKey) -> list[Step]:
        """Follow a task to its end and return every valid event."""
        async with asyncio.timeout(LIMIT_S):
            return [step async for steps in follow(self.bus.source, key) for step in steps]


def text_of(steps: list[Step]) -> str:
    """The answer that a reader has seen."""
    return "".join(step.event.text for step in steps if isinstance(step.event, TaskChunk))


def call_pieces_of(steps: list[Step]) -> list[ToolCallPiece]:
    """What a reader has seen of the answer's calls."""
    return [call for step in steps if isinstance(step.event, TaskChunk) for call in step.event.tool_calls]
