"""LiteLLM, brought in with its mouth shut: no telemetry, no list of prices from the network, no key out of the air."""

from __future__ import annotations

import contextlib
import logging
import os
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

import msgspec
from aiohttp import ClientConnectorError, ClientOSError, ServerDisconnectedError

from nodes.engines.cloud.cloud_file import highest_price
from nodes.engines.embedding.answer import Answer
from nodes.engines.openai_logprobs import Logprobs
from nodes.engines.remote.chat_demands import choice_of, format_of, tools_of, turn_of
from nodes.engines.remote.chat_wire import Chunk, chunk
from nodes.engines.remote.failures import Failure, error_of
from nodes.engines.remote.wire_calls import WireCall
from nodes.errors import EngineAway, EngineError, EngineUnavailable
from nodes.personal_data.spec import RECOGNISERS
from streams.devices.replica import Price

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator

    from nodes.engine import Generate
    from nodes.engines.cloud.cloud_file import ModelEntry, ProviderEntry
    from nodes.engines.conversation import Conversation
    from nodes.engines.remote.api_key import ApiKey
    from nodes.engines.remote.steps import Steps

_LOCAL_PRICES: Final = "LITELLM_LOCAL_MODEL_COST_MAP"
_LOGGERS: Final = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "httpx", "openai")
"""They log requests and what providers say to them, keys included."""
_NO_KEY: Final = "none"
"""Given where a provider wants no key: else LiteLLM takes one out of the environment for whatever host it is told."""
_PER_MILLION: Final = 1_000_000
_MICRO: Final = 1_000_000
_SERVER_FAULT: Final = 500
_STREAMS: Final = ("streaming_response", "async_response_iterator", "response_iterator")


class Known(NamedTuple):
    """What is known of a model without asking its providers."""

    context_tokens: int
    price: Price | None
    """The highest of theirs."""


class _Ended(Exception):
    """A stream has no more chunks."""


