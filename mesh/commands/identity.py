"""``ig3 identity``: decides who may connect to the bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from mesh.broker.credentials import IdentityCredentials
from mesh.config.options import only, settings_options
from mesh.config.settings import MeshSettings
from mesh.identity.device_settings import DeviceSettings
from mesh.identity.settings import IdentitySettings
from mesh.processes.process import run_process
from mesh.processes.readiness import announce_progress, announce_ready

if TYPE_CHECKING:
    import asyncio

_EXAMPLES: Final = """\b
Examples:
  ig3 identity                                      # one more: they share the questions of the broker
  ig3 identity --admission open                     # every device that proves a DID may take part
  ig3 identity --audiences mesh.example.org:4222    # where devices dial from outside
"""


@click.command(epilog=_EXAMPLES)
@settings_options(
    mesh=only(MeshSettings, "nats", "data_dir", "log_level", "log_format"),
    devices=DeviceSettings,
    identity=IdentitySettings,
)
def identity(mesh: MeshSettings, devices: DeviceSettings, identity: IdentitySettings) -> None:
    """Decide who may connect to the bus, and cut off who may not any more.

    The broker asks this service about every device, and about people who come with a key or a session. Any number may
    run. While none runs nobody new gets in, and those who are connected stay until they would have to prove anew who
    they are.
    """

    async def main(stop: asyncio.Event) -> None:
        await serve(mesh, devices, identity, stop)

    run_process("identity", mesh, main, fast_loop=False)


async def serve(mesh: MeshSettings, devices: DeviceSettings, settings: IdentitySettings, stop: asyncio.Event) -> None:
    """Run the identity service until ``stop`` is set.

    Raises:
        MeshError: if the bus cannot be reached, a credential is missing, or a setting cannot be used.
    """
    # Loaded here, so that `ig3 identity --help` does not wait for the cryptography.
    from mesh.access.session_keys import FILE as SESSION_KEYS
    from mesh.access.session_keys import SessionKeys
    from mesh.history.snapshots import SNAPSHOTS, SnapshotStore
    from mesh.identity.assembly import gatekeeper_maker
    from mesh.identity.service import IdentityOptions, IdentityService
    from mesh.identity.traffic import Allowance

    announce_progress("connecting to the bus")
    credentials = IdentityCredentials.load(mesh.data_dir)
    sessions = SessionKeys(mesh.data_dir / SESSION_KEYS)
    options = IdentityOptions(
        servers=mesh.nats_urls,
        tls=mesh.nats_tls,
        credentials=credentials,
        sessions=sessions,
        allowance=Allowance(messages=devices.device_messages, size_bytes=devices.device_data),
    )
    async with gatekeeper_maker(mesh, devices, settings) as make:
        snapshots = SnapshotStore(mesh.data_dir / SNAPSHOTS)
        async with IdentityService(options, make, snapshots):
            announce_ready(f"devices are admitted by the rule {devices.admission!r}")
            await stop.wait()
