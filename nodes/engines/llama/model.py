"""A model's weights and vocabulary in ``llama-cpp-python``: text to tokens and back."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from nodes.engines.llama.library import import_binding, quieten
from nodes.errors import EngineError, EngineUnavailable, RequestRefused

if TYPE_CHECKING:
    from pathlib import Path

    from nodes.engines.conversation import Conversation

_ALL_LAYERS: Final = 0x7FFF_FFFF
"""To the GPU, where there is one."""

_LONGEST_TOKEN_BYTES: Final = 1024
_SPARE_TOKENS: Final = 8
"""Tokens beyond one for each byte: beginning, end, and a space that some vocabularies put first."""

# What llama.cpp falls back to as well when a model brings no template.
_CHATML: Final = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)


class Offload(Struct, frozen=True, kw_only=True):
    """Which layers are on other devices than this machine's processor; no file is mapped then."""

    layers: int
    """So many of the last ones, the layer that makes words of the rest included."""
    shares: tuple[float, ...] = ()
    """How they spread over the devices, in their order; empty: by the memory that each says to have free."""


class LlamaModel:
    """Loaded weights. All but `close` may be called from several threads at once."""

    def __init__(self, path: Path, offload: Offload | None = None) -> None:
        """Load the file.

        Raises:
            EngineUnavailable: llama.cpp cannot, and its own words why.
        """
        self.api = import_binding("llama_cpp")
        self._path = path
        self.complaints = quieten(self.api)
        self.api.llama_backend_init()
        params = self.api.llama_model_default_params()
        params.n_gpu_layers = _ALL_LAYERS
        params.load_mode = self.api.LLAMA_LOAD_MODE_MMAP
        # The array must live as long as the call that reads it.
        shares = _spread(self.api, params, offload)
        self.handle: Any = self.api.llama_model_load_from_file(str(path).encode(), params)
        del shares
        if self.handle is None:
            raise self.unusable()
        self._vocab = self.api.llama_model_get_vocab(self.handle)
        self._bos = self._token_text(self.api.llama_vocab_bos(self._vocab))
        self._template = self._chat_template()

    def close(self) -> None:
        """Free the memory; no context of this model may be left."""
        handle, self.handle = self.handle, None
        if handle is not None:
            self.api.llama_model_free(handle)

    def unusable(self) -> EngineUnavailable:
        """Make the error for a model that llama.cpp cannot load or open a context of."""
        why = "; ".join(self.complaints) or "it does not say why"
        return EngineUnavailable(f"llama.cpp could not load {self._path}: {why}")

    @property
    def vocabulary_handle(self) -> Any:
        """The vocabulary, as llama.cpp wants it for a grammar."""
        return self._vocab

    @property
    def vocabulary(self) -> int:
        """How many tokens the model knows."""
        return self.api.llama_vocab_n_tokens(self._vocab)

    def prompt(self, conversation: Conversation) -> list[int]:
        """Render the turns by the model's own template, or take a raw prompt, with the begun answer behind.

        Raises:
            RequestRefused: the template refuses these messages.
        """
        if conversation.prompt:
            return self.tokens(conversation.raw, framed=True)
        messages = [{"role": turn.role, "content": turn.content} for turn in conversation.turns]
        try:
            text: str = self._template(messages=messages).prompt
        except Exception as e:  # a template is a program that came with the model: it may raise anything
            raise RequestRefused("invalid_messages", f"the model's chat template refuses these messages: {e}") from e
        begins = bool(self._bos) and text.startswith(self._bos)
        return self.tokens(text + conversation.begun, framed=not begins)

    def tokens(self, text: str, *, framed: bool = False) -> list[int]:
        """Part text into tokens, control tokens included; ``framed``: with the model's own first and last ones."""
        data = text.encode()
        room = len(data) + _SPARE_TOKENS
        tokens = (ctypes.c_int32 * room)()
        count = self.api.llama_tokenize(self._vocab, data, len(data), tokens, room, framed, True)
        if count < 0:
            raise EngineError(f"the model's tokenizer failed at a text of {len(data)} bytes")
        return tokens[:count]

    def ends_answer(self, token: int) -> bool:
        """Say whether the model ends its turn by this token."""
        return self.api.llama_vocab_is_eog(self._vocab, token)

    def token_bytes(self, token: int) -> bytes:
        """Return a token's part of the text: not always whole characters."""
        # Not `detokenize`: it has 32 bytes for one token and fails on longer ones.
        buffer = ctypes.create_string_buffer(_LONGEST_TOKEN_BYTES)
        size = self.api.llama_token_to_piece(self._vocab, token, buffer, _LONGEST_TOKEN_BYTES, 0, False)
        return buffer.raw[: max(0, size)]

    def token_text(self, token: int) -> str:
        """Return a token's part of the text, with a mark in place of what is no character."""
        return self.token_bytes(token).decode("utf-8", "replace")

    def odd_bytes(self, token: int) -> bytes | None:
        """Return a token's bytes, where they are no whole characters."""
        raw = self.token_bytes(token)
        return None if raw == self.token_text(token).encode() else raw

    def _chat_template(self) -> Any:
        own: bytes | None = self.api.llama_model_chat_template(self.handle, None)
        return import_binding("llama_cpp.llama_chat_format").Jinja2ChatFormatter(
            template=_CHATML if own is None else own.decode(),
            bos_token=self._bos,
            eos_token=self._token_text(self.api.llama_vocab_eos(self._vocab)),
        )

    def _token_text(self, token: int) -> str:
        return self.api.llama_vocab_get_text(self._vocab, token).decode() if token >= 0 else ""


def _spread(api: Any, params: Any, offload: Offload | None) -> Any:
    """Say in ``params`` where layers go; returns what must stay alive while the model is loaded."""
    if offload is None:
        return None
    params.n_gpu_layers = offload.layers
    params.load_mode = api.LLAMA_LOAD_MODE_NONE
    if not offload.shares:
        return None
    shares = (ctypes.c_float * api.llama_max_devices())(*offload.shares)
    params.tensor_split = shares
    return shares