class LiteLlm:
    """The library, and the one place that knows what it raises."""

    _users: ClassVar[int] = 0

    def __init__(self) -> None:
        """Look whether it is there; ``load`` imports it.

        Raises:
            EngineUnavailable: it is not installed.
        """
        for package in ("litellm", *RECOGNISERS):
            if find_spec(package) is None:
                raise EngineUnavailable(f"engine litellm needs {package}: run `make extras EXTRAS=cloud`")
        self._library: Any = None

    def load(self) -> None:
        """Import it, which takes seconds: for a thread.

        Raises:
            EngineUnavailable: it cannot be imported.
        """
        os.environ[_LOCAL_PRICES] = "True"
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            self._library = import_module("litellm")
        except ImportError as error:
            raise EngineUnavailable(f"LiteLLM cannot be used ({error}): run `make extras EXTRAS=cloud`") from error
        self._library.suppress_debug_info = True
        self._library.telemetry = False
        self._library.turn_off_message_logging = True
        # Of embeddings it takes "no retries" for "the usual number of retries".
        self._library.DEFAULT_MAX_RETRIES = 0

    def what_is_known(self, entry: ModelEntry) -> Known:
        """Put together what the file says of a model, and LiteLLM's list where the file says nothing.

        Raises:
            EngineUnavailable: neither says how much context it has, or its providers ask for several currencies.
        """
        own = [self._price_of(p.model) if p.price is None else p.price.price for p in entry.providers]
        contexts = [self._context_of(provider.model) for provider in entry.providers]
        context = entry.context_tokens or min((c for c in contexts if c), default=None)
        if context is None:
            raise EngineUnavailable(f"how much context {entry.id!r} has is not known: write its context_tokens")
        return Known(context, highest_price(tuple(own)))

    def _context_of(self, model: str) -> int | None:
        known = self._known(model)
        prompt, answer = known.get("max_input_tokens"), known.get("max_output_tokens")
        return None if not isinstance(prompt, int) else prompt + (answer if isinstance(answer, int) else 0)

    def _price_of(self, model: str) -> Price | None:
        known = self._known(model)
        costs = [known.get(f"{kind}_cost_per_token") for kind in ("input", "output")]
        if not all(isinstance(cost, int | float) for cost in costs):
            return None
        cached = known.get("cache_read_input_token_cost")
        return Price(
            prompt_micro=_micro(costs[0]),
            completion_micro=_micro(costs[1]),
            cached_prompt_micro=_micro(cached) if isinstance(cached, int | float) else None,
        )

    @asynccontextmanager
    async def ask(
        self,
        provider: ProviderEntry,
        key: ApiKey,
        conversation: Conversation,
        request: Generate,
        *,
        steps: Steps,
        patience_s: float,
    ) -> AsyncGenerator[AsyncIterator[Chunk], None]:
        """Ask one provider; leaving closes the connection to it.

        Raises:
            EngineError: no answer came, it was an error, or what is read of it inside breaks off.
        """
        stream: Any = None
        inner: Any = None
        try:
            with self._translating(key, patience_s):
                call = partial(self._library.acompletion, **_call(provider, key, conversation, request))
                stream = await _asked(call, steps, patience_s)
                inner = stream.completion_stream
                yield _chunks(stream, steps, patience_s)
        finally:
            if stream is not None:
                await _close(stream, inner)

    async def embed(
        self, provider: ProviderEntry, key: ApiKey, texts: tuple[str, ...], *, steps: Steps, patience_s: float
    ) -> Answer:
        """Ask one provider for the vectors of texts.

        Raises:
            EngineError: no answer came, or it was an error.
        """
        with self._translating(key, patience_s):
            wishes = {**_shared(provider, key), "input": list(texts), "encoding_format": "float"}
            theirs = await _asked(partial(self._library.aembedding, **wishes), steps, patience_s)
            return msgspec.convert(theirs.model_dump(), Answer, strict=False)

    def open(self) -> None:
        """Begin to use it; ``close`` follows."""
        LiteLlm._users += 1

    async def close(self) -> None:
        """Close every connection that it keeps, once no model of this process uses it any more."""
        LiteLlm._users -= 1
        if LiteLlm._users:
            return
        cleanup: Any = import_module("litellm.llms.custom_httpx.async_client_cleanup")
        await cleanup.close_litellm_async_clients()
        # One client, for all providers that have none of their own (Anthropic), is not in its list. Closed itself, it
        # could not be used again: so only its connections are.
        shared: Any = self._library.module_level_aclient
        await shared.client._transport.aclose()
        # It would give the closed ones to whoever asks the same provider again.
        kept: Any = self._library.in_memory_llm_clients_cache
        for name, client in tuple(kept.cache_dict.items()):
            if getattr(getattr(client, "_client", None), "is_closed", False):
                kept.delete_cache(name)

    @contextlib.contextmanager
    def _translating(self, key: ApiKey, patience_s: float) -> Generator[None, None, None]:
        """Have whatever goes wrong inside come out as an `EngineError`."""
        try:
            yield
        except EngineError:
            raise
        except TimeoutError as error:
            raise EngineError(f"the provider says nothing for {patience_s:.0f} s") from error
        except msgspec.ValidationError as error:
            raise EngineError(f"the provider sent what cannot be read: {error}") from error
        except Exception as error:  # whatever the library raises
            # From None: its own messages hold requests and keys.
            raise self._translated(error, key) from None

    def _known(self, model: str) -> dict[str, object]:
        bare = model.partition("/")[2]
        prices: dict[str, dict[str, object]] = self._library.model_cost
        return prices.get(model) or prices.get(bare) or {}

    def _translated(self, error: Exception, key: ApiKey) -> EngineError:
        if isinstance(error, self._library.ContextWindowExceededError):
            return error_of(400, Failure(message=str(error), code="context_length_exceeded"), key)
        unreachable = isinstance(error, self._library.Timeout | self._library.APIConnectionError)
        if unreachable or _is_from(error, ClientConnectorError):
            return EngineAway(f"the provider cannot be reached: {key.hide(str(error))}")
        status: object = getattr(error, "status_code", None)
        return error_of(status if isinstance(status, int) else _SERVER_FAULT, Failure(message=str(error)), key)


async def _asked(call: Callable[[], Coroutine[Any, Any, Any]], steps: Steps, patience_s: float) -> Any:
    try:
        return await steps.wait_for(call(), patience_s)
    except Exception as error:
        if not _was_cut(error):
            raise
        # Most likely a connection that was kept from before, and that they closed in this moment.
        return await steps.wait_for(call(), patience_s)


def _was_cut(error: BaseException) -> bool:
    """Whether the connection broke before a word of an answer came."""
    return _is_from(error, ServerDisconnectedError, ClientOSError, ConnectionError)


