"""The gRPC API over a real channel: what is asked, followed, taken up elsewhere, cancelled and watched."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc.aio import AioRpcError
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from gateway.retrieval.store_log import StoreLog
from gateway.rpc.server import SERVICE
from gateway.rpc.wire import inference_pb2 as pb
from mesh.access.writer import AccessWriter
from streams.access.fold import LOCAL
from streams.clock import now_ms
from streams.stores.events import StoreOpened
from streams.stores.messages import Compared
from streams.tasks.task_id import new_task_id
from streams.tokens import Token
from tests.http_gateway import LIMIT_S, HttpGateway, serve_http
from tests.mesh_in_process import InProcessMesh
from tests.played_retrieval import found, played_retrieval
from tests.rpc_gateway import RpcClient, calling, question, refusal, serve_rpc, text_of

SLOW_MS = 20
ACME = Token("acme")


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path / "mesh") as running:
        await running.add_dispatcher()
        await running.add_node(interval_s=5, delay_ms=SLOW_MS)
        yield running


@pytest.fixture
async def gateway(mesh: InProcessMesh) -> AsyncIterator[HttpGateway]:
    async with serve_http(mesh.bus, http_stop_timeout=timedelta(milliseconds=50)) as serving:
        await serving.until_served()
        yield serving


@pytest.fixture
async def client(gateway: HttpGateway) -> AsyncIterator[RpcClient]:
    async with serve_rpc(gateway) as server, calling(server) as made:
        yield made


async def ended(client: RpcClient, task: str) -> pb.Task:
    """Wait for a task's end, and return what it has become."""
    async with asyncio.timeout(LIMIT_S):
        async for _ in client.follow("Resume", pb.ResumeRequest(task=task)):
            pass
    return await client.call("Get", pb.GetRequest(task=task), pb.Task)


async def events_of(stream: Any) -> list[pb.TaskEvent]:
    async with asyncio.timeout(LIMIT_S):
        return [event async for event in stream]


async def first_of(stream: Any, count: int) -> list[pb.TaskEvent]:
    """The first events of a stream, or all that it has."""
    found: list[pb.TaskEvent] = []
    async with asyncio.timeout(LIMIT_S):
        async for event in stream:
            found.append(event)
            if len(found) == count:
                break
    return found


async def test_a_raw_prompt_is_gone_on_with_and_stands_alone(client: RpcClient) -> None:
    raw = question(messages=[], prompt="hello")
    texts = [text_of(await events_of(client.follow("Stream", asked))) for asked in (raw, question())]
    assert len(texts[0].split()) == 5
    assert texts[0] != texts[1]
    with pytest.raises(AioRpcError) as refused:
        await events_of(client.follow("Stream", question(prompt="hello")))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_stream_tells_all_events_of_its_task_in_order(client: RpcClient) -> None:
    events = await events_of(client.follow("Stream", question()))
    assert [event.n for event in events] == list(range(1, len(events) + 1))
    assert events[0].assigned.node == "n1"
    assert events[-2].chunk.finish_reason == pb.FINISH_REASON_LENGTH
    assert (events[-2].chunk.usage.completion_tokens, events[-1].ended.outcome) == (5, pb.OUTCOME_COMPLETED)
    became = await client.call("Get", pb.GetRequest(task=events[0].task), pb.Task)
    assert (became.text, became.phase, became.n) == (text_of(events), pb.PHASE_ENDED, events[-1].n)


async def test_a_task_that_is_submitted_runs_without_anybody_who_follows(client: RpcClient) -> None:
    made = await client.call("Submit", question(), pb.SubmitReply)
    became = await ended(client, made.task)
    assert (became.outcome, became.usage.completion_tokens, became.model) == (pb.OUTCOME_COMPLETED, 5, "synthetic")
    assert became.text


async def test_the_same_request_under_one_key_or_one_id_is_one_task(client: RpcClient) -> None:
    task = new_task_id()
    by_id = [await client.call("Submit", question(task=task), pb.SubmitReply) for _ in range(2)]
    by_key = [await client.call("Submit", question(idempotency_key="k"), pb.SubmitReply) for _ in range(2)]
    assert [made.task for made in by_id] == [task, task]
    assert by_key[0].task == by_key[1].task != task
    with pytest.raises(AioRpcError) as refused:
        await client.call("Submit", question(idempotency_key="k", model="promised"), pb.SubmitReply)
    assert refusal(refused.value) == (
        grpc.StatusCode.ALREADY_EXISTS,
        {"ig3-code": "idempotency_key_reused", "ig3-param": "Idempotency-Key"},
    )


