"""`ig3 up` with everything encrypted: the bus (both sides show certificates), HTTP, and the streams on the disk.

And every secret of it, used rightly and wrongly, is found nowhere but where it is kept.
"""

import re
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientResponse, ClientSession, TCPConnector

from mesh.access.api_keys import new_key
from mesh.access.session_keys import SessionKeys
from mesh.access.session_tokens import issue_session
from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.client.key_login import KeyLogin
from mesh.errors import BusRefused
from streams.subjects import user_inbox_prefix
from streams.tokens import Token
from tests.certificates import Authority
from tests.http_gateway import read_sse, text_of
from tests.running_mesh import SYNTHETIC, RunningMesh, running_up

pytestmark = pytest.mark.timeout(180)

MOST_OF_CREDENTIALS = 10
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
    choices = {"IG3_ENCRYPT_STORE": "aes", "IG3_AUTH": "required", "IG3_LOG_LEVEL": "debug"}
    return {**{name: str(path) for name, path in files.items()}, **choices}


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str]) -> Iterator[RunningMesh]:
    with running_up(tmp_path_factory.mktemp("secured"), "--engine", SYNTHETIC, variables=settings) as running:
        yield running


@pytest.fixture(scope="module")
def key(mesh: RunningMesh, settings: dict[str, str]) -> str:
    """An API key of the account `local`."""
    return mesh.place.ok("keys", "issue", "--name", "test", **settings).strip()


def test_what_it_printed_can_be_pasted(mesh: RunningMesh, ours: Authority) -> None:
    hints = mesh.up.output.partition("The mesh is ready")[2]
    key, curl = (
        re.search(rf"^  {name}  (.*?{end})$", hints, re.MULTILINE) for name, end in (("key", ""), ("curl", r"\n.*?"))
    )
    assert key is not None
    assert curl is not None
    answer = mesh.place.run("bash", "-c", f"{key[1]}\n{curl[1]}", variables={"CURL_CA_BUNDLE": str(ours.ca)})
    assert answer.stdout.startswith("ig3_")
    assert answer.stdout.rstrip().endswith("data: [DONE]")


@asynccontextmanager
async def asking(mesh: RunningMesh, ours: Authority, credential: str) -> AsyncIterator[ClientResponse]:
    body = {"model": SYNTHETIC, "messages": [{"role": "user", "content": MARKER}], "max_tokens": 5, "stream": True}
    connector = TCPConnector(ssl=ssl.create_default_context(cafile=ours.ca))
    url, headers = f"https://{mesh.place.http}/v1/chat/completions", {"Authorization": f"Bearer {credential}"}
    async with ClientSession(connector=connector) as session, session.post(url, json=body, headers=headers) as response:
        yield response


async def test_an_answer_comes_through_when_everything_is_encrypted(
    mesh: RunningMesh, ours: Authority, settings: dict[str, str], key: str
) -> None:
    async with asking(mesh, ours, key) as response:
        assert response.status == 200
        assert text_of(await read_sse(response))
        task = response.headers["x-ig3-task"]
    assert task in mesh.place.ok("tasks", "list", **settings)
    assert "does not prove to be the broker" in mesh.place.ig3("tasks", "list").stderr


async def knock(mesh: RunningMesh, ours: Authority, credential: str) -> bool:
    """Whether the bus lets somebody in with it."""
    options = LinkOptions(
        servers=(f"tls://{mesh.place.nats}",),
        tls=ours.client(shows=True),
        name="somebody",
        inbox_prefix=user_inbox_prefix(Token("local")),
        login=KeyLogin(credential),
    )
    try:
        await (await Link.connect(options)).close()
    except BusRefused:
        return False
    return True


async def test_no_secret_is_told_to_a_log_an_event_or_a_process_list(
    mesh: RunningMesh, ours: Authority, settings: dict[str, str], key: str
) -> None:
    forged, _ = issue_session(
        SessionKeys.load_or_create(mesh.place.folder), did="did:key:z6Mk", account="local", role="member", now_s=0
    )
    wrong = new_key().text
    for bad in (forged, wrong, f"{key}x"):
        async with asking(mesh, ours, bad) as response:
            assert response.status == 401
            assert bad not in await response.text()
        assert not await knock(mesh, ours, bad)
    assert await knock(mesh, ours, key)
    told = {
        "what the mesh has written": "".join(read(path) for path in written(mesh)),
        "events": mesh.place.ok("events", "replay", **settings),
        "command lines": "\n".join(read(path) for path in Path("/proc").glob("[0-9]*/cmdline")),
        "settings": mesh.place.ok("config", "show", **settings),
    }
    assert SYNTHETIC in told["what the mesh has written"]
    assert "key.issued.v1" in told["events"]
    secrets = {"key": key, "its secret": key.rpartition("_")[2], "forged": forged, "wrong": wrong, **kept(mesh)}
    assert len(secrets) > MOST_OF_CREDENTIALS
    found = [f"{name} in {where}" for where, text in told.items() for name, secret in secrets.items() if secret in text]
    assert found == []


def test_nothing_of_it_lies_in_plain_text_on_the_disk(mesh: RunningMesh) -> None:
    found = [path for path in Path(mesh.place.folder).rglob("*") if path.is_file() and MARKER in read(path)]
    assert found == []


def read(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")


def written(mesh: RunningMesh) -> list[Path]:
    """Logs, settings for nats-server, and all else that is no credential."""
    secret = mesh.place.data_dir / "credentials"
    files = (path for path in mesh.place.folder.rglob("*") if path.is_file() and not path.is_relative_to(secret))
    # The keys of a mesh that was never there, made by this test.
    return [path for path in files if path.parent.name != "credentials"]


def kept(mesh: RunningMesh) -> dict[str, str]:
    """Every secret that lies in the data folder, by its file."""
    found: dict[str, str] = {}
    for path in (mesh.place.data_dir / "credentials").rglob("*"):
        if path.suffix in {".nk", ".secret"} or path.name == "store.key":
            found[path.name] = path.read_text().strip()
        elif path.suffix in {".json", ".key"}:
            held = re.findall(r'"(nonce_secret|seed|secret)": *"([^"]+)"', path.read_text())
            found |= {f"{name} {number} of {path.name}": text for number, (name, text) in enumerate(held)}
    return found
