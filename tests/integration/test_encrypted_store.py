"""Streams that are encrypted on the disk, by a real nats-server; and a key that does not fit starts nothing."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from mesh.broker.files import BrokerOptions, find_conf
from mesh.broker.server import EmbeddedServer
from mesh.broker.store_cipher import StoreCipher, store_key
from mesh.bus.provision import provision
from mesh.bus.service_bus import Bus, BusOptions
from mesh.config.address import Address
from mesh.errors import CredentialsError, StoreMismatch
from streams import subjects
from streams.codec import decode, encode
from streams.consumers import consumer_specs
from streams.events import TaskSubmitted
from streams.subjects import TaskKey
from streams.tasks.chat import Message
from streams.tasks.task_id import new_task_id
from streams.tokens import token
from streams.topology import stream_specs

MARKER = "a-prompt-that-nobody-should-find-on-a-disk"
ACCOUNT = token("an-account-that-nobody-should-find-either")


@asynccontextmanager
async def broker(folder: Path, cipher: StoreCipher) -> AsyncIterator[EmbeddedServer]:
    options = BrokerOptions(data_dir=folder, listen=Address("127.0.0.1", 0), durability="process", encrypt_store=cipher)
    async with EmbeddedServer(options) as server:
        yield server


@asynccontextmanager
async def bus_of(server: EmbeddedServer) -> AsyncIterator[Bus]:
    credentials = server.credentials
    options = BusOptions(
        servers=(server.url,),
        name="test",
        edge_seed=credentials.edge_service.seed_path,
        core_seed=credentials.core_service.seed_path,
    )
    async with await Bus.connect(options) as bus:
        yield bus


async def ask(bus: Bus) -> TaskKey:
    key = TaskKey(ACCOUNT, new_task_id())
    asked = TaskSubmitted(model="m", messages=(Message(role="user", content=MARKER),))
    await bus.edge.append(subjects.submitted("standard", key), encode(asked))
    return key


async def read(bus: Bus, key: TaskKey) -> str:
    query = json.dumps({"last_by_subj": subjects.submitted("standard", key)}).encode()
    answer = await bus.edge.request("$JS.API.DIRECT.GET.TASKS", query)
    return str(decode(answer.data, TaskSubmitted).messages[0].content)


async def make_store(folder: Path, cipher: StoreCipher) -> TaskKey:
    async with broker(folder, cipher) as server, bus_of(server) as bus:
        await provision(bus.links, stream_specs(), consumer_specs())
        return await ask(bus)


def files_with(folder: Path, text: str) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


@pytest.mark.parametrize("cipher", ["aes", "chachapoly"])
async def test_nothing_of_a_prompt_is_readable_on_the_disk_and_a_restart_reads_it(
    tmp_path: Path, cipher: StoreCipher
) -> None:
    key = await make_store(tmp_path, cipher)
    assert files_with(tmp_path, MARKER) == []
    assert files_with(tmp_path / "jetstream", ACCOUNT) == []
    async with broker(tmp_path, cipher) as server, bus_of(server) as bus:
        assert await read(bus, key) == MARKER


async def test_without_encryption_it_is_readable(tmp_path: Path) -> None:
    await make_store(tmp_path, "off")
    assert files_with(tmp_path / "jetstream", MARKER) != []


def another_key(folder: Path) -> None:
    path = folder / "credentials" / "store.key"
    path.write_text("0123456789abcdef" * 4 + "\n")


def no_key(folder: Path) -> None:
    (folder / "credentials" / "store.key").unlink()


def half_a_key(folder: Path) -> None:
    (folder / "credentials" / "store.key").write_text("0123")


def an_open_key(folder: Path) -> None:
    (folder / "credentials" / "store.key").chmod(0o644)


def nothing(folder: Path) -> None:
    del folder


@pytest.mark.parametrize(
    ("made", "harm", "started", "error", "said"),
    [
        ("aes", another_key, "aes", StoreMismatch, "is not the key"),
        ("aes", no_key, "aes", CredentialsError, "bring back the copy"),
        ("aes", half_a_key, "aes", CredentialsError, "is damaged"),
        ("aes", an_open_key, "aes", CredentialsError, "open to other users"),
        ("aes", nothing, "off", StoreMismatch, "set encrypt_store = aes"),
        ("aes", nothing, "chachapoly", StoreMismatch, "set encrypt_store = aes"),
        ("off", nothing, "aes", StoreMismatch, "are not encrypted"),
    ],
)
async def test_a_store_that_was_made_otherwise_is_left_alone(
    tmp_path: Path,
    made: StoreCipher,
    harm: Callable[[Path], None],
    started: StoreCipher,
    error: type[Exception],
    said: str,
) -> None:
    folder, kept = tmp_path / "data", tmp_path / "kept"
    key = await make_store(folder, made)
    shutil.copytree(folder / "credentials", kept)
    harm(folder)
    with pytest.raises(error, match=said):
        async with broker(folder, started):
            pass
    shutil.rmtree(folder / "credentials")
    shutil.copytree(kept, folder / "credentials")
    async with broker(folder, made) as server, bus_of(server) as bus:
        assert await read(bus, key) == MARKER


async def test_the_key_is_told_to_nobody_but_the_server(tmp_path: Path) -> None:
    async with broker(tmp_path, "aes") as server:
        secret = store_key(tmp_path)
        assert files_with(tmp_path, secret) == [str(tmp_path / "credentials" / "store.key")]
        assert secret not in find_conf().read_text()
        listed = subprocess.run(["ps", "ax", "-o", "args"], capture_output=True, text=True, check=True)
        assert secret not in listed.stdout
        for page in ("varz", "jsz?config=true&accounts=true&streams=true", "healthz?details=true"):
            assert secret.encode() not in await asyncio.to_thread(fetch, f"{server.monitor.http_url}/{page}")
    assert files_with(tmp_path, secret) == [str(tmp_path / "credentials" / "store.key")]
    assert (tmp_path / "credentials" / "store.key").stat().st_mode & 0o777 == 0o600


def fetch(url: str) -> bytes:
    with urlopen(url) as answer:
        return answer.read()
