"""``POST /v1/embeddings``: what OpenAI's API lets a client say, read strictly, and the task it becomes.

Token arrays are refused: whoever sends them has parted the text by OpenAI's tokenizer, which is no model's here.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, get_args

from msgspec import Meta, Struct

from gateway.http.body_reader import BodyReader
from gateway.http.errors import ApiError
from streams.events import TaskSubmitted
from streams.tasks.vectors import MOST_TEXTS, Dimensions

EncodingFormat = Literal["float", "base64"]


class EmbeddingRequest(Struct, frozen=True, kw_only=True):
    """The request's body."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    input: str | list[Any]
    encoding_format: EncodingFormat | None = None
    dimensions: Dimensions | None = None
    user: str | None = None
    """Taken and passed to nobody: a task belongs to its account."""


class EmbeddingAsked(Struct, frozen=True, kw_only=True):
    """A request whose texts are texts."""

    request: EmbeddingRequest
    texts: tuple[str, ...]

    @property
    def draft(self) -> TaskSubmitted:
        """The task that this asks for."""
        return TaskSubmitted(model=self.request.model, texts=self.texts, dimensions=self.request.dimensions)


_body: Final = BodyReader(EmbeddingRequest, allowed={"encoding_format": get_args(EncodingFormat)})


def read_embedding_request(body: bytes) -> EmbeddingAsked:
    """Read a request's body.

    Raises:
        ApiError: 400, naming the parameter that is wrong.
    """
    request = _body.read(body)
    return EmbeddingAsked(request=request, texts=_texts(request.input))


def _texts(given: str | list[Any]) -> tuple[str, ...]:
    texts: list[Any] = [given] if isinstance(given, str) else given
    if not texts:
        raise _unusable("'input' cannot be an empty array.")
    if any(isinstance(text, (int, list)) for text in texts):
        message = "'input' cannot be tokens: their numbers mean nothing to the models here. Send strings"
        raise _unusable(f"{message} (LangChain: check_embedding_ctx_length=False).", code="invalid_type")
    if len(texts) > MOST_TEXTS:
        raise _unusable(f"'input' may have {MOST_TEXTS} texts, and this one has {len(texts)}: send several requests.")
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise _unusable(f"'input[{number}]' must be a string.", code="invalid_type")
        if not text:
            raise _unusable(f"'input[{number}]' is empty: a vector can be had of words only.")
    return tuple(texts)


def _unusable(message: str, *, code: str = "invalid_value") -> ApiError:
    return ApiError(400, message, code=code, param="input")
