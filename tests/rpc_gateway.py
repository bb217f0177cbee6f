"""The gRPC API of a gateway in a test, and a client that knows nothing but the contract."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc.aio import AioRpcError, Channel

from gateway.http.site import SITE
from gateway.rpc.server import SERVICE, RpcServer
from gateway.rpc.wire import inference_pb2 as pb
from tests.http_gateway import MODEL, HttpGateway


class RpcClient:
    """Calls ``ig3.mesh.v1.Inference``."""

    def __init__(self, channel: Channel, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        """Call through ``channel``."""
        self.channel = channel
        self._metadata = metadata

    async def call(self, method: str, request: Any, reply: type[Any]) -> Any:
        """Call what answers once."""
        make = self.channel.unary_unary(f"/{SERVICE}/{method}", type(request).SerializeToString, reply.FromString)
        return await make(request, metadata=self._metadata)

    def follow(self, method: str, request: Any, reply: type[Any] = pb.TaskEvent) -> Any:
        """Call what answers with a stream."""
        make = self.channel.unary_stream(f"/{SERVICE}/{method}", type(request).SerializeToString, reply.FromString)
        return make(request, metadata=self._metadata)


@asynccontextmanager
async def serve_rpc(gateway: HttpGateway, place: str = "127.0.0.1:0") -> AsyncIterator[RpcServer]:
    """Serve the gateway's site by gRPC."""
    async with RpcServer(gateway.server._app[SITE], place) as server:
        yield server


@asynccontextmanager
async def calling(server: RpcServer, **metadata: str) -> AsyncIterator[RpcClient]:
    """Call a server; ``x_y`` as a keyword is the metadata ``x-y``."""
    async with grpc.aio.insecure_channel(str(server.address)) as channel:
        yield RpcClient(channel, tuple((name.replace("_", "-"), value) for name, value in metadata.items()))


def question(**fields: Any) -> pb.SubmitRequest:
    """A request that works, with some fields changed."""
    message = pb.Message(role=pb.ROLE_USER, content="hello")
    usual = {"model": MODEL, "messages": [message], "sampling": pb.Sampling(max_tokens=5)}
    return pb.SubmitRequest(**{**usual, **fields})


def refusal(error: AioRpcError) -> tuple[grpc.StatusCode, dict[str, str]]:
    """What a call was refused with: the status, and our words for programs."""
    words = {name: str(value) for name, value in error.trailing_metadata() or ()}
    return error.code(), {name: word for name, word in words.items() if name.startswith(("ig3-", "retry-"))}


def text_of(events: list[pb.TaskEvent]) -> str:
    """The text that events have written."""
    return "".join(event.chunk.text for event in events)
