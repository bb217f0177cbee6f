"""Real `ig3` nodes with the real vLLM, in a mesh of real processes. Run by ``tests.proofs.vllm``, which says how.

This process makes itself the heir of all that it starts (a subreaper): whatever outlives its node and the guard, in
whichever session or group, becomes a descendant of it, and is seen.
"""

import ctypes
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.client import HTTPResponse
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import Request, urlopen

import msgspec

from tests.processes import descendants, is_running
from tests.proofs.told import resident_mib, say, title
from tests.running_mesh import IG3, Parts, Place, Running, running_parts

START_S = 1500.0
"""A start of vLLM on two cores that others use as well."""
END_S = 60.0
SUBREAPER = 36
VECTORS = Path(__file__).parents[1] / "contract/minilm_vectors.json"
QUESTION = "What is the capital of France? Answer with its name only."


class Reference(msgspec.Struct, frozen=True):
    texts: tuple[str, ...]
    vectors: tuple[tuple[float, ...], ...]


def wait_for(what: str, condition: Callable[[], bool], patience_s: float, *parts: Running) -> float:
    """Wait until it is so, at most so long, while these run; returns the seconds that it took."""
    began = time.monotonic()
    while not condition():
        for part in parts:
            assert part.process.poll() is None, f"{part.name} has ended\n{part.place.tails()}"
        assert time.monotonic() - began < patience_s, f"{what}: not after {patience_s:.0f} s"
        time.sleep(0.02)
    return time.monotonic() - began


def ask(url: str, path: str, body: object = None) -> HTTPResponse:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "x-ig3-cache": "off"}
    return urlopen(Request(url + path, data, headers), timeout=START_S)


def engines(url: str) -> dict[str, str]:
    """Which engine serves which model."""
    with ask(url, "/v1/models") as listed:
        return {model["id"]: model["engine"] for model in json.load(listed)["data"]}


def answer(url: str, model: str) -> str:
    question = {"role": "user", "content": QUESTION}
    body = {"model": model, "messages": [question], "max_tokens": 12, "temperature": 0}
    with ask(url, "/v1/chat/completions", body) as response:
        said = json.load(response)
        usage, task = said["usage"], response.headers["x-ig3-task"]
        counted = f"{usage['prompt_tokens']} + {usage['completion_tokens']} tokens"
        return f"{said['choices'][0]['message']['content']!r}, {counted}, task {task}"


def begun_stream(url: str, model: str) -> HTTPResponse:
    """A long answer whose first words have come."""
    told = {"role": "user", "content": "Tell me a long story about the sea."}
    body = {"model": model, "messages": [told], "max_tokens": 1500, "stream": True}
    stream = ask(url, "/v1/chat/completions", body)
    while not (line := stream.readline()).startswith(b"data:") or b'"content":"' not in line.replace(b": ", b":"):
        assert line, "the answer ended before its first word"
    return stream


def below(pid: int) -> list[int]:
    """What a process has started, directly or not, and still runs."""
    return sorted(filter(is_running, descendants(pid)))


class Heirs:
    """All that this process has inherited, beside what it has started on purpose."""

    def __init__(self) -> None:
        assert ctypes.CDLL(None).prctl(SUBREAPER, 1) == 0
        self._wanted: list[Running] = []

    def want(self, *parts: Running) -> None:
        self._wanted += parts

    def left(self, known: list[int]) -> list[int]:
        """Those that run though they should not; ``known`` are of a node that is to leave nothing."""
        wanted = {pid for part in self._wanted for pid in (part.pid, *descendants(part.pid))}
        return sorted({pid for pid in (*below(os.getpid()), *known) if pid not in wanted and is_running(pid)})

    def wait_until_none(self, known: list[int]) -> float:
        try:
            return wait_for("nothing is left", lambda: not self.left(known), END_S)
        except AssertionError as error:
            left = [f"{pid} ({title(pid)[:100]})" for pid in self.left(known)]
            raise AssertionError(f"{error}; left: {', '.join(left)}") from None


class Mesh:
    """A broker and the services, and nodes with vLLM that come and go."""

    def __init__(self, parts: Parts, heirs: Heirs, folder: Path, program: Path) -> None:
        self._parts, self._heirs = parts, heirs
        self._folder, self._program = folder, program
        self.model = folder.name.lower()
        parts.start("dispatcher")
        parts.start("gateway", "--http", "127.0.0.1:0")
        parts.ready("dispatcher", "gateway")
        self.url = parts.urls["gateway"]
        heirs.want(*parts.running.values())

    def start_node(self, name: str) -> Running:
        flags = ("--engine", "vllm", "--model", str(self._folder), "--slots", "4", "--log-level", "debug")
        options = ("--vllm-program", str(self._program), "--vllm-options=--enforce-eager,--dtype=bfloat16")
        return self._parts.start(f"node-{name}", *flags, *options, "--id", name, VLLM_CPU_KVCACHE_SPACE="1")

    def wait_until_served(self, node: Running) -> None:
        took_s = wait_for("it serves", lambda: self.model in engines(self.url), START_S, node)
        running = below(node.pid)
        say(f"{node.name} serves after {took_s:.0f} s; {len(running)} processes, {resident_mib(running)} MiB")

    def end(self, node: Running, how: signal.Signals, when: str) -> None:
        """Send a signal to the node and nobody else, and see that nothing is left of it."""
        running = below(node.pid)
        assert running, f"{node.name} runs no vLLM"
        began = time.monotonic()
        node.process.send_signal(how)
        status = node.process.wait(END_S)
        ended_s = time.monotonic() - began
        self._heirs.wait_until_none(running)
        gone_s = time.monotonic() - began
        say(f"{how.name} {when}, to the node alone (it and {len(running)} processes below it):")
        say(f"    it ended with {status} after {ended_s:.1f} s, and nothing was left after {gone_s:.1f} s")
        assert status == (0 if how == signal.SIGTERM else -how)