async def test_a_broken_stream_goes_on_at_another_gateway_without_gap_or_repeat(
    mesh: InProcessMesh, gateway: HttpGateway
) -> None:
    asked = question(sampling=pb.Sampling(max_tokens=40))
    head: list[pb.TaskEvent] = []
    async with serve_rpc(gateway) as server, calling(server) as client:
        # An answer that a stall has let come whole cannot be broken: then the next one.
        while not head or head[-1].HasField("ended"):
            stream = client.follow("Stream", asked)
            head = await first_of(stream, 4)
            stream.cancel()
    async with serve_http(mesh.bus) as other, serve_rpc(other) as server, calling(server) as client:
        request = pb.ResumeRequest(task=head[0].task, after_n=head[-1].n)
        tail = await events_of(client.follow("Resume", request))
        whole = await ended(client, head[0].task)
    assert [event.n for event in (*head, *tail)] == list(range(1, len(head) + len(tail) + 1))
    assert text_of([*head, *tail]) == whole.text
    assert whole.usage.completion_tokens == 40


async def test_a_gateway_that_stops_tells_where_to_go_on(mesh: InProcessMesh, gateway: HttpGateway) -> None:
    async with serve_rpc(gateway) as server, calling(server) as client:
        stream = client.follow("Stream", question(sampling=pb.Sampling(max_tokens=2000)))
        first = await anext(aiter(stream))
        stopping = asyncio.create_task(server.__aexit__(None, None, None))
        with pytest.raises(AioRpcError) as sent_on:
            await events_of(stream)
        await asyncio.wait_for(stopping, LIMIT_S)
    assert refusal(sent_on.value)[1]["ig3-code"] == "gateway_stopping"
    assert "Resume with after_n " in (sent_on.value.details() or "")
    async with serve_http(mesh.bus) as other, serve_rpc(other) as server, calling(server) as client:
        reply = await client.call("Cancel", pb.CancelRequest(task=first.task), pb.CancelReply)
        assert reply.outcome == pb.OUTCOME_CANCELLED


async def test_a_client_that_hangs_up_has_its_task_cancelled_if_it_said_so(client: RpcClient) -> None:
    stream = client.follow("Stream", question(on_hang_up=pb.ON_HANG_UP_CANCEL, sampling=pb.Sampling(max_tokens=2000)))
    first = await anext(aiter(stream))
    stream.cancel()
    became = await ended(client, first.task)
    assert (became.outcome, became.error.status) == (pb.OUTCOME_CANCELLED, 499)


async def test_an_account_is_watched_whoever_asks(client: RpcClient, mesh: InProcessMesh) -> None:
    before = await client.call("Submit", question(), pb.SubmitReply)
    await ended(client, before.task)
    shown: list[str] = []
    async with asyncio.timeout(LIMIT_S):
        while not shown:
            watching = client.follow("Watch", pb.WatchRequest(), pb.WatchEvent)
            told = aiter(watching)
            while not (event := await anext(told)).HasField("caught_up"):
                shown.append(event.task.task)
            if not shown:
                # The board reads the log too, a moment behind.
                watching.cancel()
        later = (await mesh.submit(tokens=3)).task
        async for event in told:
            over = event.task if event.HasField("task") else event.happened
            if over.task == later and (event.task.outcome or event.happened.ended.outcome):
                break
    watching.cancel()
    assert shown == [before.task]


async def test_models_and_allowances_are_told(mesh: InProcessMesh) -> None:
    # So few that none comes back while this test runs.
    async with serve_http(mesh.bus, requests_per_minute_of=("local=2",)) as gateway, serve_rpc(gateway) as server:
        await gateway.until_served()
        async with calling(server) as client:
            await client.call("Submit", question(), pb.SubmitReply)
            models = await client.call("ListModels", pb.ListModelsRequest(), pb.ListModelsReply)
            usage = await client.call("GetUsage", pb.GetUsageRequest(), pb.Usage)
    assert [(model.id, model.kind, model.replicas) for model in models.models] == [("synthetic", "chat", 1)]
    assert [(each.scope, each.kind, each.limit, each.remaining) for each in usage.allowances] == [
        ("account", "requests", 2, 1)
    ]


