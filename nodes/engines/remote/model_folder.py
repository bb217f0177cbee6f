"""A folder with a model in the form of the library transformers, read as far as vLLM's node needs to know of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
from msgspec import Struct

from nodes.engines.llama.plain_text import markers_of
from nodes.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

_T = TypeVar("_T", bound=Struct)

_SENTENCES: Final = "sentence_*_config.json"
"""How sentence-transformers names, by the kind of network, the file that says how long a text may be."""


class _Lengths(Struct, frozen=True):
    """How many tokens a model was made for, as the kinds of models call it."""

    max_position_embeddings: float | None = None
    n_positions: float | None = None
    max_seq_len: float | None = None
    seq_length: float | None = None
    model_max_length: float | None = None
    max_sequence_length: float | None = None
    max_seq_length: float | None = None

    def said(self) -> Iterator[float]:
        """List those that the file has."""
        lengths = (getattr(self, name) for name in _Lengths.__struct_fields__)
        return (length for length in lengths if length is not None and length > 0)


class _Config(_Lengths, frozen=True):
    """What ``config.json`` says, as far as it is asked here."""

    text_config: _Lengths | None = None
    """The part that writes, in a model that sees as well."""
    quantization_config: dict[str, object] | None = None
    dtype: str | None = None
    torch_dtype: str | None = None


class _AddedToken(Struct, frozen=True):
    content: str
    special: bool = False


class _Tokenizer(Struct, frozen=True):
    added_tokens: list[_AddedToken] = []


class _TokenizerConfig(_Lengths, frozen=True):
    added_tokens_decoder: dict[str, _AddedToken] = {}
    chat_template: str | list[object] | None = None


class ModelFolder:
    """One such folder."""

    def __init__(self, model: str | None) -> None:
        """Read its ``config.json``.

        Raises:
            EngineUnavailable: there is no such folder, or the file cannot be used.
        """
        self.path = Path(model or "").expanduser().absolute()
        if model is None or not (self.path / "config.json").is_file():
            raise EngineUnavailable(
                f"{model!r} is no model of vLLM's: give a folder with config.json and weights by --model"
            )
        self._config = _read(self.path / "config.json", _Config)

    @property
    def quantisation(self) -> str | None:
        """As the model's own file calls it; None where it does not say."""
        method = (self._config.quantization_config or {}).get("quant_method")
        return str(method) if method else self._config.dtype or self._config.torch_dtype

    def context_tokens(self, wanted: int) -> int:
        """Return how many tokens of those wanted the model takes: vLLM does not start where it is told more.

        Raises:
            EngineUnavailable: a file of the model's cannot be read.
        """
        inner = self._config.text_config or _Lengths()
        lengths = (self._config, inner, self._tokenizer_config(), *self._of_sentences())
        return min((wanted, *(int(said) for each in lengths for said in each.said())))

    def markers(self) -> tuple[str, ...]:
        """List the texts that the tokenizer takes for the model's own, which a message must not hold.

        Raises:
            EngineUnavailable: the model's files cannot be read.
        """
        tokenizer, jinja = self.path / "tokenizer.json", self.path / "chat_template.jinja"
        older = self._tokenizer_config()
        newer = _read(tokenizer, _Tokenizer) if tokenizer.is_file() else _Tokenizer()
        added = (*older.added_tokens_decoder.values(), *newer.added_tokens)
        template = older.chat_template if isinstance(older.chat_template, str) else ""
        template += jinja.read_text("utf-8") if jinja.is_file() else ""
        return tuple(sorted({token.content for token in added if token.special} | set(markers_of(template))))

    def _tokenizer_config(self) -> _TokenizerConfig:
        path = self.path / "tokenizer_config.json"
        return _read(path, _TokenizerConfig) if path.is_file() else _TokenizerConfig()

    def _of_sentences(self) -> Iterator[_Lengths]:
        return (_read(path, _Lengths) for path in self.path.glob(_SENTENCES))


def _read(path: Path, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        raise EngineUnavailable(f"{path} cannot be used: {error}") from error
