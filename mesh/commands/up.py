"""``ig3 up``: a whole mesh on this machine, every part a process of its own."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Final

import click
from msgspec import structs

from mesh.commands.up_brokers import Brokers, plan_brokers
from mesh.config.options import only, settings_options
from mesh.config.settings import MeshSettings, UpSettings
from mesh.config.sources import CONFIG_VARIABLE, installed_sections
from mesh.errors import AlreadyRunning, ChildFailed, SettingsError
from mesh.processes.child import ChildSpec, own_command
from mesh.processes.folder_lock import FolderLock, Taken
from mesh.processes.process import listen_for_stop, run_process, unless
from mesh.processes.readiness import announce_ready
from mesh.processes.readyz import wait_until_ready
from mesh.processes.startup_display import StartupDisplay
from mesh.processes.supervisor import Supervisor
from mesh.processes.terminal import Terminal, invocation, terminal
from mesh.processes.up_hints import hints
from mesh.sites.plan import broker_options
from mesh.sites.settings import SiteSettings

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from msgspec import Struct

    from mesh.processes.readiness import Ready

_SECTIONS: Final = installed_sections()
"""Flags of the other packages' settings are found by name: ``mesh`` imports neither of them."""
_EXAMPLES: Final = """\b
Examples:
  ig3 up                                                # the small model, on this machine only
  ig3 up --model ~/models/qwen.gguf                     # another model
  ig3 up --http 0.0.0.0:8080 --auth required            # others may reach it, and show a key or sign in
  ig3 up --nodes 2 --slots 8                            # two nodes, eight answers at once on each
  ig3 up --cluster 3                                    # three NATS servers: any one of them may be killed
  ig3 up --leaf-listen 10.0.0.5:7422                    # the hub of edge sites: see ig3 sites
  ig3 up --leaf hub.example:7422                        # one of its sites, also while the hub is away
  ig3 up --http :9090 --nats :5222 --data-dir /tmp/b    # beside a mesh that runs already
"""


@click.command(epilog=_EXAMPLES)
@settings_options(
    "given",
    up=UpSettings,
    gateway=only(_SECTIONS["gateway"], "http", "auth"),
    node=only(_SECTIONS["node"], "engine", "model", "embedding_model", "slots", "token_delay_ms"),
    mesh=only(MeshSettings, "nats", "data_dir", "durability"),
    site=only(SiteSettings, "leaf", "leaf_listen"),
)
def up(
    up: UpSettings, gateway: Struct, node: Struct, mesh: MeshSettings, site: SiteSettings, given: Mapping[str, str]
) -> None:
    """Run a whole mesh here: broker, identity, dispatcher, ledger, retrieval, gateway and nodes.

    Each is a process of its own and is started again when it dies. Ctrl-C stops them in order; a second Ctrl-C kills
    them. Settings that have no flag here reach them by IG3_* variables or the settings file.
    """
    # These were resolved so that a mistake is told before anything starts; the processes read them for themselves.
    del gateway
    _check_links(up, mesh, site)
    # A small model for vectors comes with the mesh, unless somebody says otherwise.
    embeds = {} if getattr(node, "embedding_model", ()) else {"IG3_EMBEDDING_MODEL": "auto"}

    async def main(stop: asyncio.Event) -> None:
        await Mesh(up, mesh, {**_variables(given), **embeds}, terminal()).run(stop)

    # What there is to say stands on the screen already; the processes log to their files.
    run_process("up", structs.replace(mesh, log_level="warning"), main, fast_loop=False)


def _check_links(up: UpSettings, mesh: MeshSettings, site: SiteSettings) -> None:
    if up.cluster == 1:
        broker_options(mesh, site)
    elif site.leaf or site.leaf_listen:
        raise SettingsError("--cluster is for trying on one machine: links of edge sites go to one server there")


