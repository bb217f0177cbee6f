"""Meshes that several modules share: each test uses tasks of its own, and none stops a process."""

from collections.abc import AsyncIterator, Iterator

import openai
import pytest

from tests.running_mesh import RunningMesh, running_up


@pytest.fixture(scope="session")
def smollm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    """`ig3 up` as it comes, with its real model."""
    with running_up(tmp_path_factory.mktemp("smollm")) as mesh:
        yield mesh


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    """`ig3 up` with an engine whose answers are known and take a while."""
    folder = tmp_path_factory.mktemp("synthetic")
    with running_up(folder, "--engine", "synthetic", "--token-delay-ms", "20") as mesh:
        yield mesh


@pytest.fixture
async def sdk(smollm: RunningMesh) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's client, as an application opens it."""
    async with openai.AsyncOpenAI(base_url=f"{smollm.url}/v1", api_key="unused", max_retries=0) as client:
        yield client
