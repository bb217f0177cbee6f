"""One model in one context of ``llama-cpp-python``: all that we ask of that binding, one answer at a time."""

from __future__ import annotations

import codecs
import ctypes
import logging
from collections import deque
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from nodes.engines.answer_writer import AnswerWriter
from nodes.engines.conversation import context_exceeded
from nodes.engines.host import compute_threads
from nodes.errors import EngineUnavailable, RequestRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nodes.engine import Piece
    from nodes.engines.conversation import Conversation
    from streams.chat import FinishReason, Sampling

_log = logging.getLogger(__name__)

_BATCH_TOKENS: Final = 64
"""Prompt tokens per step; a prompt can be cancelled between two."""

_FLASH_ATTENTION: Final = True
"""With it a token's logits came out the same to the bit however the prompt was cut into steps; without, they differed
by 0.6 and a greedy answer that was continued took another way."""

_RANDOM_SEED: Final = 0xFFFF_FFFF
"""llama.cpp reads this seed as "choose one", so no seed of a user's may become it."""

_GPU: Final = 1
"""``GGML_BACKEND_DEVICE_TYPE_GPU``."""

_WARNING: Final = 2
_ERROR: Final = 3
_LONGEST_TOKEN_BYTES: Final = 1024
_COMPLAINTS: Final = 4

# What llama.cpp falls back to as well when a model brings no template.
_CHATML: Final = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)


class Offload(Struct, frozen=True, kw_only=True):
    """Which layers leave the processor of this machine, and whether all weights are mapped into its memory."""

    layers: int = -1
    """So many of the last ones, the layer that makes words of the rest included; -1: all, where there is a GPU."""
    shares: tuple[float, ...] | None = None
    """How they spread over the devices, in their order; None: by the memory that each says to have free."""
    maps_file: bool = True


