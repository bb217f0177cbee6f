"""Everything a node can refuse or fail at, as one small hierarchy."""

from __future__ import annotations

from typing import Literal

RefusalCode = Literal["context_length_exceeded", "invalid_messages"]
"""Why an engine would not start on a request; the first is the name that OpenAI's clients know."""


class NodeError(Exception):
    """Root of every error raised by ``nodes``."""


class EngineError(NodeError):
    """An engine failed at a request; the same request may succeed on another node."""


class EngineUnavailable(EngineError):
    """An engine cannot be had: its package or model is missing or broken, or it was stopped."""


class RequestRefused(EngineError):
    """A request can never succeed here, and nothing was generated for it."""

    def __init__(self, code: RefusalCode, message: str) -> None:
        super().__init__(message)
        self.code: RefusalCode = code
        self.message = message
