"""Real `ig3` processes for tests that use a mesh as its users do: on free ports, in a folder of their own.

Each process says on a pipe when it is ready (docs/processes.md). What a process writes goes to a
file beside its mesh's folder; a process that does not come up, or does not stop, fails the test with the logs' tails.
"""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

from mesh.processes.readiness import Ready, read_announcement
from tests.processes import PATIENCE_S, wait_until

ROOT = Path(__file__).parents[1]
IG3 = Path(sys.executable).with_name("ig3")
SMALL_MODEL = "smollm2-135m-instruct"
SMALL_EMBEDDING_MODEL = "all-minilm-l6-v2"
SYNTHETIC = "synthetic"
WHOLE_MESH_S = 150.0
"""Long enough for nine programs that load behind each other, on two cores that are busy and stand still at times."""

PATIENT: Mapping[str, str] = {"IG3_HEARTBEAT": "10s"}
"""Settings of nodes that this machine may freeze for seconds: the mesh does not take them for lost."""

_TAIL_BYTES = 3000
_OF_OTHERS = ("IG3_", "MAKE", "MFLAGS", "PYTEST_")
NONE: Mapping[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a mesh lives and listens. Everything about it lies under `folder`."""

    folder: Path
    http: str = "127.0.0.1:0"
    nats: str = "127.0.0.1:0"

    @property
    def data_dir(self) -> Path:
        """What `--data-dir` says."""
        return self.folder / "data"

    @property
    def variables(self) -> dict[str, str]:
        """What another shell needs to find this mesh, without a word of the shell that runs the tests."""
        clean = {name: text for name, text in os.environ.items() if not name.startswith(_OF_OTHERS)}
        here = {"IG3_DATA_DIR": str(self.data_dir), "IG3_NATS": self.nats, "IG3_HTTP": self.http}
        return {**clean, **here, "COLUMNS": "120"}

    def run(
        self,
        *command: str | Path,
        cwd: Path | None = None,
        variables: Mapping[str, str] = NONE,
        patience_s: float = WHOLE_MESH_S,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, as from a shell that knows where the mesh is."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return subprocess.run(
            [str(part) for part in command],
            cwd=cwd or self.folder,
            env={**self.variables, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=patience_s,
        )

    def ig3(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `ig3` to its end, whatever its exit status."""
        return self.run(IG3, *arguments, variables=variables)

    def ok(self, *arguments: str, **variables: str) -> str:
        """Run `ig3`, which must succeed, and return what it wrote to standard output."""
        done = self.ig3(*arguments, **variables)
        assert done.returncode == 0, f"{done.args} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def tails(self) -> str:
        """The ends of all logs under the folder, for the message of a test that fails."""
        found = sorted({*self.folder.glob("*.log"), *self.data_dir.glob("logs/*.log")})
        return "\n".join(f"--- {path}\n{_tail(path)}" for path in found)


class Running:
    """One `ig3` process, with a process group of its own. A context manager stops it."""

    def __init__(
        self,
        name: str,
        command: list[str],
        place: Place,
        *,
        cwd: Path | None = None,
        variables: Mapping[str, str] = NONE,
    ) -> None:
        self.name = name
        self.place = place
        place.folder.mkdir(parents=True, exist_ok=True)
        self.log = place.folder / f"{name}.log"
        self._read_end, write_end = os.pipe()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=cwd or place.folder,
                env={**place.variables, **variables, "IG3_READY_FD": str(write_end)},
                pass_fds=(write_end,),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        os.close(write_end)

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its process group and of its session."""
        return self.process.pid

    @property
    def output(self) -> str:
        """What it has written so far, to standard output and to standard error."""
        return self.log.read_text()

    def ready(self, patience_s: float = WHOLE_MESH_S) -> Ready:
        """Wait until it says that it serves."""
        deadline = time.monotonic() + patience_s
        with os.fdopen(self._read_end, "rb", buffering=0) as pipe:
            seen = b""
            while time.monotonic() < deadline:
                if not select.select([pipe], [], [], deadline - time.monotonic())[0]:
                    break
                read = pipe.read(65_536)
                seen += read
                for line in seen.splitlines():
                    if isinstance(announced := read_announcement(line), Ready):
                        return announced
                if not read:
                    break
        raise AssertionError(f"{self.name} did not come up; status {self.process.poll()}\n{self.place.tails()}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop, if it runs, and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()
            raise AssertionError(f"{self.name} did not stop\n{self.place.tails()}") from None

    def kill(self) -> None:
        """End it as a crash would."""
        self.stop(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


@dataclass(kw_only=True)
class RunningMesh:
    """A whole mesh that one command runs: `ig3 up`."""

    up: Running
    place: Place
    models: tuple[str, ...]

    @property
    def url(self) -> str:
        """Where its gateway listens."""
        return f"http://{self.place.http}"

    @property
    def model(self) -> str:
        """The model that its node serves."""
        return self.models[0]


@contextmanager
def running_up(
    folder: Path,
    *arguments: str,
    command: tuple[str, ...] = (str(IG3), "up"),
    cwd: Path | None = None,
    variables: Mapping[str, str] = NONE,
) -> Iterator[RunningMesh]:
    """Run `ig3 up` in an empty folder, or one of an earlier run, and stop it at the end.

    Args:
        folder: where everything of this mesh goes.
        arguments: flags of `ig3 up`.
        command: another way to start the same, such as `make up`.
        cwd: where that command is given, if not in `folder`.
        variables: settings; more than those of patient nodes.
    """
    asked = Place(folder=folder)
    with Running("up", [*command, *arguments], asked, cwd=cwd, variables={**PATIENT, **variables}) as up:
        ready = up.ready()
        place = replace(asked, http=urlsplit(ready.url).netloc, nats=_nats_of(up))
        yield RunningMesh(up=up, place=place, models=ready.models)


@dataclass(kw_only=True)
class Parts:
    """A mesh whose parts a test starts one by one, as an operator of several machines does."""

    place: Place
    running: dict[str, Running] = field(default_factory=dict[str, Running])
    urls: dict[str, str] = field(default_factory=dict[str, str])
    told: dict[str, Running] = field(default_factory=dict[str, Running])
    """Who said so: one that was started again since listens elsewhere."""

    def start(self, name: str, *arguments: str, **variables: str) -> Running:
        """Start `ig3 <part>`, where `name` is `node`, `node-b` and so on; `ready` waits for it."""
        command = [str(IG3), name.partition("-")[0], *arguments]
        self.running[name] = Running(name, command, self.place, variables=variables)
        return self.running[name]

    def ready(self, *names: str) -> None:
        """Wait for parts, and remember where they listen; gateways have heard of the nodes among them."""
        models: set[str] = set()
        for name in names:
            announced = self.running[name].ready()
            self.urls[name], self.told[name] = announced.url, self.running[name]
            models.update(announced.models)
        for name, gateway in list(self.told.items()):
            if models and name.startswith("gateway"):
                url = self.urls[name]
                wait_until(partial(self._has_heard, name, gateway, url, models))

    def _has_heard(self, name: str, gateway: Running, url: str, models: set[str]) -> bool:
        """Whether a gateway knows of nodes; one that ends meanwhile, or is started again, is not waited for."""
        is_there = self.running[name] is gateway and gateway.process.poll() is None
        return not is_there or has_heard(url, models)

    def start_broker(self, *arguments: str) -> None:
        """Start the broker and wait for it; the other parts find it by `place`."""
        self.start("broker", *arguments)
        self.ready("broker")
        self.place = replace(self.place, nats=urlsplit(self.urls["broker"]).netloc)

    def stop(self) -> None:
        """Stop what runs, the broker last."""
        for running in reversed(self.running.values()):
            running.stop()


@contextmanager
def running_parts(folder: Path) -> Iterator[Parts]:
    """A mesh with nothing but a broker, and the identity service that it asks."""
    parts = Parts(place=Place(folder=folder))
    try:
        parts.start_broker()
        parts.start("identity")
        parts.ready("identity")
        yield parts
    finally:
        parts.stop()


def await_models(gateway: str, models: set[str]) -> None:
    """A gateway hears of a node a moment after the node itself; one that tells strangers nothing is not waited for."""
    if models:
        wait_until(partial(has_heard, gateway, models))


def has_heard(gateway: str, models: set[str]) -> bool:
    """Whether a gateway lists models, or does not say to strangers."""
    try:
        with urlopen(f"{gateway}/v1/models", timeout=PATIENCE_S) as answer:
            return models <= {model["id"] for model in json.load(answer)["data"]}
    except HTTPError as refused:
        return refused.code == HTTPStatus.UNAUTHORIZED
    except OSError:
        # It stands still, or is not there yet.
        return False


def _nats_of(up: Running) -> str:
    """Where the broker of `ig3 up` listens, or each server of its cluster, as it tells its user."""
    found = dict(re.findall(r"^(broker\S*) +ready: (?:nats|tls)://([^ ,]+),", up.output, re.MULTILINE))
    assert found, f"it does not say where the broker listens:\n{up.output}"
    return ",".join(found[name] for name in sorted(found))


def _tail(path: Path) -> str:
    return path.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
