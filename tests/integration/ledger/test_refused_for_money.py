"""A refusal for money as those see it who do not ask by HTTP: over gRPC, on the websocket, and by the Python client.

It comes from the dispatcher, so the task is stored by then, and ends as failed.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import grpc
import pytest
import pytest_asyncio

import mesh as public
from gateway.rpc.wire import inference_pb2 as pb
from tests.bridge_server import BridgeServer, serve_bridge
from tests.http_gateway import LIMIT_S, serve_http
from tests.mesh_in_process import InProcessMesh
from tests.played_ledger import PlayedLedger, played_ledger, set_prices
from tests.processes import until
from tests.rpc_gateway import RpcClient, calling, question, serve_rpc

pytestmark = pytest.mark.asyncio(loop_scope="module")

MESSAGE = "Local has no money left."
refusals = pytest.mark.parametrize(("code", "status"), [("insufficient_quota", 402), ("budget_exceeded", 429)])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path_factory.mktemp("refused")) as running:
        # The ledger that is played here is never away, however long this machine takes.
        dispatcher = await running.add_dispatcher(ledger_patience=timedelta(seconds=LIMIT_S))
        await running.add_node(delay_ms=2, interval_s=5)
        await set_prices(running.bus.core)
        await until(lambda: dispatcher.dispatcher._entrance._holds.has_prices)
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def ledger(mesh: InProcessMesh) -> AsyncIterator[PlayedLedger]:
    async with played_ledger(mesh.bus.core) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rpc(mesh: InProcessMesh) -> AsyncIterator[RpcClient]:
    async with serve_http(mesh.bus) as gateway:
        await gateway.until_served()
        async with serve_rpc(gateway) as server, calling(server) as client:
            yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bridge(mesh: InProcessMesh) -> AsyncIterator[BridgeServer]:
    async with serve_bridge(mesh.bus) as server:
        yield server


@refusals
async def test_grpc_ends_the_task_with_the_code_and_the_call_with_ok(
    ledger: PlayedLedger, rpc: RpcClient, code: str, status: int
) -> None:
    ledger.refuse("local", code, status)
    stream = rpc.follow("Stream", question())
    async with asyncio.timeout(LIMIT_S):
        events = [event async for event in stream]
    assert await stream.code() == grpc.StatusCode.OK
    ended = events[-1].ended
    assert (ended.outcome, ended.error.code, ended.error.status) == (pb.OUTCOME_FAILED, code, status)
    assert ended.error.message == MESSAGE
    assert not any(event.chunk.text for event in events)
    made = await rpc.call("Submit", question(), pb.SubmitReply)
    async with asyncio.timeout(LIMIT_S):
        _ = [event async for event in rpc.follow("Resume", pb.ResumeRequest(task=made.task))]
    became = await rpc.call("Get", pb.GetRequest(task=made.task), pb.Task)
    assert (became.outcome, became.error.code, became.error.status) == (pb.OUTCOME_FAILED, code, status)


@refusals
async def test_the_websocket_shows_the_failed_end_to_who_follows_the_task(
    mesh: InProcessMesh, ledger: PlayedLedger, bridge: BridgeServer, code: str, status: int
) -> None:
    ledger.refuse("local", code, status)
    key = await mesh.submit(tokens=3)
    async with bridge.connect() as client:
        await client.send(type="subscribe", id=1, topic="task", task=key.task)
        await client.until_type("over")
    end = client.events(key.task)[-1]
    assert (end["type"], end["outcome"]) == ("task.ended.v1", "failed")
    assert (end["error"]["code"], end["error"]["status"], end["error"]["message"]) == (code, status, MESSAGE)


@refusals
async def test_the_python_client_raises_that_the_task_failed_with_the_code(
    mesh: InProcessMesh, ledger: PlayedLedger, code: str, status: int
) -> None:
    ledger.refuse("local", code, status)
    seed = mesh.server.credentials.user.seed_path
    async with await public.connect(mesh.server.url, account="local", seed_file=seed) as client:
        answer = await client.submit("synthetic", "hello", max_tokens=3)
        with pytest.raises(public.TaskFailedError) as refused:
            await answer.result()
        assert (refused.value.code, refused.value.status, refused.value.text) == (code, status, "")
        assert (str(refused.value), refused.value.task) == (MESSAGE, answer.task)
        with pytest.raises(public.TaskFailedError):
            _ = [piece async for piece in answer]
