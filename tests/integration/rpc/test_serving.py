"""How gRPC is served: to a client made from the contract, by TLS, and on a port that nobody else has."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc.aio import AioRpcError

from gateway.auth.caller import refuse_open_gateway
from gateway.errors import GatewayError
from gateway.http.server import PortInUse
from gateway.rpc.wire import inference_pb2 as pb
from gateway.settings import GatewaySettings
from tests.certificates import Authority
from tests.http_gateway import LIMIT_S, HttpGateway, serve_http
from tests.mesh_in_process import InProcessMesh
from tests.rpc_gateway import RpcClient, question, serve_rpc

ROOT = Path(__file__).parents[3]


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path / "mesh") as running:
        yield running


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"))


async def served(mesh: InProcessMesh, gateway: HttpGateway) -> None:
    await mesh.add_dispatcher()
    await mesh.add_node(delay_ms=5)
    await gateway.until_served()


async def test_a_client_that_is_made_from_the_contract_alone_works(mesh: InProcessMesh, tmp_path: Path) -> None:
    async with serve_http(mesh.bus) as gateway, serve_rpc(gateway) as server:
        await served(mesh, gateway)
        command = (sys.executable, str(Path(__file__).with_name("generated_client.py")))
        arguments = (str(server.address), str(ROOT / "proto/ig3/mesh/v1"), str(tmp_path))
        child = await asyncio.create_subprocess_exec(*command, *arguments, stdout=subprocess.PIPE)
        async with asyncio.timeout(LIMIT_S):
            said, _ = await child.communicate()
    assert (child.returncode, bool(said.strip())) == (0, True)


def test_what_is_committed_is_what_the_contract_says() -> None:
    done = subprocess.run([sys.executable, "scripts/proto", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


async def test_calls_go_by_tls_where_the_gateway_has_a_certificate(mesh: InProcessMesh, ours: Authority) -> None:
    files = ours.asking()
    client, stranger = ours.shown("somebody"), grpc.ssl_channel_credentials(ours.ca.read_bytes())
    assert client.key is not None
    assert client.cert is not None
    known = grpc.ssl_channel_credentials(ours.ca.read_bytes(), client.key.read_bytes(), client.cert.read_bytes())
    async with (
        serve_http(mesh.bus, http_tls_cert=files.cert, http_tls_key=files.key, http_tls_ca=files.ca) as gateway,
        serve_rpc(gateway) as server,
    ):
        place = str(server.address)
        async with grpc.aio.secure_channel(place, known) as channel:
            models = await RpcClient(channel).call("ListModels", pb.ListModelsRequest(), pb.ListModelsReply)
            assert list(models.models) == []
        for channel in (grpc.aio.secure_channel(place, stranger), grpc.aio.insecure_channel(place)):
            async with channel:
                with pytest.raises(AioRpcError) as refused:
                    await RpcClient(channel).call("ListModels", pb.ListModelsRequest(), pb.ListModelsReply)
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_port_that_is_taken_is_named_with_its_owner(mesh: InProcessMesh) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with serve_http(mesh.bus) as gateway:
            with pytest.raises(PortInUse, match=f"127.0.0.1:{port} is taken by .*--grpc HOST:PORT"):
                async with serve_rpc(gateway, f"127.0.0.1:{port}"):
                    pass


def test_a_gateway_that_whoever_reaches_it_could_use_by_grpc_is_refused() -> None:
    refuse_open_gateway(GatewaySettings(grpc="127.0.0.1:50051"))
    refuse_open_gateway(GatewaySettings(grpc="0.0.0.0:50051", auth="required"))
    with pytest.raises(GatewayError, match=r"--auth required .* --grpc 127\.0\.0\.1:50051"):
        refuse_open_gateway(GatewaySettings(grpc="0.0.0.0:50051"))


async def test_a_gateway_that_stops_takes_no_calls(mesh: InProcessMesh) -> None:
    async with serve_http(mesh.bus) as gateway, serve_rpc(gateway) as server:
        async with grpc.aio.insecure_channel(str(server.address)) as channel:
            gateway.leaving.begin()
            with pytest.raises(AioRpcError) as refused:
                await RpcClient(channel).call("Submit", question(), pb.SubmitReply)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