class Mesh:
    """A mesh from its start to its end, as one terminal shows it."""

    def __init__(self, up: UpSettings, mesh: MeshSettings, variables: Mapping[str, str], screen: Terminal) -> None:
        """Prepare; nothing starts before ``run``."""
        self._up = up
        self._mesh = mesh
        self._variables = variables
        self._screen = screen
        self._display = StartupDisplay(screen)

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set.

        Raises:
            AlreadyRunning: if a mesh runs on this data folder.
            StoreMismatch: if the folder holds the streams of another number of servers.
            ChildFailed: if a process does not start.
        """
        lock = await _lock(self._mesh)
        brokers = plan_brokers(self._mesh, self._up.cluster)
        supervisor = Supervisor(
            _stages(self._up, self._mesh, brokers),
            environment={**self._variables, **brokers.for_all},
            on_change=self._display.show,
            # Whoever starts a mesh here next waits until the last process of this one is gone.
            inherited=(lock.descriptor,),
        )

        def on_signal() -> None:
            if stop.is_set():
                supervisor.kill()
            stop.set()

        listen_for_stop(on_signal)
        try:
            await unless(stop, self._start(supervisor, lock))
            await stop.wait()
        finally:
            self._display.close()
            if stop.is_set():
                self._screen.err.print("Stopping; Ctrl-C again kills.", style="dim")
            await supervisor.stop()
            lock.release()

    async def _start(self, supervisor: Supervisor, lock: FolderLock) -> None:
        began = time.monotonic()
        lock.describe(f"pid {os.getpid()}")
        self._display.open()
        announced = await supervisor.start()
        gateway = announced["gateway"]
        url = gateway.url
        lock.describe(f"pid {os.getpid()}, {url}")
        if not gateway.needs_certificate:
            # Of a gateway that wants to see one, what it has announced must do.
            await wait_until_ready(url)
        self._display.close()
        self._greet(announced, time.monotonic() - began)
        announce_ready(url, url=url, models=tuple(model for ready in announced.values() for model in ready.models))

    def _greet(self, announced: Mapping[str, Ready], took_s: float) -> None:
        out = self._screen.out
        out.print(f"\nThe mesh is ready after {took_s:.1f} s.", style="bold green", markup=False)
        for title, text in hints(announced, self._mesh):
            out.print(f"  {title}  ", style="bold", end="", markup=False)
            out.print(text, markup=False)
        out.print(f"Logs are in {self._mesh.data_dir / 'logs'}. Ctrl-C stops it.", style="dim", markup=False)


def _stages(up: UpSettings, mesh: MeshSettings, brokers: Brokers) -> tuple[tuple[ChildSpec, ...], ...]:
    """In the order of starting. The gateway stops first, so that running answers can still end."""
    logs = mesh.data_dir / "logs"

    def spec(name: str, command: str, **rest: Any) -> ChildSpec:
        log_path = logs / f"{name}.log"
        own = own_command(*command.split())
        return ChildSpec(name=name, command=own, log_path=log_path, grace=up.stop_timeout, **rest)

    nodes = tuple(
        spec(f"node-{number}", "node", environment={"IG3_INSTANCE": str(number)}) for number in range(1, up.nodes + 1)
    )
    return (
        tuple(spec(name, "broker", pinned=brokers.pinned, environment=own) for name, own in brokers.each.items()),
        # Whom the broker asks about the nodes.
        (*(spec(name, name) for name in ("identity", "dispatcher", "retrieval")), spec("ledger", "ledger run")),
        nodes,
        (spec("gateway", "gateway", pinned="IG3_HTTP"),),
    )


def _variables(given: Mapping[str, str]) -> dict[str, str]:
    config = invocation().config
    return {**given, **({CONFIG_VARIABLE: str(config.absolute())} if config is not None else {})}


async def _lock(mesh: MeshSettings) -> FolderLock:
    try:
        return await FolderLock.acquire(mesh.data_dir / "up.lock")
    except Taken as holder:
        who = str(holder) or "another process"
        raise AlreadyRunning(
            f"a mesh already runs on {mesh.data_dir} ({who}): stop it, or choose another folder with --data-dir"
        ) from None
    except OSError as error:
        raise ChildFailed(f"cannot use the data folder {mesh.data_dir}: {error.strerror}") from error
