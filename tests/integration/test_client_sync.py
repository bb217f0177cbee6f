"""The client without async: plain calls and iterators, a thread that goes away, and interrupts that lose nothing."""

import _thread
import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import pytest

import mesh
from mesh.client.sync import SyncClient
from streams.tasks.task_id import new_task_id
from tests.scripted_mesh import WORDS, ScriptedMesh, scripted_mesh

MODEL = "some-model"
TEXT = "".join(WORDS)
T = TypeVar("T")


class MeshInThread:
    """A scripted mesh beside the test, which itself runs without an event loop."""

    def __init__(self, folder: Path) -> None:
        self._started: Future[tuple[asyncio.AbstractEventLoop, ScriptedMesh, asyncio.Event]] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(folder)))
        self._thread.start()
        self._loop, self.mesh, self._stop = self._started.result(30)

    async def _run(self, folder: Path) -> None:
        stop = asyncio.Event()
        async with scripted_mesh(folder) as running:
            self._started.set_result((asyncio.get_running_loop(), running, stop))
            await stop.wait()

    def do(self, action: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(action)

    def close(self) -> None:
        self.do(self._stop.set)
        self._thread.join()


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[MeshInThread]:
    running = MeshInThread(tmp_path)
    yield running
    running.close()


def connect(beside: MeshInThread) -> SyncClient:
    return mesh.connect_sync(beside.mesh.url, account="local", data_dir=beside.mesh.folder)


def client_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "ig3-client"]


def test_a_plain_loop_prints_an_answer(beside: MeshInThread) -> None:
    with connect(beside) as client:
        answer = client.submit(MODEL, "Why is the sky blue?", max_tokens=64)
        assert "".join(piece.text for piece in answer) == TEXT
        assert answer.result().finish_reason == "stop"


def test_pieces_come_before_the_end(beside: MeshInThread) -> None:
    beside.mesh.pause_after = 3
    with connect(beside) as client:
        pieces = iter(client.submit(MODEL, "hello"))
        assert [next(pieces).text for _ in range(3)] == list(WORDS[:3])
        beside.do(beside.mesh.go.set)
        assert [piece.text for piece in pieces] == list(WORDS[3:])


def test_cancel_resume_events_and_watch(beside: MeshInThread) -> None:
    beside.mesh.pause_after = 3
    with connect(beside) as client, client.watch() as watch:
        answer = client.submit(MODEL, "hello")
        assert [next(iter(watch)).task for _ in range(4)] == [answer.task] * 4
        assert answer.cancel().outcome == "cancelled"
        assert [step.event.n for step in client.resume(answer.task, after=1).events()] == [2, 3, 4, 5]
        with pytest.raises(mesh.TaskCancelledError):
            list(client.resume(answer.task))


def test_errors_come_through(beside: MeshInThread) -> None:
    with connect(beside) as client, pytest.raises(mesh.TaskRefused, match="there is no task"):
        client.resume(new_task_id()).result()


def test_the_thread_ends_with_the_client(beside: MeshInThread) -> None:
    with connect(beside) as client:
        assert len(client_threads()) == 1
    assert client_threads() == []
    client.close()
    with pytest.raises(mesh.BusUnavailable, match="closed"):
        client.submit(MODEL, "hello")


def test_a_connection_that_fails_leaves_no_thread(beside: MeshInThread) -> None:
    with pytest.raises(mesh.BusUnavailable, match="cannot reach the bus"):
        mesh.connect_sync("nats://127.0.0.1:1", data_dir=beside.mesh.folder)
    assert client_threads() == []


def test_closing_from_another_thread_ends_who_waits(beside: MeshInThread) -> None:
    beside.mesh.pause_after = 1
    client = connect(beside)
    pieces = iter(client.submit(MODEL, "hello"))
    assert next(pieces).text == WORDS[0]
    threading.Timer(0.2, client.close).start()
    with pytest.raises(mesh.BusUnavailable):
        next(pieces)


def interrupted(pieces: Iterator[object]) -> None:
    """Wait for a piece, with Ctrl-C soon: it comes in here, wherever this thread stands then."""
    threading.Timer(0.2, _thread.interrupt_main).start()
    next(pieces)


def test_an_interrupt_ends_the_wait_and_nothing_else(beside: MeshInThread) -> None:
    beside.mesh.pause_after = 3
    with connect(beside) as client:
        answer = client.submit(MODEL, "hello")
        pieces = iter(answer)
        assert [next(pieces).text for _ in range(3)] == list(WORDS[:3])
        with pytest.raises(KeyboardInterrupt):
            interrupted(pieces)
        assert answer.cancel("interrupted").outcome == "cancelled"
        assert answer.result(check=False).text == "".join(WORDS[:3])
