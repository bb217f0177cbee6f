"""`ig3 up` with everything encrypted: the bus and HTTP (all sides show certificates), and the streams on the disk.

And every secret of it, used rightly and wrongly, is found nowhere but where it is kept.
"""

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import ClientResponse, ClientSession, TCPConnector

from mesh.access.api_keys import new_key
from mesh.access.session_keys import SessionKeys
from mesh.access.session_tokens import issue_session
from mesh.broker.credentials import Credentials
from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.bus.service_bus import Bus, BusOptions
from mesh.client.key_login import KeyLogin
from mesh.errors import BusRefused
from mesh.history.ordered import OrderedReader
from mesh.history.stream_facts import stream_names
from mesh.identity.accounts import evm_account
from mesh.identity.evm import sign_personal
from mesh.identity.keys import SigningKey
from mesh.tls.contexts import client_context
from streams.subjects import user_inbox_prefix
from streams.tokens import Token
from tests.certificates import Authority
from tests.http_gateway import LIMIT_S, read_sse, text_of
from tests.running_mesh import SYNTHETIC, Place, RunningMesh, running_up

pytestmark = pytest.mark.timeout(300)

MOST_OF_CREDENTIALS = 10
NOBODY = "127.0.0.1:1"
CHOSEN = {
    "password of Redis": "3up-redis-5d9c41e7",
    "password of the collector": "3up-otlp-77ab03f2",
    "key of the endpoint": "3up-chain-90cc12ad",
    "passphrase of the device": "3up device 41 b7 correct horse",
    "a wrong passphrase": "3up device 08 f1 battery staple",
}
"""Secrets without a shape by which anybody could know them."""
WALLET, STRANGER = SigningKey.generate("secp256k1"), SigningKey.generate("secp256k1")
MARKER = "a-prompt-that-nobody-should-find-on-a-disk"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"))


@dataclass(frozen=True, kw_only=True)
class Device:
    """The key of the node, and what opens it and does not."""

    key: Path
    passphrase: Path
    wrong: Path


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Device:
    """A sealed key, as `ig3 did create` makes it."""
    folder = tmp_path_factory.mktemp("device")
    made = Device(key=folder / "node.key", passphrase=folder / "passphrase", wrong=folder / "wrong")
    for file, name in ((made.passphrase, "passphrase of the device"), (made.wrong, "a wrong passphrase")):
        file.write_text(CHOSEN[name])
        file.chmod(0o600)
    Place(folder=folder).ok("did", "create", "--out", str(made.key), "--passphrase-file", str(made.passphrase))
    return made


@pytest.fixture(scope="module")
def settings(ours: Authority, device: Device) -> dict[str, str]:
    """All of it, with three upstreams that are away, whose URLs hold secrets."""
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
        "IG3_HTTP_TLS_CA": ours.ca,
        "IG3_DEVICE_KEY": device.key,
        "IG3_DEVICE_PASSPHRASE_FILE": device.passphrase,
    }
    choices = {
        "IG3_ENCRYPT_STORE": "aes",
        "IG3_SIGNUP": "open",
        "IG3_ADMISSION": "open",
        "IG3_LOG_LEVEL": "debug",
        "IG3_REQUESTS_PER_MINUTE": "1000",
        "IG3_REDIS_URL": f"redis://ig3:{CHOSEN['password of Redis']}@{NOBODY}/0",
        "IG3_OTLP_ENDPOINT": f"http://{NOBODY}",
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={CHOSEN['password of the collector']}",
        "IG3_DID_METHODS": "key,pkh,peaq",
        "IG3_PEAQ_ENDPOINTS": f"ws://{NOBODY}/{CHOSEN['key of the endpoint']},ws://{NOBODY}",
        "IG3_PEAQ_GENESIS": f"0x{'5' * 64}",
    }
    return {**{name: str(path) for name, path in files.items()}, **choices}


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str]) -> Iterator[RunningMesh]:
    with running_up(
        tmp_path_factory.mktemp("secured"), "--engine", SYNTHETIC, "--auth", "required", variables=settings
    ) as running:
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
    shown = ours.shown("client")
    variables = {"CURL_CA_BUNDLE": str(ours.ca), "CERT": str(shown.cert), "CERT_KEY": str(shown.key)}
    answer = mesh.place.run("bash", "-c", f"{key[1]}\n{curl[1]}", variables=variables)
    assert answer.stdout.startswith("ig3_")
    assert answer.stdout.rstrip().endswith("data: [DONE]")


