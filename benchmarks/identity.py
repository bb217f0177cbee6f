"""What it costs to find out who somebody is: proofs alone, and connections through the broker's callout.

``python -m benchmarks.identity``. Absolute figures are of one machine; it prints what it ran beside what.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mesh.access.session_keys import SessionKeys
from mesh.broker.files import BrokerOptions
from mesh.broker.server import EmbeddedServer
from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.bus.provision import provision
from mesh.bus.service_bus import Bus, BusOptions
from mesh.config.address import Address
from mesh.config.settings import MeshSettings
from mesh.identity.assembly import gatekeeper_maker
from mesh.identity.device_log import DeviceLog
from mesh.identity.device_login import DeviceLogin, connect_message, read_login
from mesh.identity.device_settings import DeviceSettings
from mesh.identity.did import did_key
from mesh.identity.keys import SigningKey
from mesh.identity.service import IdentityOptions, IdentityService
from mesh.identity.settings import IdentitySettings
from mesh.identity.subject_proof import prove, subject_signed
from streams import subjects
from streams.tokens import Token
from streams.topology import stream_specs

if TYPE_CHECKING:
    from mesh.identity.keys import Algorithm

_PROOFS: Final = 500
_CONNECTIONS: Final = 100
_STORM: Final = 200
_REVOKED: Final = 20
_POLL_S: Final = 0.002
_NONCE: Final = "WqsFnjspPZlFB18"


def main() -> None:
    """Run everything and print it."""
    for algorithm in ("ed25519", "sr25519", "secp256k1"):
        made_us, checked_us = _proof_us(algorithm), _check_us(algorithm)
        click.echo(f"{algorithm:<10} login made and read: {made_us:5.0f} us; checked: {checked_us:5.0f} us")
    asyncio.run(_connections())


def _login(algorithm: Algorithm, name: str = "n") -> DeviceLogin:
    key = SigningKey.generate(algorithm)
    return DeviceLogin(did_key(key.public), key, Token(name))


def _proof_us(algorithm: Algorithm) -> float:
    login = _login(algorithm)
    begun = time.perf_counter()
    for _ in range(_PROOFS):
        read_login(login.token("h:1"), login.sign("h:1", _NONCE).decode(), _NONCE)
    return (time.perf_counter() - begun) / _PROOFS * 1e6


def _check_us(algorithm: Algorithm) -> float:
    key = SigningKey.generate(algorithm)
    did = did_key(key.public)
    message = connect_message(did.text, "h:1", _NONCE)
    proof = prove(did, key, message)
    begun = time.perf_counter()
    for _ in range(_PROOFS):
        if not subject_signed(did, proof, message):
            raise click.ClickException("a good proof was refused")
    return (time.perf_counter() - begun) / _PROOFS * 1e6


async def _connections() -> None:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = await stack.enter_async_context(
            EmbeddedServer(BrokerOptions(data_dir=folder, listen=Address("127.0.0.1", 0)))
        )
        credentials = server.credentials
        options = BusOptions(
            servers=(server.url,),
            name="bench",
            edge_seed=credentials.edge_service.seed_path,
            core_seed=credentials.core_service.seed_path,
        )
        bus = await stack.enter_async_context(await Bus.connect(options))
        await provision(bus.links, stream_specs(), ())
        mesh = MeshSettings(nats=str(server.address), data_dir=folder)
        make = await stack.enter_async_context(
            gatekeeper_maker(mesh, DeviceSettings(admission="open"), IdentitySettings())
        )
        identity = IdentityOptions(
            servers=(server.url,), credentials=credentials.for_identity, sessions=SessionKeys.load_or_create(folder)
        )
        await stack.enter_async_context(IdentityService(identity, make))
        await _one_after_the_other(server.url, credentials.user.seed_path)
        await _storm(server.url)
        await _cut(server.url, bus)


async def _one_after_the_other(url: str, known_seed: Path) -> None:
    login = _login("ed25519")
    known, asked = list[float](), list[float]()
    for _ in range(_CONNECTIONS):
        known.append(
            await _connect_ms(
                LinkOptions(servers=(url,), name="u", inbox_prefix="_INBOX.user.local", seed_file=known_seed)
            )
        )
        asked.append(await _connect_ms(_options(url, login, "n")))
    click.echo(
        f"connecting, p50: {statistics.median(known):.1f} ms with a key of nats.conf, "
        f"{statistics.median(asked):.1f} ms by the callout"
    )


async def _storm(url: str) -> None:
    logins = {f"d{number}": _login("ed25519", f"d{number}") for number in range(_STORM)}
    begun = time.perf_counter()
    links = await asyncio.gather(*(Link.connect(_options(url, login, name)) for name, login in logins.items()))
    click.echo(
        f"{_STORM} new devices at once: all in after {time.perf_counter() - begun:.2f} s, events stored and synced"
    )
    await asyncio.gather(*(link.close() for link in links))


async def _cut(url: str, bus: Bus) -> None:
    """How long a device keeps its connection after its revocation was stored."""
    log = DeviceLog(bus.core)
    await log.start()
    took = list[float]()
    for number in range(_REVOKED):
        link = await Link.connect(_options(url, _login("ed25519", f"r{number}"), f"r{number}"))
        await log.catch_up()
        await log.revoke(Token(f"r{number}"), by="benchmark", reason="measured")
        begun = time.perf_counter()
        for _ in iter(lambda link=link: link.is_connected, False):
            await asyncio.sleep(_POLL_S)
        took.append(time.perf_counter() - begun)
        await link.close()
    await log.stop()
    click.echo(f"cut off after a revocation: {statistics.median(took):.2f} s (p50), {max(took):.2f} s at most")


def _options(url: str, login: DeviceLogin, name: str) -> LinkOptions:
    return LinkOptions(servers=(url,), name=name, inbox_prefix=subjects.node_inbox_prefix(Token(name)), login=login)


async def _connect_ms(options: LinkOptions) -> float:
    begun = time.perf_counter()
    link = await Link.connect(options)
    took_s = time.perf_counter() - begun
    await link.close()
    return took_s * 1000


if __name__ == "__main__":
    main()
