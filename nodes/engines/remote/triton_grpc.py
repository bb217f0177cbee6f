"""Triton over gRPC: ``ModelStreamInfer`` of KServe's predict protocol, one stream for each answer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import grpc
import grpc.aio

from nodes.engines.remote.failures import Failure, error_in_stream, error_of
from nodes.engines.remote.kserve import predict_pb2 as wire
from nodes.engines.remote.steps import Steps
from nodes.engines.remote.triton_server import READY, TEXT_IN, TEXT_OUT, Tensor, Told, TritonModel, Wishes, told
from nodes.errors import EngineAway, EngineError, EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from google.protobuf.message import Message

    from nodes.engines.remote.api_key import ApiKey

T = TypeVar("T", bound="Message")

log = logging.getLogger(__name__)

_SERVICE: Final = "/inference.GRPCInferenceService/"
_LOOK_S: Final = 10.0
"""How long an answer may take that costs a server no thought."""
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_LENGTH_BYTES: Final = 4
_STATUS: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.UNIMPLEMENTED: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
}
"""What HTTP calls the same."""
_SIGNED: Final = frozenset({"INT8", "INT16", "INT32"})
_UNSIGNED: Final = frozenset({"UINT8", "UINT16", "UINT32"})


class TritonOverGrpc:
    """See ``TritonServer``."""

    def __init__(self, url: str, key: ApiKey, *, patience_s: float) -> None:
        """Prepare for ``grpc://HOST:PORT``, or ``grpcs://`` with TLS; longer silence than ``patience_s`` is a failure.

        Raises:
            EngineUnavailable: it is no URL that a server can be asked at.
        """
        self.root, self._target = _target_of(url)
        self._key = key
        self._patience_s = patience_s
        self._channel: grpc.aio.Channel | None = None
        self._steps = Steps()
        self._is_stopped = False
        if key and not self._is_secure and urlsplit(url).hostname not in _LOCAL:
            log.warning("the API key for %s travels in plain text: use grpcs", self.root)

    @property
    def key(self) -> ApiKey:
        """The key that it is sent."""
        return self._key

    @property
    def _is_secure(self) -> bool:
        return self.root.startswith("grpcs:")

    def open(self) -> None:
        """Begin; nothing of the environment decides where requests go; may be repeated."""
        if self._channel is not None:
            return
        options = (("grpc.enable_http_proxy", 0),)
        if self._is_secure:
            self._channel = grpc.aio.secure_channel(self._target, grpc.ssl_channel_credentials(), options=options)
        else:
            self._channel = grpc.aio.insecure_channel(self._target, options=options)

    async def close(self) -> None:
        """Cut every stream; who waits for an answer is told."""
        self._is_stopped = True
        self._steps.stop()
        if self._channel is not None:
            await self._channel.close()

    async def check_ready(self, model: str) -> None:
        """Return if the model can be asked."""
        answer = await self._ask("ModelReady", wire.ModelReadyRequest(name=model), wire.ModelReadyResponse)
        if not answer.ready:
            raise EngineAway(f"Triton's model {model!r} is not ready")

    async def models(self) -> list[str]:
        """List the models that can be asked."""
        index = await self._ask("RepositoryIndex", wire.RepositoryIndexRequest(), wire.RepositoryIndexResponse)
        return [model.name for model in index.models if model.state in READY]

    async def about(self, model: str) -> TritonModel:
        """Say what a model takes and gives."""
        said = await self._ask("ModelMetadata", wire.ModelMetadataRequest(name=model), wire.ModelMetadataResponse)
        return TritonModel(name=model, inputs=_tensors(said.inputs), outputs=_tensors(said.outputs))

    async def texts(self, model: TritonModel, prompt: str, wishes: Wishes) -> AsyncGenerator[str, None]:
        """Yield the pieces of one answer."""
        ask = self._opened().stream_stream(
            f"{_SERVICE}ModelStreamInfer",
            request_serializer=wire.ModelInferRequest.SerializeToString,
            response_deserializer=wire.ModelStreamInferResponse.FromString,
        )
        # Triton tells what is wrong with a request by a status, and ends the stream, only where this is asked for.
        metadata = (*self._metadata(), ("triton_grpc_error", "true"))
        call = ask(iter((_request(model, prompt, wishes),)), metadata=metadata)
        try:
            while (said := await self._next(call)) is not None:
                if said.error_message:
                    raise error_in_stream(said.error_message, self._key)
                yield _text_of(said.infer_response)
        finally:
            # A server stops working on an answer only when its reader has gone.
            call.cancel()

    async def _next(self, call: grpc.aio.StreamStreamCall[Any, Any]) -> wire.ModelStreamInferResponse | None:
        try:
            said = await self._steps.wait_for(call.read(), self._patience_s)
        except TimeoutError as error:
            raise EngineError(f"the server says nothing for {self._patience_s:.0f} s") from error
        except grpc.aio.AioRpcError as error:
            raise self._translated(error) from error
        return said if isinstance(said, wire.ModelStreamInferResponse) else None

    async def _ask(self, method: str, question: Message, kind: type[T]) -> T:
        ask = self._opened().unary_unary(
            _SERVICE + method,
            request_serializer=type(question).SerializeToString,
            response_deserializer=kind.FromString,
        )
        try:
            return await self._steps.wait_for(_answer(ask(question, metadata=self._metadata(), timeout=_LOOK_S)))
        except grpc.aio.AioRpcError as error:
            raise self._translated(error) from error

    def _opened(self) -> grpc.aio.Channel:
        if self._channel is None or self._is_stopped:
            raise EngineUnavailable("the engine was stopped or not started yet")
        return self._channel

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return tuple((name.lower(), value) for name, value in self._key.headers.items())

    def _translated(self, error: grpc.aio.AioRpcError) -> EngineError:
        code, said = error.code(), error.details() or ""
        if self._is_stopped:
            return EngineUnavailable("the engine was stopped")
        if code is grpc.StatusCode.UNAVAILABLE:
            return EngineAway(f"nobody answers at {self.root}: {self._key.hide(said)}")
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return EngineError(f"the server says nothing for {_LOOK_S:.0f} s")
        return error_of(_STATUS.get(code, 500), Failure(message=said), self._key)


async def _answer(call: grpc.aio.UnaryUnaryCall[Any, T]) -> T:
    return await call


def _target_of(url: str) -> tuple[str, str]:
    """The server as it is named, and where it is."""
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in {"grpc", "grpcs"} and parts.hostname and parts.port
    except ValueError:
        usable, parts = False, urlsplit("")
    if not usable or parts.path.strip("/"):
        raise EngineUnavailable(
            "the URL of a server over gRPC is grpc://HOST:PORT, or grpcs:// with TLS: give it by --url"
        )
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise EngineUnavailable("the URL of a server holds no password and no ?: give its key by --engine-key-file")
    return f"{parts.scheme}://{parts.netloc}", parts.netloc


def _tensors(said: Iterable[wire.ModelMetadataResponse.TensorMetadata]) -> tuple[Tensor, ...]:
    return tuple(Tensor(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in said)


def _request(model: TritonModel, prompt: str, wishes: Wishes) -> wire.ModelInferRequest:
    request = wire.ModelInferRequest(model_name=model.name)
    tensors = {tensor.name: tensor for tensor in model.inputs}
    text = request.inputs.add(name=TEXT_IN, datatype="BYTES", shape=_one(tensors[TEXT_IN]))
    text.contents.bytes_contents.append(prompt.encode())
    for wish in told(model, wishes):
        if wish.is_input:
            tensor = tensors[wish.name]
            given = request.inputs.add(name=wish.name, datatype=tensor.datatype, shape=_one(tensor))
            _put(given.contents, tensor.datatype, wish.value)
        else:
            request.parameters[wish.name].CopyFrom(_parameter(wish))
    return request


def _one(tensor: Tensor) -> list[int]:
    """The shape of one element, in as many dimensions as the model wants."""
    return [1] * len(tensor.shape)


def _put(contents: wire.InferTensorContents, datatype: str, value: float) -> None:
    if datatype == "BOOL":
        contents.bool_contents.append(bool(value))
    elif datatype == "FP32":
        contents.fp32_contents.append(value)
    elif datatype == "FP64":
        contents.fp64_contents.append(value)
    elif datatype in _SIGNED:
        contents.int_contents.append(int(value))
    elif datatype == "INT64":
        contents.int64_contents.append(int(value))
    elif datatype in _UNSIGNED:
        contents.uint_contents.append(int(value))
    elif datatype == "UINT64":
        contents.uint64_contents.append(int(value))
    else:
        contents.bytes_contents.append(str(value).encode())


def _parameter(wish: Told) -> wire.InferParameter:
    if isinstance(wish.value, bool):
        return wire.InferParameter(bool_param=wish.value)
    if isinstance(wish.value, int):
        return wire.InferParameter(int64_param=wish.value)
    return wire.InferParameter(double_param=wish.value)


def _text_of(said: wire.ModelInferResponse) -> str:
    """The text of one message; Triton sends it raw, others may not."""
    for index, output in enumerate(said.outputs):
        if output.name == TEXT_OUT:
            raw = said.raw_output_contents
            parts = _parts(raw[index]) if index < len(raw) else output.contents.bytes_contents
            return b"".join(parts).decode("utf-8", errors="replace")
    return ""


def _parts(raw: bytes) -> list[bytes]:
    """The elements of a tensor of texts: each behind its length."""
    parts: list[bytes] = []
    at = 0
    while at < len(raw):
        begin = at + _LENGTH_BYTES
        at = begin + int.from_bytes(raw[at:begin], "little")
        if at > len(raw):
            raise EngineError("the server sent what cannot be read: a text that is cut off")
        parts.append(raw[begin:at])
    return parts
