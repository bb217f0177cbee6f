"""What a hit of the response cache costs and how long it takes, with each store, and how often a crowd is generated.

``python -m benchmarks.cache``. A whole mesh (``ig3 up``, synthetic engine), a client here that asks one question after
the other on one connection. CPU is user and system time per request: of the gateway, and of the store's server.
"""

import asyncio
import contextlib
import http.client
import json
import os
import time
from collections.abc import Iterator
from statistics import median, quantiles
from typing import NamedTuple

import click
from aiohttp import ClientSession

from benchmarks.measured import cost_of
from benchmarks.running_mesh import RunningMesh, running_mesh
from tests.valkey_server import ValkeyServer

ROUNDS = 5
REQUESTS = 400
CROWD = 100
ANSWER_TOKENS = 200
TOKEN_DELAY_MS = 2.0
PATH = "/v1/chat/completions"


class Figures(NamedTuple):
    """One round: milliseconds that clients waited, and CPU milliseconds per request."""

    p50_ms: float
    p99_ms: float
    gateway_ms: float
    server_ms: float


def main() -> None:
    """Run everything and print it."""
    for durability in ("process", "power"):
        with running_mesh(durability=durability, token_delay_ms=TOKEN_DELAY_MS) as mesh:
            _compare(f"NATS ({durability})", mesh, [mesh.pids["nats-server"]])
    with _redis() as server, running_mesh(durability="process", token_delay_ms=TOKEN_DELAY_MS) as mesh:
        _compare("Redis", mesh, [server.pid])


@contextlib.contextmanager
def _redis() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        os.environ["IG3_REDIS_URL"] = server.url
        try:
            yield server
        finally:
            del os.environ["IG3_REDIS_URL"]


def _compare(name: str, mesh: RunningMesh, servers: list[int]) -> None:
    """Whole answers and streams of the same question; then questions that nobody has asked, and a crowd that does."""
    _until_kept(mesh)
    for what, body in (("hit, whole", _body("kept")), ("hit, stream", {**_body("kept"), "stream": True})):
        rounds = [_measure(mesh, servers, [body] * REQUESTS, "hit") for _ in range(ROUNDS + 1)][1:]
        _print(name, what, rounds)
    for what, fields, outcome in (
        ("1 token, bypass", {"temperature": 1}, "bypass"),
        ("1 token, miss", {"temperature": 0}, "miss"),
    ):
        rounds = []
        for _ in range(ROUNDS + 1):
            bodies = [{**_body(f"new {time.time_ns()}"), "max_tokens": 1, **fields} for _ in range(REQUESTS // 4)]
            rounds.append(_measure(mesh, servers, bodies, outcome))
        _print(name, what, rounds[1:])
    tasks, wait_ms = asyncio.run(_crowd(mesh))
    click.echo(f"{name:<16} {CROWD} equal requests at once: {tasks} generated, all answered in {wait_ms:.0f} ms")


def _print(name: str, what: str, rounds: list[Figures]) -> None:
    found = Figures(*(median(part) for part in zip(*rounds, strict=True)))
    waits = f"p50 {found.p50_ms:5.2f} ms   p99 {found.p99_ms:5.2f} ms"
    click.echo(f"{name:<16} {what:<16} {waits}   gateway {found.gateway_ms:.2f} ms   server {found.server_ms:.2f} ms")


def _body(text: str) -> dict[str, object]:
    messages = [{"role": "user", "content": text}]
    return {"model": "synthetic", "temperature": 0, "max_tokens": ANSWER_TOKENS, "messages": messages}


def _until_kept(mesh: RunningMesh) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", mesh.http_port)
    while _ask(connection, json.dumps(_body("kept")).encode()) != "hit":
        time.sleep(0.1)
    connection.close()


def _ask(connection: http.client.HTTPConnection, body: bytes) -> str | None:
    connection.request("POST", PATH, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    response.read()
    if response.status != http.HTTPStatus.OK:
        raise SystemExit(f"the gateway answers {response.status}")
    return response.headers["x-ig3-cache"]


def _measure(mesh: RunningMesh, servers: list[int], bodies: list[dict[str, object]], outcome: str) -> Figures:
    connection = http.client.HTTPConnection("127.0.0.1", mesh.http_port)
    gateway = [mesh.pids["gateway"]]
    raw = [json.dumps(body).encode() for body in bodies]
    cpu, servers_cpu, waits = cost_of(gateway).cpu_s, cost_of(servers).cpu_s, list[float]()
    for body in raw:
        begun = time.perf_counter()
        found = _ask(connection, body)
        waits.append((time.perf_counter() - begun) * 1000)
        if found != outcome:
            raise SystemExit(f"{found} instead of {outcome}: is something else asking?")
    spent = cost_of(gateway).cpu_s - cpu, cost_of(servers).cpu_s - servers_cpu
    connection.close()
    own_ms, servers_ms = (part / len(bodies) * 1000 for part in spent)
    return Figures(median(waits), quantiles(waits, n=100)[98], own_ms, servers_ms)


async def _crowd(mesh: RunningMesh) -> tuple[int, float]:
    """How many tasks a crowd has had generated, and when the last of it had its answer, in milliseconds."""
    body, url = _body(f"crowd {time.time_ns()}"), f"http://127.0.0.1:{mesh.http_port}{PATH}"
    tasks: set[str] = set()

    async def ask(session: ClientSession) -> None:
        async with session.post(url, json=body) as response:
            await response.read()
            tasks.add(response.headers["x-ig3-task"])

    async with ClientSession() as session:
        begun = time.perf_counter()
        await asyncio.gather(*(ask(session) for _ in range(CROWD)))
        return len(tasks), (time.perf_counter() - begun) * 1000


if __name__ == "__main__":
    main()
