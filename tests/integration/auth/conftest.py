"""A mesh with a node, two accounts, and a gateway that asks everybody for a key or a session."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mesh.access.writer import AccessWriter
from streams.access.events import Right
from streams.access.limits import Bounds
from streams.tokens import Token
from tests.http_gateway import HttpGateway, serve_http
from tests.mesh_in_process import InProcessMesh
from tests.patient_links import wait_for_answers

ALL: tuple[Right, ...] = ("chat", "read", "admin")


@dataclass(kw_only=True)
class Guarded:
    """The gateway, and the pen of whoever runs the mesh."""

    mesh: InProcessMesh
    gateway: HttpGateway
    writer: AccessWriter

    async def key(
        self,
        account: str,
        rights: tuple[Right, ...] = ALL,
        *,
        models: tuple[str, ...] = (),
        tools: tuple[str, ...] = (),
        bounds: Bounds | None = None,
        expires_at_ms: int | None = None,
    ) -> str:
        """A new key, as the header that shows it."""
        shown, sequence = await self.writer.issue(
            Token(account),
            name="test",
            rights=rights,
            models=models,
            tools=tools,
            bounds=bounds,
            expires_at_ms=expires_at_ms,
        )
        await self.gateway.access.reach(sequence)
        return f"Bearer {shown.text}"


@pytest.fixture(scope="module", autouse=True)
def answers() -> Iterator[None]:
    """No answer of the broker counts as lost because this machine is slow."""
    with pytest.MonkeyPatch.context() as patch:
        wait_for_answers(patch)
        yield


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path / "mesh") as running:
        yield running


@pytest.fixture
async def guarded(mesh: InProcessMesh) -> AsyncIterator[Guarded]:
    async with guarding(mesh) as running:
        yield running


@asynccontextmanager
async def guarding(mesh: InProcessMesh) -> AsyncIterator[Guarded]:
    """Open the accounts, and the gateway."""
    await mesh.add_dispatcher()
    await mesh.add_node(interval_s=5)
    writer = AccessWriter(mesh.bus.core)
    for account in ("acme", "beta"):
        await writer.open(Token(account))
    async with serve_http(mesh.bus, auth="required") as gateway:
        await gateway.until_served()
        yield Guarded(mesh=mesh, gateway=gateway, writer=writer)