class LlamaModel:
    """A loaded model. Not thread-safe: one answer after the other."""

    def __init__(self, path: Path, context_tokens: int, threads: int | None, offload: Offload | None = None) -> None:
        self._api = import_binding("llama_cpp")
        self._context_tokens = context_tokens
        complaints = _quieten(self._api)
        count = compute_threads(threads)
        away = offload or Offload()
        try:
            self._llama = self._api.Llama(
                model_path=str(path), n_gpu_layers=away.layers, tensor_split=away.shares and list(away.shares),
                use_mmap=away.maps_file, n_ctx=context_tokens, n_batch=_BATCH_TOKENS,
                n_ubatch=_BATCH_TOKENS, n_threads=count, n_threads_batch=count, flash_attn=_FLASH_ATTENTION,
                verbose=False,
            )  # fmt: skip
        except (ValueError, RuntimeError, OSError) as e:
            why = "; ".join(complaints) or str(e)
            raise EngineUnavailable(f"llama.cpp could not load {path}: {why}") from e
        self._vocab = self._api.llama_model_get_vocab(self._llama.model)
        self._template = self._chat_template()

    def close(self) -> None:
        """Free the memory."""
        self._llama.close()

    def answer(self, conversation: Conversation, sampling: Sampling, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        """Generate one answer; ends without a last piece when ``cancelled()``.

        Raises:
            RequestRefused: the template refuses the messages, or they leave no room in the context.
        """
        prompt = self._prompt_tokens(conversation)
        if len(prompt) >= self._context_tokens:
            raise context_exceeded(len(prompt), self._context_tokens)
        room = self._context_tokens - len(prompt)
        wanted = min(sampling.max_tokens or room, room)
        writer = AnswerWriter(sampling.stop, conversation.mended, prompt_tokens=len(prompt))
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for token in self._tokens(prompt, sampling, cancelled):
            text, ends = self._step(token, decoder, last=writer.tokens + 1 == wanted)
            piece = writer.add(text, ends=ends)
            if piece is not None:
                yield piece
            if writer.finished or cancelled():
                return

    def _step(self, token: int, decoder: codecs.IncrementalDecoder, *, last: bool) -> tuple[str, FinishReason | None]:
        if self._api.llama_vocab_is_eog(self._vocab, token):
            return "", "stop"
        return decoder.decode(self._token_bytes(token)), "length" if last else None

    def _tokens(self, prompt: list[int], sampling: Sampling, cancelled: Callable[[], bool]) -> Iterator[int]:
        """Read the prompt in steps, then yield tokens without end."""
        llama = self._llama
        llama.reset()  # nothing of the request before may take part: repeatable, and no leak
        for at in range(0, len(prompt) - 1, _BATCH_TOKENS):
            if cancelled():
                return
            llama.eval(prompt[at : min(at + _BATCH_TOKENS, len(prompt) - 1)])
        if not cancelled():
            llama.set_seed(_RANDOM_SEED if sampling.seed is None else sampling.seed % _RANDOM_SEED)
            yield from llama.generate(prompt, **_chosen(sampling))

    def _prompt_tokens(self, conversation: Conversation) -> list[int]:
        messages = [{"role": turn.role, "content": turn.content} for turn in conversation.turns]
        try:
            text: str = self._template(messages=messages).prompt
        except Exception as e:  # a template is a program that came with the model: it may raise anything
            raise RequestRefused("invalid_messages", f"the model's chat template refuses these messages: {e}") from e
        begins = bool(self._bos) and text.startswith(self._bos)
        return self._llama.tokenize((text + conversation.begun).encode(), add_bos=not begins, special=True)

    def _chat_template(self) -> Any:
        self._bos = self._token_text(self._llama.token_bos())
        formats = import_binding("llama_cpp.llama_chat_format")
        return formats.Jinja2ChatFormatter(
            template=self._llama.metadata.get("tokenizer.chat_template", _CHATML),
            bos_token=self._bos,
            eos_token=self._token_text(self._llama.token_eos()),
        )

    def _token_text(self, token: int) -> str:
        return self._api.llama_vocab_get_text(self._vocab, token).decode() if token >= 0 else ""

    def _token_bytes(self, token: int) -> bytes:
        # Not `detokenize`: it has 32 bytes for one token and fails on longer ones.
        buffer = ctypes.create_string_buffer(_LONGEST_TOKEN_BYTES)
        size = self._api.llama_token_to_piece(self._vocab, token, buffer, _LONGEST_TOKEN_BYTES, 0, False)
        return buffer.raw[: max(0, size)]


def _chosen(sampling: Sampling) -> dict[str, float]:
    """The parameters that were given, by the binding's names; its defaults are llama.cpp's own."""
    given = {
        "temp": sampling.temperature,
        "top_p": sampling.top_p,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
    }
    return {name: value for name, value in given.items() if value is not None}


def import_binding(module: str) -> Any:
    """Import a module of the binding.

    Raises:
        EngineUnavailable: it is not installed, or its shared library does not fit this machine.
    """
    try:
        return import_module(module)
    except (ImportError, OSError, RuntimeError) as e:
        raise EngineUnavailable(
            f"engine llama-cpp-python is not usable here ({e}): `make llamacpp` compiles and installs it"
        ) from e


def has_gpu() -> bool:
    """Say whether this build of llama.cpp sees a GPU with a memory of its own.

    Not ``llama_supports_gpu_offload``: that says yes as soon as the build can use other machines (RPC).
    """
    find_device = import_binding("llama_cpp._ggml").libggml.ggml_backend_dev_by_type
    find_device.argtypes, find_device.restype = [ctypes.c_int], ctypes.c_void_p
    return find_device(_GPU) is not None


_callback: Any = None
"""The C library calls this for ever, so it must stay alive as long as the process."""


def _quieten(api: Any) -> deque[str]:
    """Send llama.cpp's log to ours, warnings as debug; return where the latest errors are kept."""
    global _callback
    complaints: deque[str] = deque(maxlen=_COMPLAINTS)

    @api.llama_log_callback
    def take(level: int, text: bytes, _: object) -> None:
        line = text.decode("utf-8", "replace").strip()
        if level == _ERROR:
            complaints.append(line)
            _log.error("%s", line)
        elif level == _WARNING:
            _log.debug("%s", line)

    _callback = take
    api.llama_log_set(take, ctypes.c_void_p(0))
    return complaints
