"""Nodes as processes on machines of their own, as far as the network goes: each in a namespace, joined by a bridge."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from nodes.engine import DEFAULT_MODEL
from nodes.shards.rpc_binding import RPC_PORT
from tests.integration.shards.whole import QUESTION, whole_answer
from tests.processes import PATIENCE_S
from tests.running_mesh import IG3, Parts, Place, Running

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

TOKENS = 96
PORT = 7300
NET = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"
"""Another one for each process that runs these tests at a time."""
HUB, LEADER, A, B = (f"{NET}.{host}" for host in (1, 2, 3, 4))
TAG = f"ig{os.getpid() % 100_000}"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def network() -> Iterator[None]:
    """A bridge in the namespace of this process, and a namespace for each node with one end of a cable in it."""
    bridge, names = f"{TAG}br", [f"{TAG}{number}" for number in (2, 3, 4)]
    try:
        ip("link", "add", bridge, "type", "bridge")
        ip("addr", "add", f"{HUB}/24", "dev", bridge)
        ip("link", "set", bridge, "up")
        for name, address in zip(names, (LEADER, A, B), strict=True):
            ip("netns", "add", name)
            ip("link", "add", f"{name}v", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"{name}v", "master", bridge, "up")
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "delete", bridge], check=False, capture_output=True)


@dataclass
class Mesh:
    parts: Parts
    nodes: dict[str, Running] = field(default_factory=dict)

    def start(self, name: str, address: str, *arguments: str) -> None:
        """Start a node where `address` is."""
        namespace = f"{TAG}{address.rpartition('.')[2]}"
        flags = ("--id", name, "--model", "none", "--context", "512", "--threads", "1", "--drain", "0s")
        command = ["ip", "netns", "exec", namespace, str(IG3), "node", *flags, *arguments]
        self.nodes[name] = Running(name, command, self.parts.place)
        self.nodes[name].ready()

    def lend(self, name: str, address: str, memory: str) -> None:
        self.start(name, address, "--shard-listen", f"{address}:{PORT}", "--shard-memory", memory)

    def lead(self, name: str, memory: str) -> None:
        self.start(name, LEADER, "--shard-model", DEFAULT_MODEL, "--shard-memory", memory)

    def groups(self, *flags: str) -> list[dict[str, Any]]:
        """What `ig3 groups list` says."""
        return [json.loads(line) for line in self.parts.place.ok("groups", "list", "--json", *flags).splitlines()]

    def group(self, leader: str) -> dict[str, Any]:
        """Wait until a group of this leader serves and its model is offered; the end of another may be told late."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for group in self.groups():
                if (group["state"], group["leader"]) == ("ready", leader) and DEFAULT_MODEL in self.offered():
                    return group
        raise AssertionError(f"no group came together\n{self.parts.place.tails()}")

    def ready(self, leader: str) -> dict[str, int]:
        """Wait for the same; returns who holds how many layers."""
        return {each["node"]: each["layers"] for each in self.group(leader)["members"] if "layers" in each}

    def offered(self) -> list[str]:
        answer = httpx.get(f"{self.parts.urls['gateway']}/v1/models", timeout=PATIENCE_S, trust_env=False)
        return [model["id"] for model in answer.json()["data"]]

    def chat(self, *, stream: bool) -> AbstractContextManager[httpx.Response]:
        body = {
            "model": DEFAULT_MODEL,
            "messages": [{"role": "user", "content": QUESTION}],
            "max_tokens": TOKENS,
            "temperature": 0,
            "stream": stream,
        }
        url = f"{self.parts.urls['gateway']}/v1/chat/completions"
        # Each time by the group itself, and not from the cache.
        headers = {"x-ig3-cache": "off"}
        return httpx.stream("POST", url, json=body, headers=headers, timeout=PATIENCE_S, trust_env=False)

    def answer(self) -> str:
        with self.chat(stream=False) as answer:
            return json.loads(answer.read())["choices"][0]["message"]["content"]

    def stop(self, name: str) -> None:
        self.nodes.pop(name).stop()


