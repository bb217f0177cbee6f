"""What a server's refusals mean to a node: ask elsewhere, ask never again, or wait until it is back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from nodes.engines.conversation import context_exceeded
from nodes.errors import EngineAway, EngineBusy, EngineError, RequestRefused

if TYPE_CHECKING:
    from nodes.engines.remote.api_key import ApiKey

_UNAUTHORISED: Final = frozenset({401, 403})
_BUSY: Final = frozenset({408, 425, 429, 503})
_UNKNOWN: Final = frozenset({404, 405, 410})
_AWAY: Final = frozenset({502, 504})
_CLIENT: Final = range(400, 500)
_REDIRECTS: Final = range(300, 400)
_CONTEXT_CODES: Final = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_CONTEXT_WORDS: Final = re.compile(
    r"context (?:length|size|window)|maximum context|prompt is too long|too many tokens|maximum number of tokens",
    re.IGNORECASE,
)


_TOO_LARGE: Final = re.compile(r"\(\d+ tokens\) is too large to process")
"""What llama-server says of a text that it cannot embed in one step, with a status as if it were to blame."""


class NotServed(EngineAway):
    """The server does not know the path or the model that it was asked for."""


class Failure(Struct, frozen=True, kw_only=True):
    """What a server says that went wrong: OpenAI's error object, and what llama-server adds to it."""

    message: str = ""
    code: str | int | None = None
    type: str | None = None
    n_prompt_tokens: int = 0
    n_ctx: int = 0


class _Body(Struct, frozen=True):
    error: Failure | str | None = None
    detail: str | None = None
    """How FastAPI says it."""
    message: str | None = None


def failure_in(body: bytes) -> Failure:
    """Read the body of an answer that is an error, whatever it looks like."""
    try:
        read = msgspec.json.decode(body, type=_Body, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Failure(message=body[:1024].decode("utf-8", errors="replace"))
    if isinstance(read.error, Failure):
        return read.error
    return Failure(message=read.error or read.detail or read.message or "")


def error_of(status: int, failure: Failure, key: ApiKey) -> EngineError:
    """Translate an answer that is an error; what the server says of it is shown without secrets."""
    said = f": {key.hide(failure.message)}" if failure.message.strip() else ""
    if status in _UNAUTHORISED:
        # What servers say to this often holds the key.
        return EngineAway(f"the server refuses the API key ({status})" if key else f"the server wants a key ({status})")
    if status in _BUSY:
        return EngineBusy(f"the server takes no more for now ({status}){said}")
    if status in _UNKNOWN:
        return NotServed(f"the server does not serve this ({status}){said}")
    if status in _AWAY:
        return EngineAway(f"what is behind the server does not answer ({status}){said}")
    if status in _REDIRECTS:
        return EngineAway(f"the server sends requests elsewhere ({status}): give the URL that it sends them to")
    if status in _CLIENT:
        return _refused(failure, said)
    if _TOO_LARGE.search(failure.message):
        return RequestRefused("context_length_exceeded", f"the request does not fit into this model's context{said}")
    return EngineError(f"the server failed ({status}){said}")


def error_in_stream(said: str, key: ApiKey) -> EngineError:
    """Translate what a server says in the place of the next piece, where no status says whose fault it is."""
    if _CONTEXT_WORDS.search(said):
        return _refused(Failure(message=said), f": {key.hide(said)}")
    return EngineError(f"the server failed: {key.hide(said)}")


def _refused(failure: Failure, said: str) -> RequestRefused:
    if failure.n_prompt_tokens and failure.n_ctx:
        return context_exceeded(failure.n_prompt_tokens, failure.n_ctx)
    if {failure.code, failure.type} & _CONTEXT_CODES or _CONTEXT_WORDS.search(failure.message):
        return RequestRefused("context_length_exceeded", f"the request does not fit into this model's context{said}")
    return RequestRefused("invalid_messages", f"the engine refuses this request{said}")