async def test_callers_are_known_by_their_keys_and_see_their_own_account_alone(mesh: InProcessMesh) -> None:
    writer = AccessWriter(mesh.bus.core)
    await writer.open(ACME)
    issued = await writer.issue(ACME, name="k", rights=("chat", "read"))
    async with serve_http(mesh.bus, auth="required") as gateway, serve_rpc(gateway) as server:
        await gateway.access.reach(issued.sequence)
        await gateway.until_served()
        async with calling(server) as stranger, calling(server, authorization="Bearer ig3_wrong") as forger:
            for client in (stranger, forger):
                with pytest.raises(AioRpcError) as refused:
                    await client.call("Submit", question(), pb.SubmitReply)
                assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        foreign = await mesh.submit(tokens=1)
        async with calling(server, authorization=f"Bearer {issued.shown.text}") as client:
            made = await client.call("Submit", question(), pb.SubmitReply)
            assert (await ended(client, made.task)).outcome == pb.OUTCOME_COMPLETED
            for method, request, reply in (
                ("Get", pb.GetRequest(task=foreign.task), pb.Task),
                ("Cancel", pb.CancelRequest(task=foreign.task), pb.CancelReply),
            ):
                with pytest.raises(AioRpcError) as refused:
                    await client.call(method, request, reply)
                assert refusal(refused.value)[1]["ig3-code"] == "task_not_found"
            with pytest.raises(AioRpcError) as refused:
                await events_of(client.follow("Resume", pb.ResumeRequest(task=foreign.task)))
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"texts": ["both"]}, "messages"),
        ({"messages": [pb.Message(content="hi")]}, "messages[0].role"),
        ({"messages": [pb.Message(role=99, content="hi")]}, "messages[0].role"),  # pyright: ignore[reportArgumentType]
        ({"messages": [pb.Message(role=pb.ROLE_USER, parts=[pb.Part()])]}, "messages[0].parts[0]"),
        ({"sampling": pb.Sampling(temperature=7)}, None),
        ({"sampling": pb.Sampling(stop=["a", "b", "c", "d", "e"])}, None),
        ({"urgency": 77}, "urgency"),
        ({"deadline_ms": 10**15}, "deadline_ms"),
        ({"task": "none"}, "task"),
        ({"rules": pb.Rules(policy="none")}, "rules.policy"),
        ({"tools": pb.Tools(functions=[pb.Function(name="f")], name="f")}, "tools.name"),
        ({"tools": pb.Tools(functions=[pb.Function(name="f"), pb.Function(name="f")])}, "tools.functions"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_name(client: RpcClient, fields: Any, param: str | None) -> None:
    with pytest.raises(AioRpcError) as refused:
        await client.call("Submit", question(**fields), pb.SubmitReply)
    code, words = refusal(refused.value)
    assert (code, words.get("ig3-param")) == (grpc.StatusCode.INVALID_ARGUMENT, param)


async def test_files_are_searched_and_the_answer_says_what_it_rests_on(client: RpcClient, mesh: InProcessMesh) -> None:
    store = (await StoreLog(mesh.bus.core).open(LOCAL, StoreOpened(at_ms=now_ms(), model="m"))).key.store
    async with played_retrieval(mesh.bus.core) as retrieval:
        retrieval.found = (found("The sea is salty.", store=store, filename="sea.md"),)
        search = pb.FileSearch(
            vector_store_ids=[store],
            max_results=3,
            score_threshold=0.25,
            filters_json='{"type": "eq", "key": "topic", "value": "sea"}',
            max_rounds=1,
        )
        submitted = await client.call("Submit", question(file_search=search), pb.SubmitReply)
        became = await ended(client, submitted.task)
        wrong: tuple[dict[str, Any], ...] = (
            {"vector_store_ids": []},
            {"vector_store_ids": [store], "filters_json": "{"},
            {"vector_store_ids": [store], "score_threshold": 2},
            {"vector_store_ids": ["vs_nobody"]},
        )
        for fields in wrong:
            with pytest.raises(AioRpcError) as refused:
                await client.call("Submit", question(file_search=pb.FileSearch(**fields)), pb.SubmitReply)
            code, words = refusal(refused.value)
            is_unknown = fields["vector_store_ids"] == ["vs_nobody"]
            assert code == (grpc.StatusCode.NOT_FOUND if is_unknown else grpc.StatusCode.INVALID_ARGUMENT)
            assert words["ig3-param"] == ("vector_store_id" if is_unknown else "file_search")
    (asked,) = retrieval.asked
    assert (asked.query, asked.limit, asked.threshold) == ("hello", 3, 0.25)
    assert asked.filter == Compared(how="eq", name="topic", value="sea")
    assert (list(became.searched), became.outcome) == (["hello"], pb.OUTCOME_COMPLETED)
    (citation,) = became.citations
    assert (citation.filename, citation.vector_store_id, citation.support) == ("sea.md", store, "prompt")
    assert (citation.index, citation.page, list(citation.headings)) == (len(became.text.rstrip()), 2, ["Top"])


async def test_an_unknown_model_and_a_message_that_is_too_large_are_refused(client: RpcClient) -> None:
    with pytest.raises(AioRpcError) as refused:
        await client.call("Submit", question(model="nobody-has-it"), pb.SubmitReply)
    assert refusal(refused.value) == (
        grpc.StatusCode.NOT_FOUND,
        {"ig3-code": "model_not_found", "ig3-param": "model"},
    )
    long = pb.Message(role=pb.ROLE_USER, content="x" * 600_000)
    with pytest.raises(AioRpcError) as refused:
        await client.call("Submit", question(messages=[long]), pb.SubmitReply)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_the_server_says_what_it_serves_and_that_it_is_well(client: RpcClient) -> None:
    check = client.channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest.SerializeToString,
        health_pb2.HealthCheckResponse.FromString,
    )
    answer = await check(health_pb2.HealthCheckRequest(service=SERVICE))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    ask = client.channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    answers = ask(iter([reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE)]))
    described = [answer async for answer in answers]
    assert SERVICE.encode().rpartition(b".")[2] in described[0].file_descriptor_response.file_descriptor_proto[0]