def _is_from(error: BaseException | None, *kinds: type[BaseException]) -> bool:
    """Whether an error, or one that led to it, is of one of these kinds."""
    while error is not None:
        if isinstance(error, kinds):
            return True
        error = error.__cause__ or error.__context__
    return False


def _call(provider: ProviderEntry, key: ApiKey, conversation: Conversation, request: Generate) -> dict[str, object]:
    """The whole list of what the library is given; ``drop_params`` has it leave out what a provider does not know."""
    sampling = request.sampling
    turns: list[object] = [msgspec.to_builtins(turn_of(turn)) for turn in conversation.turns]
    if conversation.begun:
        turns.append({"role": "assistant", "content": conversation.begun})
    wishes: dict[str, object] = {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": None if sampling.seed is None else sampling.seed % 0x7FFF_FFFF,
        "stop": list(sampling.stop) or None,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        **_demands(request),
    }
    return {
        **_shared(provider, key),
        "messages": turns,
        "stream": True,
        "stream_options": {"include_usage": True},
        **{name: value for name, value in wishes.items() if value is not None},
    }


def _shared(provider: ProviderEntry, key: ApiKey) -> dict[str, object]:
    """What goes with every question; ``drop_params`` has it leave out what a provider does not know."""
    return {
        "model": provider.model,
        "api_key": key.reveal() or _NO_KEY,
        "drop_params": True,
        "num_retries": 0,
        "max_retries": 0,
        **({} if provider.url is None else {"api_base": provider.url}),
    }


def _demands(request: Generate) -> dict[str, object]:
    """What a provider only gets that has shown that it does not pass over it."""
    sampling, tools = request.sampling, request.tools
    return {
        "logit_bias": {str(one.token): one.bias for one in sampling.logit_bias} or None,
        "logprobs": None if sampling.top_logprobs is None else True,
        "top_logprobs": None if sampling.top_logprobs is None else max(1, sampling.top_logprobs),
        # It would look for an extra of its own that runs tools by itself, which none of these may ever be.
        "_skip_mcp_handler": None if tools is None else True,
        "tools": None if tools is None else msgspec.to_builtins(tools_of(tools)),
        "tool_choice": None if tools is None else msgspec.to_builtins(choice_of(tools)),
        "parallel_tool_calls": None if tools is None or tools.parallel else False,
        "response_format": None if request.format is None else msgspec.to_builtins(format_of(request.format)),
    }


async def _chunks(stream: Any, steps: Steps, patience_s: float) -> AsyncGenerator[Chunk, None]:
    """Turn the library's chunks into ours."""
    while True:
        try:
            theirs = await steps.wait_for(_next(stream), patience_s)
        except _Ended:
            return
        yield _chunk_of(theirs)


async def _next(stream: Any) -> Any:
    try:
        return await anext(stream)
    except StopAsyncIteration:  # which no task may raise
        raise _Ended from None


def _chunk_of(theirs: Any) -> Chunk:
    choice = theirs.choices[0] if theirs.choices else None
    usage = getattr(theirs, "usage", None)
    details = getattr(usage, "prompt_tokens_details", None)
    calls = getattr(choice.delta, "tool_calls", None) if choice is not None else None
    logprobs = getattr(choice, "logprobs", None)
    return chunk(
        text=(choice.delta.content or "") if choice is not None else "",
        calls=msgspec.convert(calls or [], list[WireCall], from_attributes=True),
        logprobs=None if logprobs is None else msgspec.convert(logprobs, Logprobs, from_attributes=True),
        finish_reason=choice.finish_reason if choice is not None else None,
        tokens=None if usage is None else (usage.prompt_tokens, usage.completion_tokens),
        cached=getattr(details, "cached_tokens", None) or 0,
    )


async def _close(stream: Any, inner: Any) -> None:
    """Close an answer for good: of some providers the library closes only its own end, and they write on."""
    with contextlib.suppress(Exception):
        await stream.aclose()
    for name in _STREAMS:
        source: Any = getattr(inner, name, None)
        if hasattr(source, "aclose"):
            with contextlib.suppress(Exception):
                await source.aclose()


def _micro(cost_per_token: object) -> int:
    return round(float(msgspec.convert(cost_per_token, float, strict=False)) * _PER_MILLION * _MICRO)
