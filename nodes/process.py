"""A node from its start to its end: connect, load, serve, drain."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.commands.passphrases import open_key
from mesh.errors import BusRefused, BusUndecided, CredentialsError
from mesh.identity.chunk_proof import sign_chunks
from mesh.identity.device_login import DeviceLogin
from mesh.identity.key_file import device_key
from mesh.processes.process import unless
from mesh.processes.readiness import announce_progress, announce_ready
from mesh.telemetry.opening import open_telemetry
from nodes.attempts.worker import Worker
from nodes.engines import every_model
from nodes.engines.embedding import is_minilm_installed
from nodes.errors import EngineUnavailable
from nodes.models.cache import MODELS_FOLDER, ModelCache
from nodes.models.loaded import LoadedModels
from nodes.models.orders import ModelOrders
from nodes.models.pull import ModelPuller
from nodes.models.serving import Serving, announce_changes
from nodes.node_id import node_id
from nodes.pauses import jittered_s
from nodes.presence.announce import Announcer
from nodes.presence.hints import HintReader
from nodes.presence.probe_answers import ProbeAnswers
from nodes.presence.status import StatusReporter, new_process_name
from nodes.settings import AUTO
from nodes.shards.link_self import link_self
from nodes.shards.role import ShardRole, ShardSite
from nodes.shards.settings import ShardSettings
from streams import subjects

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mesh.config.settings import MeshSettings
    from nodes.embedding import EmbeddingSpec
    from nodes.engine import Loading
    from nodes.settings import NodeSettings
    from streams.devices.replica import Replica
    from streams.tokens import Token

log = logging.getLogger(__name__)

_LONGEST_WAIT_S: Final = 15
"""Between two tries of a device that is not admitted."""

_STEPS: Final = {
    "fetching": "fetching the model from the store",
    "reading": "reading the model",
    "loading": "loading the model",
    "measuring": "measuring the model",
    "ready": "announcing",
}


class NodeProcess:
    """One node. ``run`` serves until it is asked to stop."""

    def __init__(
        self,
        settings: NodeSettings,
        mesh: MeshSettings,
        on_fraction: Callable[[float], None],
        shards: ShardSettings | None = None,
    ) -> None:
        """Prepare; ``on_fraction`` is told how much of the model is loaded, 0 to 1.

        Raises:
            UnusableNodeId: if the node can have no id.
            CredentialsError: if this device's key, or its credential, cannot be read or made.
        """
        self._settings = settings
        self._shards = shards or ShardSettings()
        self._on_fraction = on_fraction
        self._data_dir = mesh.data_dir
        self.node: Token = node_id(settings.id, mesh.data_dir, instance=settings.instance)
        self._telemetry = open_telemetry("ig3-node", otlp_endpoint=mesh.otlp_endpoint)
        self._options = LinkOptions(
            servers=mesh.nats_urls,
            tls=mesh.nats_tls,
            name=subjects.node_connection(self.node),
            inbox_prefix=subjects.node_inbox_prefix(self.node),
            login=self._login(settings, mesh),
        )

    def _login(self, settings: NodeSettings, mesh: MeshSettings) -> DeviceLogin:
        given = settings.device_key
        if given is None:
            own = device_key(mesh.data_dir, self.node)
        else:
            own = open_key(given, settings.device_passphrase_file)
        self._did = own.did
        self._sign = partial(sign_chunks, own.did, own.key)
        self._link_self = partial(link_self, self.node, own.did, own.key)
        credential = None if settings.device_credential is None else read_credential(settings.device_credential)
        return DeviceLogin(own.did, own.key, self.node, credential=credential)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set, then let running answers finish for as long as the settings say.

        Raises:
            BusUnavailable: if the broker cannot be reached at the start.
            EngineError: if a model cannot be loaded.
            NodeIdTaken: if another process serves under this node's id.
        """
        async with AsyncExitStack() as stack:
            stack.callback(self._telemetry.close)
            announce_progress("connecting")
            link = await unless(stop, self._connect())
            if link is None:
                return
            stack.push_async_callback(link.close)
            cache = ModelCache(self._data_dir / MODELS_FOLDER, self._settings.model_disk)
            models = LoadedModels(
                ModelPuller(link, self.node, cache), region=self._settings.region, site=self._settings.site
            )
            stack.push_async_callback(models.stop)
            if await unless(stop, self._load(models)):
                await self._serve(link, models, stop)

    async def _load(self, models: LoadedModels) -> bool:
        specs = tuple(each for spec in self._settings.engine_specs for each in every_model(spec))
        embedding = self._embedding_specs()
        count = len(specs) + len(embedding)
        for number, spec in enumerate(specs):
            await models.load(spec, partial(self._on_loading, number, count))
        for number, spec in enumerate(embedding, start=len(specs)):
            await models.load_embedding(spec, partial(self._on_loading, number, count))
        if not count:
            self._on_fraction(1.0)
        return True

    def _embedding_specs(self) -> tuple[EmbeddingSpec, ...]:
        """Those of the settings; ``auto`` is the small one, if it is here."""
        if self._settings.embedding_model != (AUTO,):
            return self._settings.embedding_specs
        wanted = self._settings.engine != "synthetic" and is_minilm_installed()
        return (self._settings.embedding_spec(),) if wanted else ()

    async def _connect(self) -> Link:
        """Connect; a device that nobody has admitted yet waits for that."""
        tries = 0
        while True:
            try:
                return await Link.connect(self._options)
            except BusUndecided as error:
                log.warning("%s; trying again", error)
            except BusRefused as error:
                tries += 1
                if tries == 1:
                    announce_progress("waiting to be admitted")
                    log.warning("%s. This device is %s; its operator lets it in by: %s", error, self._did, self._remedy)
                await asyncio.sleep(jittered_s(min(tries, _LONGEST_WAIT_S)))

    @property
    def _remedy(self) -> str:
        return f"ig3 devices admit {self.node} --did {self._did}"

    async def _serve(self, link: Link, models: LoadedModels, stop: asyncio.Event) -> None:
        worker = Worker(link, self.node, models.served, self._telemetry, sign=self._sign)
        process = new_process_name()
        announcer = Announcer(link, self.node, worker.replicas, process=process)
        await worker.listen(begins=False)
        await ProbeAnswers(link, self.node, worker).listen()
        serving = Serving(models, worker, announcer, self._settings.drain)
        shards = ShardRole(ShardSite(link, self.node, self._link_self, worker, serving), self._shards)
        reporter = StatusReporter(
            link, self.node, worker, self._settings.heartbeat, process=process, lends=lambda: shards.lends_bytes
        )
        reporter.hints = HintReader(metered=self._settings.metered)
        orders = ModelOrders(link, self.node, serving, worker, self._settings, reporter.changed)
        reporter.room = orders.room
        await orders.listen()
        await announcer.listen()
        ready = asyncio.create_task(self._enter(announcer, worker, reporter, shards))
        changes = asyncio.create_task(announce_changes(worker, announcer), name="announce-changes")
        try:
            broken = await unless(stop, _until_broken(announcer, worker))
            drain = timedelta(0) if broken else self._settings.drain
            log.info("stopping; running answers have %s", drain)
            await worker.drain(drain)
            await announcer.withdraw()
            await shards.stop()
        finally:
            ready.cancel()
            changes.cancel()
            await orders.stop()
            reporter.stop()
        if broken:
            raise EngineUnavailable(broken)

    async def _enter(self, announcer: Announcer, worker: Worker, reporter: StatusReporter, shards: ShardRole) -> None:
        """Take work once the registry knows us: before that another process may have it, under the same id."""
        await announcer.accepted()
        worker.begin()
        await reporter.start()
        await shards.start(self._settings.engine_spec, reporter.changed)
        replicas = worker.replicas
        models = tuple(replica.model for replica in replicas if replica.kind == "chat")
        served = "; ".join(map(_in_words, replicas)) or "no model of its own"
        announce_ready(f"as {self.node}: {served}", models=models)

    def _on_loading(self, before: int, models: int, loading: Loading) -> None:
        fraction = (before + loading.fraction) / models
        follows = loading.stage == "ready" and before + 1 < models
        announce_progress(_STEPS["reading" if follows else loading.stage], fraction)
        self._on_fraction(fraction)


def _in_words(replica: Replica) -> str:
    if replica.kind == "embedding":
        return f"{replica.model} on {replica.engine}: vectors of {replica.dimensions} numbers"
    speed = f", {replica.tokens_per_s:.0f} tokens/s" if replica.tokens_per_s else ""
    slots = f"{replica.slots} at once, {replica.context_tokens} tokens of context"
    return f"{replica.model} on {replica.engine}: {slots}{speed}"


def read_credential(path: Path) -> str:
    """Read an issuer's word for this device.

    Raises:
        CredentialsError: if it cannot be read.
    """
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialsError(f"cannot read the credential {path}: {error}") from error


async def _until_broken(announcer: Announcer, worker: Worker) -> str | None:
    """Keep the node announced until an engine of its is broken; returns why it is."""
    announcing = asyncio.create_task(announcer.run(), name="announce")
    failing = asyncio.create_task(worker.broken(), name="broken")
    try:
        await asyncio.wait((announcing, failing), return_when=asyncio.FIRST_COMPLETED)
        return failing.result() if failing.done() else announcing.result()
    finally:
        announcing.cancel()
        failing.cancel()
        await asyncio.wait((announcing, failing))
