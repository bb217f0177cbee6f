"""The page's pure modules, run in the browser: its folds must agree with those of the mesh."""

import itertools
import json
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, Page

from gateway.bridge.close_codes import CLOSE_CODES
from gateway.page import routes
from streams.events import (
    TaskAccepted,
    TaskAssigned,
    TaskChunk,
    TaskEnded,
    TaskError,
    TaskEvent,
    TaskHalted,
    TaskQueued,
    TaskRequeued,
)
from streams.subjects import MESH
from streams.tasks.chat import Usage
from streams.tasks.task import TaskState, fold
from streams.tasks.vectors import Vectors

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

TASK = "01a20a9fb8247faf9e4c062b8de01035"

STORIES: dict[str, list[TaskEvent]] = {
    "queued, then moved to another node in mid-answer": [
        TaskAccepted(n=1, at_ms=1),
        TaskQueued(n=2, at_ms=2, position=3, reason="busy"),
        TaskAssigned(n=3, at_ms=3, attempt=1, node="a", policy="p"),
        TaskChunk(n=4, attempt=1, offset=0, text="mörk 海 🌊 ", tokens=3),
        TaskAssigned(n=5, at_ms=4, attempt=2, node="b", policy="p", offset=9, seam="continued"),
        TaskChunk(
            n=6,
            attempt=2,
            offset=9,
            text="end",
            tokens=1,
            finish_reason="stop",
            usage=Usage(prompt_tokens=1, completion_tokens=4),
        ),
        TaskEnded(n=7, at_ms=5, outcome="completed"),
    ],
    "its node lost, then begun again by another": [
        TaskAssigned(n=1, at_ms=3, attempt=1, node="a", policy="p"),
        TaskChunk(n=2, attempt=1, offset=0, text="void", tokens=2),
        TaskRequeued(n=3, at_ms=4, attempt=1, node="a", code="node_lost", message="gone", retry_at_ms=5),
        TaskAssigned(n=4, at_ms=6, attempt=2, node="b", policy="p", seam="restarted"),
        TaskChunk(n=5, attempt=2, offset=0, text="anew", tokens=1),
    ],
    "cancelled while it ran": [
        TaskAssigned(n=1, at_ms=3, attempt=1, node="a", policy="p"),
        TaskChunk(n=2, attempt=1, offset=0, text="some", tokens=1),
        TaskHalted(n=3, at_ms=4, reason="cancelled by the client"),
        TaskEnded(n=4, at_ms=5, outcome="cancelled"),
    ],
    "refused": [
        TaskEnded(n=1, at_ms=5, outcome="failed", error=TaskError(code="model_not_found", message="no", status=404)),
    ],
}


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    app = web.Application()
    routes.add_routes(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    opened = await browser.new_page()
    await opened.goto(f"http://127.0.0.1:{runner.addresses[0][1]}/page/vendor/VENDORED.md")
    yield opened
    await opened.close()
    await runner.cleanup()


def writer_of(event: TaskEvent, node: str | None) -> str:
    return node or "" if isinstance(event, TaskChunk) else MESH


def as_frame(events: list[TaskEvent], topic: str = "tasks") -> dict:
    items = [{"task": TASK, "writer": "w", "event": json.loads(msgspec.json.encode(event))} for event in events]
    return {"type": "events", "topic": topic, "events": items, "nowMs": 1000}


@pytest.mark.parametrize("story", STORIES)
async def test_a_task_becomes_on_the_page_what_it_becomes_in_the_mesh(page: Page, story: str) -> None:
    advance = """async ([events, id]) => {
        const { advance, unknownTask } = await import("/page/state/task.js");
        const steps = [];
        let task = unknownTask(id);
        for (const event of events) steps.push(task = advance(task, event, 0));
        return steps;
    }"""
    events = STORIES[story]
    shown = await page.evaluate(advance, [[item["event"] for item in as_frame(events)["events"]], TASK])

    state = TaskState()
    for event, task in zip(events, shown, strict=True):
        state = fold([(writer_of(event, state.node), event)], state)
        assert state.n == event.n
        assert (task["n"], task["phase"], task["tokens"], task["chars"]) == (
            state.n,
            state.phase,
            state.tokens,
            state.chars,
        )
        assert (task.get("node"), task.get("outcome")) == (state.node, state.outcome)
        assert (task.get("position"), task.get("reason")) == (state.position, state.reason)


async def test_an_event_that_comes_twice_counts_once(page: Page) -> None:
    reduce = """async ([frames, task]) => {
        const { initialState, reduce } = await import("/page/state/reducer.js");
        const opened = reduce(initialState(), { type: "page.open", task });
        return frames.reduce(reduce, opened);
    }"""
    events = STORIES["queued, then moved to another node in mid-answer"]
    frames = [as_frame(events[:4], topic) for topic in ("task", "tasks")]
    frames += [as_frame(events[2:], topic) for topic in ("task", "tasks")]

    state = await page.evaluate(reduce, [frames, TASK])

    assert state["opened"]["text"] == "mörk 海 🌊 end"
    assert [item["event"]["n"] for item in state["opened"]["events"]] == [1, 2, 3, 4, 5, 6, 7]
    assert state["tasks"][TASK]["tokens"] == state["tokensSinceSample"] == 4


async def test_where_the_answer_begins_again_the_text_so_far_goes(page: Page) -> None:
    reduce = """async ([frame, task]) => {
        const { initialState, reduce } = await import("/page/state/reducer.js");
        const { begin, change } = await import("/page/state/conversation.js");
        const opened = reduce(reduce(initialState(), { type: "page.open", task }), { ...frame, topic: "task" }).opened;
        const [question, answer] = begin("why?", null);
        const told = [
            { type: "ask", question, answer },
            { type: "piece", key: answer.key, piece: { text: "void" } },
            { type: "restarted", key: answer.key },
            { type: "piece", key: answer.key, piece: { text: "anew" } },
        ];
        return [opened.text, reduce(initialState(), frame).tasks[task].tail, told.reduce(change, []).at(-1).text];
    }"""
    frame = as_frame(STORIES["its node lost, then begun again by another"])
    assert await page.evaluate(reduce, [frame, TASK]) == ["anew", "anew", "anew"]


async def test_vectors_are_counted_and_measured(page: Page) -> None:
    reduce = """async (frame) => {
        const { initialState, reduce } = await import("/page/state/reducer.js");
        const { episodes } = await import("/page/state/episodes.js");
        const format = await import("/page/views/format.js");
        const [task] = Object.values(reduce(initialState(), frame).tasks);
        const [, , , story] = episodes(frame.events);
        return [format.vectors(task), format.vectors(story), task.tail];
    }"""
    head = STORIES["queued, then moved to another node in mid-answer"][:3]
    parts = [
        TaskChunk(
            n=4 + offset,
            attempt=1,
            offset=offset,
            text="",
            tokens=1,
            vectors=Vectors(count=count, floats=bytes(4 * 384 * count)),
        )
        for offset, count in enumerate((1, 2))
    ]
    assert await page.evaluate(reduce, as_frame([*head, *parts])) == [*["3 vectors of 384 numbers"] * 2, ""]


async def test_a_snapshot_replaces_what_was_known(page: Page) -> None:
    reduce = """async (frames) => {
        const { initialState, reduce } = await import("/page/state/reducer.js");
        return Object.keys(frames.reduce(reduce, initialState()).tasks);
    }"""
    view = {"task": TASK, "created_ms": 1, "model": "m", "prompt": "p", "n": 0, "phase": "submitted"}
    other = {**view, "task": TASK.replace("01a2", "01a3")}
    frames = [{"type": "tasks", "tasks": [view], "reset": True}, {"type": "tasks", "tasks": [other], "reset": True}]

    assert await page.evaluate(reduce, frames) == [other["task"]]


async def test_chunks_that_follow_each_other_are_one_episode_of_the_story(page: Page) -> None:
    tell = """async (happened) => {
        const { episodes } = await import("/page/state/episodes.js");
        return episodes(happened).map(({ kind, firstN, lastN, text }) => [kind, firstN, lastN, text ?? null]);
    }"""
    chunks = [TaskChunk(n=n, attempt=1, offset=0, text=f"{n} ", tokens=1) for n in (2, 3, 4)]
    story = [
        TaskAssigned(n=1, at_ms=0, attempt=1, node="a", policy="p"),
        *chunks,
        TaskEnded(n=5, at_ms=0, outcome="dead"),
    ]

    assert await page.evaluate(tell, as_frame(story)["events"]) == [
        ["marker", 1, 1, None],
        ["chunks", 2, 4, "2 3 4 "],
        ["marker", 5, 5, None],
    ]


@pytest.mark.parametrize(("code", "n"), [("answer_restarted", 3), ("gateway_stopping", 2)])
async def test_a_stream_that_cannot_go_on_here_is_read_on_from_the_events(page: Page, code: str, n: int) -> None:
    ask = """async (streams) => {
        const { ask } = await import("/page/wire/chat.js");
        const asked = [];
        window.fetch = async (path) => {
            asked.push(path);
            return new Response(streams.shift(), { headers: { "x-ig3-task": "T" } });
        };
        const told = [];
        const listener = {
            task: (id) => told.push(["task", id]),
            piece: ({ text }) => told.push(["piece", text]),
            lost: () => told.push(["lost"]),
            restarted: () => told.push(["restarted"]),
        };
        await ask({ model: "m", messages: [], signal: new AbortController().signal }, listener);
        return [asked, told];
    }"""
    chunk = 'id: 2\ndata: {"choices":[{"delta":{"content":"void"}}]}\n\n'
    error = f'id: {n}\ndata: {{"error":{{"message":"go on","code":"{code}"}}}}\n\n'
    events = [TaskChunk(n=n + 1, attempt=2, offset=0, text="anew"), TaskEnded(n=n + 2, at_ms=0, outcome="completed")]
    rest = "".join(f"id: {event.n}\ndata: {msgspec.json.encode(event).decode()}\n\n" for event in events)

    asked, told = await page.evaluate(ask, [chunk + error, rest])

    assert asked == ["/v1/chat/completions", f"/v1/tasks/T/events?after={n}"]
    taken_back = [["restarted"]] if code == "answer_restarted" else []
    assert told == [["task", "T"], ["piece", "void"], *taken_back, ["lost"], ["piece", "anew"]]


@pytest.mark.parametrize(("account", "goes_on"), [("acme", True), ("beta", False)])
async def test_a_request_of_a_session_that_is_over_waits_for_the_same_to_come_back(
    page: Page, account: str, goes_on: bool
) -> None:
    run = """async (account) => {
        const { Session } = await import("/page/wire/session.js");
        const asked = [];
        const good = { old: "acme", fresh: account };
        window.fetch = async (path, { headers }) => {
            const token = (headers.Authorization ?? "").replace("Bearer ", "");
            asked.push([path, token]);
            const who = { account: good[token], how: "session", role: "member", did: "did:key:z6Mk", key_id: null };
            return good[token] ? Response.json(who) : Response.json({ error: { message: "no" } }, { status: 401 });
        };
        const told = [];
        const tell = (name) => (value) => told.push([name, value]);
        const listener = { changed: () => {}, entered: tell("entered"), out: tell("out"), left: tell("left") };
        const session = new Session(listener);
        await session.enter("old");
        delete good.old;
        const answer = session.fetch("/v1/tasks/T").then((response) => response.status, (error) => error.message);
        while (session.state.phase !== "out") await new Promise((resolve) => setTimeout(resolve));
        await session.enter("fresh");
        const result = await answer;
        session.leave();
        return [asked, told, result, session.token, sessionStorage.length];
    }"""
    asked, told, answer, token, kept = await page.evaluate(run, account)

    me, task, out = "/v1/auth/me", "/v1/tasks/T", "/v1/auth/sign-out"
    again = [[task, "fresh"]] if goes_on else []
    assert asked == [[me, "old"], [task, "old"], [me, "fresh"], *again, [out, "fresh"]]
    assert [name for name, _ in told] == ["entered", "out", "entered", "left", "out"]
    assert told[2] == ["entered", goes_on]
    assert answer == (200 if goes_on else "You are signed in as somebody else now.")
    assert (token, kept) == ("", 0)


@pytest.mark.parametrize("cuts", [[], [1], [5, 6, 7], list(range(1, 60))])
async def test_server_sent_events_are_read_from_pieces_of_any_size(page: Page, cuts: list[int]) -> None:
    body = (
        ': hello\n\nid: 2\ndata: {"a": "mörk"}\n\ndata: one\ndata: two\r\n\r\ndata: [DONE]\n\nid: 9\ndata: cut'.encode()
    )
    edges = [0, *cuts, len(body)]
    pieces = [list(body[start:stop]) for start, stop in itertools.pairwise(edges)]
    read = """async (pieces) => {
        const { serverSentEvents } = await import("/page/wire/events.js");
        const body = new ReadableStream({
            start(controller) {
                for (const piece of pieces) controller.enqueue(new Uint8Array(piece));
                controller.close();
            },
        });
        const events = [];
        for await (const event of serverSentEvents(body)) events.push([event.id, event.data]);
        return events;
    }"""

    assert await page.evaluate(read, pieces) == [["2", '{"a": "mörk"}'], ["", "one\ntwo"], ["", "[DONE]"]]


async def test_the_page_comes_back_exactly_where_the_close_code_says_so(page: Page) -> None:
    finals = """async (codes) => {
        const { isFinal } = await import("/page/wire/backoff.js");
        return codes.map(isFinal);
    }"""
    codes = [*CLOSE_CODES]
    assert await page.evaluate(finals, [code.code for code in codes]) == [code.come_back == "never" for code in codes]
    assert await page.evaluate(finals, [1000, 1001, 1006]) == [False, False, False]


async def test_pauses_grow_up_to_a_limit_and_are_short_after_a_planned_stop(page: Page) -> None:
    pauses = """async (cases) => {
        const { pauseMs } = await import("/page/wire/backoff.js");
        return cases.map(([code, failures, random]) => pauseMs(code, failures, random));
    }"""
    growing = await page.evaluate(pauses, [[1006, failures, 1] for failures in range(20)])
    assert growing == sorted(growing)
    assert growing[0] < growing[3] < growing[-1] <= 10_000
    [planned, failed_again] = await page.evaluate(pauses, [[1012, 0, 0.99], [1012, 5, 0.99]])
    assert planned < 500 < failed_again
