from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests import chromium
from tests.bridge_server import BridgeServer, serve_bridge
from tests.mesh_in_process import InProcessMesh


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path / "mesh") as running:
        yield running


@pytest.fixture
async def bridge(mesh: InProcessMesh) -> AsyncIterator[BridgeServer]:
    async with serve_bridge(mesh.bus) as server:
        yield server


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium.browser() as started:
        yield started