@pytest.fixture(scope="module")
def mesh(network: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """The services beside the bridge, and two nodes that lend memory."""
    parts = Parts(place=Place(folder=tmp_path_factory.mktemp("mesh"), nats=f"{HUB}:0"))
    mesh = Mesh(parts)
    try:
        parts.start_broker()
        for part in ("identity", "dispatcher", "gateway"):
            parts.start(part)
            parts.ready(part)
        mesh.lend("a", A, "104MiB")
        yield mesh
    finally:
        for running in mesh.nodes.values():
            running.stop()
        parts.stop()


@pytest.fixture(scope="module")
def expected() -> str:
    return whole_answer(TOKENS)


def test_two_nodes_split_a_model(mesh: Mesh, expected: str) -> None:
    mesh.lead("pair", "150MiB")
    layers = mesh.ready("pair")
    assert set(layers) == {"pair", "a"}
    assert min(layers.values()) > 0
    assert mesh.answer() == expected
    mesh.stop("pair")


def test_three_nodes_split_a_model(mesh: Mesh, expected: str) -> None:
    mesh.lend("b", B, "80MiB")
    mesh.lead("leader", "64MiB")
    layers = mesh.ready("leader")
    assert set(layers) == {"leader", "a", "b"}
    assert min(layers.values()) > 0
    assert mesh.answer() == expected


def listening(pid: int) -> set[tuple[str, int]]:
    """Where anything listens in the network of a process."""
    found: set[tuple[str, int]] = set()
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        local, state = line.split()[1], line.split()[3]
        if state == "0A":
            host, port = local.split(":")
            found.add((socket.inet_ntoa(bytes.fromhex(host)[::-1]), int(port, 16)))
    return found


def test_a_member_has_one_door_and_a_stranger_gets_nothing_there(mesh: Mesh) -> None:
    assert listening(mesh.nodes["a"].pid) == {(A, PORT)}
    assert listening(mesh.nodes["leader"].pid) == set()
    for address in (A, B, LEADER):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address, RPC_PORT), timeout=PATIENCE_S)
    with socket.create_connection((A, PORT), timeout=PATIENCE_S) as stranger:
        stranger.sendall(b"R" + bytes([14]) + (24).to_bytes(8, "little") + bytes(24))
        got = stranger.recv(1024)
        # The alert of a handshake that failed (RFC 8446, section 6), or nothing.
        assert got[:1] in {b"", b"\x15"}
        assert len(got) <= 7


def test_an_answer_goes_on_when_a_member_is_killed(mesh: Mesh, expected: str) -> None:
    goes_on = False
    while not goes_on:
        before = mesh.group("leader")
        text, task = answer_while_a_member_dies(mesh)
        assert text == expected
        # Where this process stands still for a while, the answer may be whole before the member dies: then again.
        goes_on = "attempt 2" in mesh.parts.place.ok("explain", task)
    groups = mesh.groups("--all")
    (over,) = (group for group in groups if group["group"] == before["group"])
    assert over["state"] == "dissolved"
    assert "a" in over["reason"]
    assert any(group.get("replaces") == over["group"] for group in groups)


def answer_while_a_member_dies(mesh: Mesh) -> tuple[str, str]:
    """Kill a member at the first words of an answer, and start it again; returns the whole answer and its task."""
    text, has_died = "", False
    with mesh.chat(stream=True) as answer:
        for data in (line[6:] for line in answer.iter_lines() if line.startswith("data: ")):
            if data == "[DONE]":
                break
            choices = json.loads(data)["choices"]
            text += choices[0]["delta"].get("content") or "" if choices else ""
            if text and not has_died:
                has_died = True
                member = mesh.nodes.pop("a")
                os.killpg(member.pid, signal.SIGKILL)
                member.process.wait()
                mesh.lend("a", A, "104MiB")
        return text, answer.headers["x-ig3-task"]
