"""One browser for the tests of a module: each opens a page, which shares nothing with the others."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Browser

from tests import chromium
from tests.bridge_server import BridgeServer, serve_bridge
from tests.mesh_in_process import InProcessMesh


@pytest_asyncio.fixture(loop_scope="module")
async def mesh(tmp_path: Path) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path / "mesh") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def bridge(mesh: InProcessMesh) -> AsyncIterator[BridgeServer]:
    async with serve_bridge(mesh.bus) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium.browser() as started:
        yield started
