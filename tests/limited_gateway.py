"""A gateway for whose limits no time passes, on a scripted mesh, and callers with keys."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientResponse

from mesh.access.writer import AccessWriter
from streams.access.limits import Limits
from streams.clock import now_ms
from streams.tokens import Token
from tests.http_gateway import HttpGateway, serve_http
from tests.scripted_mesh import ScriptedMesh

ACME = Token("acme")
NOW_MS = now_ms()


@asynccontextmanager
async def still(mesh: ScriptedMesh, **settings: Any) -> AsyncIterator[HttpGateway]:
    """A gateway for which no time passes, so that nothing is paid back or forgiven however slow this machine is."""
    async with serve_http(mesh.bus, **{"limits_store": "memory", **settings}) as gateway:
        gateway.limiter._clock = lambda: NOW_MS
        gateway.door.failures._clock = lambda: 0.0
        yield gateway


async def status(asking: Awaitable[ClientResponse]) -> int:
    """The status of an answer that is read to its end."""
    response = await asking
    await response.read()
    return response.status


async def verdict(response: ClientResponse) -> tuple[int, str, str]:
    error = (await response.json())["error"]
    return response.status, error["code"], error["type"]


async def a_key(
    mesh: ScriptedMesh, gateway: HttpGateway, limits: Limits | None = None, account: Token = ACME
) -> dict[str, str]:
    """A new key of an account, as the header that shows it."""
    issued = await AccessWriter(mesh.bus.core).issue(account, name="test", rights=("chat", "read"), limits=limits)
    await gateway.access.reach(issued.sequence)
    return {"Authorization": f"Bearer {issued.shown.text}"}


@asynccontextmanager
async def with_keys(mesh: ScriptedMesh, **settings: Any) -> AsyncIterator[HttpGateway]:
    """A gateway that knows the account acme."""
    async with still(mesh, **settings) as gateway:
        await gateway.access.look()
        yield gateway
