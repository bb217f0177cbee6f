"""`ig3 up` with everything encrypted: the bus (both sides show certificates), HTTP, and the streams on the disk."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector

from tests.certificates import Authority
from tests.http_gateway import read_sse, text_of
from tests.running_mesh import SYNTHETIC, RunningMesh, running_up

pytestmark = pytest.mark.timeout(180)

MARKER = "a-prompt-that-nobody-should-find-on-a-disk"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def settings(ours: Authority) -> dict[str, str]:
    server, client = ours.shown(), ours.shown("client")
    files = {
        "IG3_NATS_TLS_CERT": server.cert,
        "IG3_NATS_TLS_KEY": server.key,
        "IG3_NATS_TLS_CA": ours.ca,
        "IG3_NATS_CA": ours.ca,
        "IG3_NATS_CLIENT_CERT": client.cert,
        "IG3_NATS_CLIENT_KEY": client.key,
        "IG3_HTTP_TLS_CERT": server.cert,
        "IG3_HTTP_TLS_KEY": server.key,
    }
    return {**{name: str(path) for name, path in files.items()}, "IG3_ENCRYPT_STORE": "aes"}


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str]) -> Iterator[RunningMesh]:
    with running_up(tmp_path_factory.mktemp("secured"), "--engine", SYNTHETIC, variables=settings) as running:
        yield running


async def test_an_answer_comes_through_when_everything_is_encrypted(
    mesh: RunningMesh, ours: Authority, settings: dict[str, str]
) -> None:
    body = {"model": SYNTHETIC, "messages": [{"role": "user", "content": MARKER}], "max_tokens": 5, "stream": True}
    connector = TCPConnector(ssl=ssl.create_default_context(cafile=ours.ca))
    url = f"https://{mesh.place.http}/v1/chat/completions"
    async with ClientSession(connector=connector) as session, session.post(url, json=body) as response:
        assert response.status == 200
        assert text_of(await read_sse(response))
        task = response.headers["x-ig3-task"]
    assert task in mesh.place.ok("tasks", "list", **settings)
    assert "does not prove to be the broker" in mesh.place.ig3("tasks", "list").stderr


def test_nothing_of_it_lies_in_plain_text_on_the_disk(mesh: RunningMesh) -> None:
    found = [path for path in Path(mesh.place.folder).rglob("*") if path.is_file() and MARKER in read(path)]
    assert found == []


def read(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")