STARTING = (
    (signal.SIGKILL, "while vLLM's first process starts", "vllm serve "),
    (signal.SIGKILL, "while its engine starts", "VLLM::EngineCore"),
    (signal.SIGKILL, "while its worker starts", "VLLM::Worker"),
    (signal.SIGTERM, "while its engine starts", "VLLM::EngineCore"),
)
"""What a node is sent, when, and how a process is called that says so."""


def check_orphans(folder: Path, program: Path) -> None:
    """A node is killed at one moment after the other."""
    heirs = Heirs()
    with TemporaryDirectory() as place, running_parts(Path(place)) as parts:
        mesh = Mesh(parts, heirs, folder, program)
        _while_it_starts(mesh)
        _while_it_serves(mesh)
        _without_its_guard(mesh)


def _while_it_starts(mesh: Mesh) -> None:
    for number, (how, when, name) in enumerate(STARTING):
        node = mesh.start_node(f"begins-{number}")
        wait_for(when, partial(_has_started, node, name), START_S, node)
        mesh.end(node, how, when)


def _has_started(node: Running, name: str) -> bool:
    return any(name in title(pid) for pid in _but_guard(node))


def _but_guard(node: Running) -> Iterator[int]:
    return (pid for pid in below(node.pid) if "die_with_parent" not in title(pid))


def _while_it_serves(mesh: Mesh) -> None:
    node = mesh.start_node("serves")
    mesh.wait_until_served(node)
    say(f"an answer through the mesh: {answer(mesh.url, mesh.model)}")
    with begun_stream(mesh.url, mesh.model):
        mesh.end(node, signal.SIGKILL, "while an answer is written")
    wait_for("it is not served", lambda: mesh.model not in engines(mesh.url), END_S)


def _without_its_guard(mesh: Mesh) -> None:
    node = mesh.start_node("stays")
    mesh.wait_until_served(node)
    first = below(node.pid)
    guard = next(pid for pid in first if "die_with_parent" in title(pid))
    os.kill(guard, signal.SIGKILL)
    took_s = wait_for("all of the first are gone", lambda: not any(map(is_running, first)), END_S, node)
    say(f"the guard killed by -9: all {len(first)} of its vLLM are gone {took_s:.1f} s later, the node runs on")
    wait_for("it is not served", lambda: mesh.model not in engines(mesh.url), END_S, node)
    mesh.wait_until_served(node)
    say(f"an answer of the second vLLM: {answer(mesh.url, mesh.model)}")
    mesh.end(node, signal.SIGTERM, "while it serves")


def check_mesh(chat: Path, embedding: Path, program: Path) -> None:
    """`ig3 up` with two vLLMs: one answers, one makes vectors."""
    heirs = Heirs()
    with TemporaryDirectory() as folder:
        variables = {
            "IG3_EMBEDDING_ENGINE": "vllm",
            "IG3_VLLM_PROGRAM": str(program),
            "IG3_VLLM_OPTIONS": "--enforce-eager,--dtype=float32",
            "VLLM_CPU_KVCACHE_SPACE": "1",
        }
        command = [str(IG3), "up", "--engine", "vllm", "--model", str(chat), "--embedding-model", str(embedding)]
        up = Running("up", command, Place(folder=Path(folder)), variables=variables)
        try:
            url = up.ready(START_S).url
            running = below(up.pid)
            models = chat.name.lower(), embedding.name.lower()
            say(f"ig3 up serves {engines(url)}; {len(running)} processes, {resident_mib(running)} MiB")
            assert engines(url).items() >= dict.fromkeys(models, "vllm").items()
            say(f"an answer through the mesh: {answer(url, models[0])}")
            _compare_vectors(url, models[1])
        finally:
            running = below(up.pid)
            up.kill()
        took_s = heirs.wait_until_none(running)
        say(f"ig3 up killed by -9: nothing is left of {len(running)} processes {took_s:.1f} s later")


def _compare_vectors(url: str, model: str) -> None:
    reference = msgspec.json.decode(VECTORS.read_bytes(), type=Reference)
    with ask(url, "/v1/embeddings", {"model": model, "input": reference.texts}) as response:
        said, task = json.load(response), response.headers["x-ig3-task"]
    vectors = [item["embedding"] for item in said["data"]]
    pairs = zip(vectors, reference.vectors, strict=True)
    furthest = max(abs(a - b) for one, other in pairs for a, b in zip(one, other, strict=True))
    say(f"/v1/embeddings: {len(vectors)} vectors, {said['usage']}, task {task}")
    say(f"no number is farther than {furthest:.1e} from the reference")
    assert furthest < 1e-3
