"""Taking work from a queue: never more at once than the window, and nothing is left behind or taken twice."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest

from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.bus.work import Work, WorkQueue
from tests.nats_server import NatsServer

pytestmark = pytest.mark.usefixtures("patient_answers")

LIMIT_S = 30
MESSAGES = 60
WINDOW = 7


@pytest.fixture
async def link(nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Link]:
    # A broker that hangs for longer than that is asked anew, and may then serve both questions.
    monkeypatch.setattr("mesh.bus.work._HEARTBEAT", timedelta(seconds=14))
    link = await Link.connect(LinkOptions(servers=(nats_server.url,), name="t", inbox_prefix="_INBOX.svc.t"))
    await api(link, "STREAM.CREATE.W", {"name": "W", "subjects": ["w.*"]})
    config = {"durable_name": "c", "ack_policy": "explicit", "ack_wait": 60 * 10**9, "max_ack_pending": 1000}
    await api(link, "CONSUMER.CREATE.W.c", {"stream_name": "W", "config": config})
    yield link
    await link.close()


async def api(link: Link, subject: str, body: dict[str, object]) -> dict[str, object]:
    answer = json.loads((await link.request(f"$JS.API.{subject}", json.dumps(body).encode() if body else b"")).data)
    assert "error" not in answer, answer
    return answer


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not holds():  # noqa: ASYNC110 - a queue tells nobody what it holds
            await asyncio.sleep(0.002)


class Worker:
    """Holds what it is given, and notes the most that it ever held."""

    def __init__(self, link: Link, *, window: int) -> None:
        self.queue = WorkQueue(link, "W", "c", self.take, window=window)
        self.taken: list[Work] = []
        self.most = 0

    def take(self, work: Work) -> None:
        self.taken.append(work)
        self.most = max(self.most, self.queue.held)


async def publish(link: Link) -> None:
    for number in range(MESSAGES):
        await link.append(f"w.{number}", b"x")


@pytest.mark.parametrize("first", ["messages", "queue"])
async def test_no_more_is_held_at_once_than_the_window(link: Link, first: str) -> None:
    worker = Worker(link, window=WINDOW)
    if first == "messages":
        await publish(link)
    await worker.queue.start()
    if first == "queue":
        await publish(link)
    await until(lambda: worker.queue.held == WINDOW)
    info = await api(link, "CONSUMER.INFO.W.c", {})
    # The broker has handed out no more either: what waits at this process could not go to another one. (Its count of
    # what is still to come, num_pending, may be some messages off for a while.)
    assert info["num_ack_pending"] == WINDOW

    for number in range(MESSAGES):
        await until(lambda number=number: len(worker.taken) > number)
        worker.taken[number].done()
    await worker.queue.stop()
    assert worker.most == WINDOW
    assert Counter(work.subject for work in worker.taken) == Counter(f"w.{number}" for number in range(MESSAGES))


async def test_two_share_what_there_is_each_within_its_window(link: Link) -> None:
    workers = [Worker(link, window=WINDOW), Worker(link, window=2)]
    for worker in workers:
        await worker.queue.start()
    await publish(link)
    await until(lambda: [worker.queue.held for worker in workers] == [WINDOW, 2])
    while sum(len(worker.taken) for worker in workers) < MESSAGES:
        for worker in workers:
            for work in worker.taken[-worker.queue.held :]:
                work.done()
        await asyncio.sleep(0)
    await until(lambda: sum(len(worker.taken) for worker in workers) == MESSAGES)
    for worker in workers:
        await worker.queue.stop()
    assert [worker.most for worker in workers] == [WINDOW, 2]


async def test_what_is_given_back_makes_room_too(link: Link) -> None:
    worker = Worker(link, window=2)
    await worker.queue.start()
    await publish(link)
    await until(lambda: worker.queue.held == 2)
    worker.taken[0].hand_back()
    worker.taken[1].forget()
    await until(lambda: len(worker.taken) >= 4)
    assert (worker.queue.held, worker.most) == (2, 2)
    await worker.queue.stop()


async def test_one_that_pauses_takes_nothing_more_and_keeps_what_it_has_until_it_stops(link: Link) -> None:
    leaving, staying = Worker(link, window=2), Worker(link, window=WINDOW)
    await leaving.queue.start()
    await link.append("w.first", b"x")
    await until(lambda: leaving.queue.held == 1)
    await leaving.queue.pause()
    await staying.queue.start()
    await link.append("w.second", b"x")
    await until(lambda: staying.queue.held == 1)
    assert [work.subject for work in (*leaving.taken, *staying.taken)] == ["w.first", "w.second"]
    await leaving.queue.stop()
    await until(lambda: staying.queue.held == 2)
    assert (len(leaving.taken), staying.taken[1].subject) == (1, "w.first")
    await staying.queue.stop()
