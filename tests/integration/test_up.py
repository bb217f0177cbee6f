"""`ig3 up` as its user sees it: one command, real processes, and nothing left behind."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from mesh.processes.readiness import Ready, read_announcement
from tests.processes import PATIENCE_S, descendants, is_running, wait_until

pytestmark = pytest.mark.timeout(240)


class Up:
    """A running `ig3 up`."""

    def __init__(self, process: subprocess.Popen[str], ready: Ready, folder: Path) -> None:
        self.process = process
        self.ready = ready
        self.folder = folder

    def open(self, patience_s: float = PATIENCE_S, **wishes: object) -> HTTPResponse:
        """Ask for a chat completion; the answer is still to be read."""
        body = {"model": "synthetic", "messages": [{"role": "user", "content": "Hello"}], **wishes}
        headers = {"content-type": "application/json"}
        request = Request(f"{self.ready.url}/v1/chat/completions", json.dumps(body).encode(), headers)
        return urlopen(request, timeout=patience_s)

    def ask(self, max_tokens: int = 5, patience_s: float = PATIENCE_S) -> str:
        with self.open(patience_s, max_tokens=max_tokens) as answer:
            return json.load(answer)["choices"][0]["message"]["content"]

    def family(self) -> dict[int, str]:
        """Process ids of everything below it, with the name of the command or program."""
        return descendants(self.process.pid)

    def pid_of(self, name: str) -> int:
        return next(pid for pid, other in self.family().items() if other == name)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(timeout=PATIENCE_S)


def arguments_for(folder: Path, *arguments: str) -> list[str]:
    command = [sys.executable, "-P", "-m", "mesh.cli", "up", "--engine", "synthetic", "--http", ":0", "--nats", ":0"]
    return [*command, "--data-dir", str(folder), *arguments]


@contextmanager
def running(folder: Path, *arguments: str, **variables: str) -> Iterator[Up]:
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        arguments_for(folder, *arguments),
        cwd=folder.parent,
        # Nodes are not lost where this machine freezes them for seconds.
        env={**os.environ, "IG3_HEARTBEAT": "10s", **variables, "IG3_READY_FD": str(write_end)},
        pass_fds=(write_end,),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    os.close(write_end)
    try:
        with os.fdopen(read_end, "rb") as pipe:
            ready = read_announcement(pipe.readline())
        if not isinstance(ready, Ready):
            raise AssertionError(f"it did not start:\n{process.communicate()[0]}")
        yield Up(process, ready, folder)
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("up") / "a folder", "--nodes", "2") as up:
        yield up


def test_it_answers_when_it_says_it_is_ready(mesh: Up) -> None:
    assert len(mesh.ask(max_tokens=5).split()) == 5
    assert mesh.ready.models == ("synthetic", "synthetic")


def test_every_part_is_a_process_of_its_own(mesh: Up) -> None:
    # The ledger is `ig3 ledger run`.
    parts = ["broker", "dispatcher", "gateway", "identity", "nats-server", "node", "node", "retrieval", "run"]
    assert sorted(mesh.family().values()) == parts


def test_ours_share_one_process_group(mesh: Up) -> None:
    ours = [pid for pid, name in mesh.family().items() if name != "nats-server"]
    assert {os.getpgid(pid) for pid in ours} == {os.getpgid(mesh.process.pid)}


def test_nodes_on_one_folder_have_ids_of_their_own(mesh: Up) -> None:
    ids = {path.read_text() for path in mesh.folder.glob("node-id*")}
    assert len(ids) == 2


def test_another_mesh_on_the_same_folder_is_refused(mesh: Up) -> None:
    done = subprocess.run(arguments_for(mesh.folder), capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1
    assert f"already runs on {mesh.folder} (pid {mesh.process.pid}, {mesh.ready.url})" in done.stderr
    assert mesh.ask()


def test_another_mesh_runs_beside_it_in_its_own_folder(mesh: Up, tmp_path: Path) -> None:
    with running(tmp_path / "other") as other:
        assert other.ready.url != mesh.ready.url
        assert other.ask()
        assert mesh.ask()


@pytest.mark.parametrize("name", ["gateway", "dispatcher", "identity", "node", "broker", "nats-server"])
def test_a_part_that_is_killed_comes_back_where_it_was(mesh: Up, name: str) -> None:
    killed = mesh.pid_of(name)
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: sorted(mesh.family().values()).count(name) >= 1 and killed not in mesh.family())
    wait_until(lambda: answers(mesh))


def answers(mesh: Up) -> bool:
    try:
        # One that was asked in the moment of the death may wait for long: another is asked for meanwhile.
        return bool(mesh.ask(patience_s=PATIENCE_S / 6))
    except OSError:
        return False


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_says_what_to_try_and_nothing_runs_after_it_was_stopped(tmp_path: Path, how: signal.Signals) -> None:
    with running(tmp_path / "data") as up:
        family = up.family()
        assert up.stop(how) == 0
        assert [pid for pid in family if is_running(pid)] == []
        output = up.process.communicate(timeout=PATIENCE_S)[0]
    assert f"  page  {up.ready.url}/\n" in output
    assert f"curl -N {up.ready.url}/v1/chat/completions" in output
    # By its path, where the shell would not find it by its name.
    assert re.search(rf"IG3_DATA_DIR={tmp_path}/data (\S+/)?ig3 chat\n", output)


def test_a_second_ctrl_c_does_not_wait_for_running_answers(tmp_path: Path) -> None:
    patient = {"IG3_STOP_TIMEOUT": "1h", "IG3_HTTP_STOP_TIMEOUT": "1h", "IG3_DRAIN": "1h"}
    with running(tmp_path / "data", "--token-delay-ms", "1000", **patient) as up:
        family = up.family()
        with up.open(max_tokens=1000, stream=True):
            up.process.send_signal(signal.SIGINT)
            assert up.process.stdout is not None
            assert any("Stopping" in line for line in up.process.stdout)
            assert up.stop(signal.SIGINT) == 0
        wait_until(lambda: not any(is_running(pid) for pid in family))


def test_nothing_runs_after_it_was_killed_and_it_can_be_started_again_at_once(tmp_path: Path) -> None:
    with running(tmp_path / "data") as up:
        family = up.family()
        up.stop(signal.SIGKILL)
    with running(tmp_path / "data") as again:
        assert [pid for pid in family if is_running(pid)] == []
        assert again.ask()


def test_a_part_that_cannot_start_ends_it_with_the_reason(tmp_path: Path) -> None:
    command = arguments_for(tmp_path / "data", "--engine", "xllamacpp", "--model", "no-such-model")
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1
    assert "ig3: node-1 did not start: no model 'no-such-model'" in done.stderr


def test_a_mistake_in_a_setting_is_told_before_anything_starts(tmp_path: Path) -> None:
    done = subprocess.run(
        arguments_for(tmp_path / "data"), env={"IG3_DRAIN": "soon"}, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 1
    assert done.stderr.startswith("ig3: drain = 'soon' (from IG3_DRAIN) cannot be used")
    assert not (tmp_path / "data").exists()