@asynccontextmanager
async def asking(mesh: RunningMesh, ours: Authority, credential: str) -> AsyncIterator[ClientResponse]:
    body = {"model": SYNTHETIC, "messages": [{"role": "user", "content": MARKER}], "max_tokens": 5, "stream": True}
    url, headers = f"https://{mesh.place.http}/v1/chat/completions", {"Authorization": f"Bearer {credential}"}
    async with browser(ours) as session, session.post(url, json=body, headers=headers) as response:
        yield response


def browser(ours: Authority) -> ClientSession:
    return ClientSession(connector=TCPConnector(ssl=client_context(ours.client(shows=True).files)))


async def test_an_answer_comes_through_when_everything_is_encrypted(
    mesh: RunningMesh, ours: Authority, settings: dict[str, str], key: str
) -> None:
    async with asking(mesh, ours, key) as response:
        assert response.status == 200
        assert text_of(await read_sse(response))
        task = response.headers["x-ig3-task"]
    assert task in mesh.place.ok("tasks", "list", **settings)
    assert "does not prove to be the broker" in mesh.place.ig3("tasks", "list").stderr


def known_as(mesh: RunningMesh, ours: Authority, credential: str) -> LinkOptions:
    return LinkOptions(
        servers=(f"tls://{mesh.place.nats}",),
        tls=ours.client(shows=True),
        name="somebody",
        inbox_prefix=user_inbox_prefix(Token("local")),
        login=KeyLogin(credential),
        # Whoever decides may stand still for longer than is usually waited for.
        connect_timeout=timedelta(seconds=LIMIT_S),
    )


async def knocked(mesh: RunningMesh, ours: Authority, credential: str) -> str:
    """What the bus says to somebody whom it does not let in."""
    with pytest.raises(BusRefused) as refused:
        await Link.connect(known_as(mesh, ours, credential))
    return str(refused.value)


async def signed_in(mesh: RunningMesh, ours: Authority) -> tuple[str, list[str]]:
    """A session of a wallet, and what was answered to the same proof again and to a signature of somebody else."""
    refusals: list[str] = []
    async with browser(ours) as session:
        url = f"https://{mesh.place.http}/v1/auth"
        asked = {"method": "ethereum", "address": str(evm_account(WALLET.public))}
        proofs: list[dict[str, str]] = []
        for signer in (WALLET, STRANGER):
            async with session.post(f"{url}/challenge", json=asked) as response:
                message = (await response.json())["message"]
            proofs.append(
                {
                    "method": "ethereum",
                    "message": message,
                    "signature": f"0x{sign_personal(signer, message.encode()).hex()}",
                }
            )
        async with session.post(f"{url}/login", json=proofs[0]) as response:
            token = (await response.json())["token"]
        for proof in proofs:
            async with session.post(f"{url}/login", json=proof) as response:
                assert response.status == 401
                refusals.append(await response.text())
    return token, refusals


async def misplaced(mesh: RunningMesh, ours: Authority, credential: str) -> str:
    """What is answered where a credential stands in the wrong place."""
    url, headers = f"https://{mesh.place.http}", {"Authorization": f"Bearer {credential}"}
    body = {"model": credential, "messages": [{"role": "user", "content": "hello"}]}
    said: list[str] = []
    async with browser(ours) as session:
        async with session.get(f"{url}/v1/{credential}", headers=headers) as response:
            said.append(await response.text())
        async with session.get(f"{url}/v1/tasks/{credential}", headers=headers) as response:
            said.append(await response.text())
        async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response:
            said.append(await response.text())
        async with session.post(f"{url}/v1/chat/completions", data=credential, headers=headers) as response:
            said.append(await response.text())
        for name in ("x-ig3-task", "x-ig3-urgency", "x-ig3-deadline-ms", "last-event-id", "x-request-id", "origin"):
            named = {**headers, name: credential}
            async with session.post(f"{url}/v1/chat/completions", json={}, headers=named) as response:
                said.append(f"{response.headers}{await response.text()}")
    return "\n".join(said)


