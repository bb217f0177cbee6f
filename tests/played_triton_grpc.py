"""A loopback server in the format of KServe's predict protocol over gRPC, with Triton's stream."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from nodes.engines.remote.kserve import predict_pb2 as wire
from tests.played_triton import Json, PlayedTriton, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from google.protobuf.message import Message

Context = grpc.aio.ServicerContext[Any, Any]
DATATYPES = {"text_input": "BYTES", "stream": "BOOL", "max_tokens": "INT32", "temperature": "FP32"}


@dataclass(kw_only=True)
class PlayedGrpcTriton(PlayedTriton):
    """The same model as over HTTP."""

    raw: bool = True
    """Whether texts come as Triton sends them, behind their lengths, or as others may."""
    tells_status: bool = True
    """Whether it heeds the wish to be told by a status what is wrong; older ones do not."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[PlayedGrpcTriton]:
        server = grpc.aio.server()
        handlers = {
            "ModelReady": _plain(self._is_ready, wire.ModelReadyRequest),
            "ModelMetadata": _plain(self._describe, wire.ModelMetadataRequest),
            "RepositoryIndex": _plain(self._list, wire.RepositoryIndexRequest),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(
                self._stream, wire.ModelInferRequest.FromString, wire.ModelStreamInferResponse.SerializeToString
            ),
        }
        service = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers)
        server.add_generic_rpc_handlers((service,))
        self.url = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        self._server = server
        try:
            yield self
        finally:
            await server.stop(None)

    async def stop(self) -> None:
        """Be gone."""
        await self._server.stop(None)

    async def _is_ready(self, asked: wire.ModelReadyRequest, context: Context) -> wire.ModelReadyResponse:
        if asked.name not in {"words", "broken"}:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"unknown model {asked.name}")
        return wire.ModelReadyResponse(ready=asked.name == "words")

    async def _describe(self, asked: wire.ModelMetadataRequest, _: Context) -> wire.ModelMetadataResponse:
        about = wire.ModelMetadataResponse(name=asked.name)
        for name in self.inputs:
            about.inputs.add(name=name, datatype=DATATYPES.get(name, "FP32"), shape=[-1, 1])
        about.outputs.add(name="text_output", datatype="BYTES", shape=[-1])
        return about

    async def _list(self, _: wire.RepositoryIndexRequest, context: Context) -> wire.RepositoryIndexResponse:
        if self.closed:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "This protocol is restricted")
        index = wire.RepositoryIndexResponse()
        index.models.add(name="words", version="1", state="READY")
        index.models.add(name="broken", state="UNAVAILABLE")
        return index

    async def _stream(
        self, asked: AsyncIterator[wire.ModelInferRequest], context: Context
    ) -> AsyncIterator[wire.ModelStreamInferResponse]:
        async for request in asked:
            try:
                async for text in self.texts(told_by(request)):
                    yield self._part(text)
            except Refused as refused:
                if self.tells_status and ("triton_grpc_error", "true") in (context.invocation_metadata() or ()):
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(refused))
                yield wire.ModelStreamInferResponse(error_message=str(refused))
            except RuntimeError as failed:
                yield wire.ModelStreamInferResponse(error_message=str(failed))

    def _part(self, text: str) -> wire.ModelStreamInferResponse:
        part = wire.ModelInferResponse()
        # Another output before it, as TensorRT-LLM has some.
        part.outputs.add(name="cum_log_probs", datatype="FP32", shape=[1])
        output = part.outputs.add(name="text_output", datatype="BYTES", shape=[1])
        if self.raw:
            part.raw_output_contents.extend([bytes(4), len(text.encode()).to_bytes(4, "little") + text.encode()])
        else:
            output.contents.bytes_contents.append(text.encode())
        return wire.ModelStreamInferResponse(infer_response=part)


def _plain(answer: Callable[[Any, Context], Any], kind: type[Message]) -> grpc.RpcMethodHandler[Any, Any]:
    return grpc.unary_unary_rpc_method_handler(answer, kind.FromString, lambda said: said.SerializeToString())


def told_by(request: wire.ModelInferRequest) -> Json:
    """What was asked for, in the words of the extension for HTTP."""
    said: Json = {}
    for tensor in request.inputs:
        ((_, values),) = tensor.contents.ListFields()
        assert list(tensor.shape) == [1, 1], tensor
        assert tensor.datatype == DATATYPES[tensor.name]
        said[tensor.name] = values[0].decode() if isinstance(values[0], bytes) else values[0]
    chosen = {
        name: getattr(value, value.WhichOneof("parameter_choice") or "") for name, value in request.parameters.items()
    }
    return said | ({"parameters": chosen} if chosen else {})