def fails(mesh: RunningMesh, settings: dict[str, str], device: Device) -> list[str]:
    """What commands say that cannot do it: the chain is away, the passphrase is another, a secret is a mistake."""
    account = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
    wrong = {**settings, "IG3_DEVICE_PASSPHRASE_FILE": str(device.wrong)}
    done = [
        mesh.place.ig3("did", "verify", f"did:peaq:{account}", **settings),
        mesh.place.ig3("node", "--engine", SYNTHETIC, **wrong),
        mesh.place.ig3("gateway", **{**settings, "IG3_REDIS_URL": f"no-url:{CHOSEN['password of Redis']}"}),
    ]
    assert all(each.returncode for each in done)
    return [f"{each.stdout}{each.stderr}" for each in (*done, mesh.place.ig3("doctor", **settings))]


async def shown_meanwhile(mesh: RunningMesh, ours: Authority, *credentials: str) -> str:
    """All that nats-server's monitoring shows, which has no login, while people are connected by secrets."""
    links = [await Link.connect(known_as(mesh, ours, credential)) for credential in credentials]
    (ports,) = (mesh.place.data_dir / "run").glob("*.ports")
    (monitor,) = json.loads(ports.read_text())["monitoring"]
    pages = ("varz", "connz?auth=1&subs=1&state=any", "accountz", "subsz?subs=1", "routez", "leafz", "jsz?config=1")
    try:
        async with ClientSession() as session:
            shown: list[str] = []
            for page in pages:
                async with session.get(f"{monitor}/{page}") as response:
                    shown.append(await response.text())
        return "\n".join(shown)
    finally:
        for link in links:
            await link.close()


async def everything_stored(mesh: RunningMesh, ours: Authority) -> str:
    """Every message of every stream and bucket of both accounts, with its subject and its headers."""
    credentials = Credentials.load(mesh.place.data_dir)
    options = BusOptions(
        servers=(f"tls://{mesh.place.nats}",),
        tls=ours.client(shows=True),
        name="reader",
        edge_seed=credentials.edge_service.seed_path,
        core_seed=credentials.core_service.seed_path,
    )
    found: list[str] = []
    async with await Bus.connect(options) as bus:
        for link in bus.links.values():
            for name in await stream_names(link):
                async with OrderedReader(link, name) as reader:
                    while not reader.is_caught_up:
                        found += [str(each) for each in await reader.take(wait_s=LIMIT_S)]
    return "\n".join(found)


async def test_no_secret_is_told_to_a_log_an_event_an_error_or_a_process_list(
    mesh: RunningMesh, ours: Authority, settings: dict[str, str], key: str, device: Device
) -> None:
    session, refusals = await signed_in(mesh, ours)
    forged, _ = issue_session(
        SessionKeys.load_or_create(mesh.place.folder), did="did:key:z6Mk", account="local", role="member", now_s=0
    )
    wrong = new_key().text
    for bad in (forged, wrong, f"{key}x", f"{session}x"):
        async with asking(mesh, ours, bad) as response:
            assert response.status == 401
            refusals.append(await response.text())
        refusals.append(await knocked(mesh, ours, bad))
    refusals += [await misplaced(mesh, ours, key), await misplaced(mesh, ours, session)]
    async with asking(mesh, ours, session) as response:
        assert response.status == 200
    commands = fails(mesh, settings, device)
    monitoring = await shown_meanwhile(mesh, ours, key, session)
    told = {
        "what the mesh has written": "".join(read(path) for path in written(mesh)),
        "events": await everything_stored(mesh, ours),
        "errors over HTTP and on the bus": "\n".join(refusals),
        "errors of commands": "\n".join(commands),
        "command lines": "\n".join(read(path) for path in Path("/proc").glob("[0-9]*/cmdline")),
        "settings": mesh.place.ok("config", "show", **settings),
        "monitoring": monitoring,
    }
    assert SYNTHETIC in told["what the mesh has written"]
    assert "Redis does not answer" in told["what the mesh has written"]
    assert "no endpoint of the chain can be used" in told["errors of commands"]
    assert all(event in told["events"] for event in ("key.issued.v1", "device.verified.v1", "nonce.spent.v1"))
    assert "user:local" in told["monitoring"]
    secrets = {
        **{"key": key, "its secret": key.rpartition("_")[2], "session": session, "forged": forged, "wrong": wrong},
        **{"what signs the session": session.rpartition(".")[2], **CHOSEN, **kept(mesh)},
    }
    assert len(secrets) > MOST_OF_CREDENTIALS
    found = [f"{name} in {where}" for where, text in told.items() for name, secret in secrets.items() if secret in text]
    assert not found, found


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
