"""Everything a node can refuse or fail at, as one small hierarchy."""

from __future__ import annotations

from typing import Literal

RefusalCode = Literal[
    "context_length_exceeded", "invalid_messages", "invalid_input", "unsupported_ability", "unsupported_schema"
]
"""Why an engine would not start on a request; the first is the name that OpenAI's clients know."""


class NodeError(Exception):
    """Root of every error raised by ``nodes``."""


class EngineError(NodeError):
    """An engine failed at a request; the same request may succeed on another node."""


class EngineUnavailable(EngineError):
    """An engine cannot be had: its package or model is missing or broken, or it was stopped."""


class EngineAway(EngineUnavailable):
    """What an engine asks outside of this process cannot be reached; the engine says by itself when it is back."""


class EngineBusy(EngineError):
    """What an engine asks outside of this process takes no more for now."""


class EngineStuck(EngineUnavailable):
    """An engine does not end its work, so its threads would keep this process alive: leave without them."""


class NodeIdTaken(NodeError):
    """Another process serves under this node's id, and goes on doing so; this one ends."""


class CannotContinue(NodeError):
    """The engine cannot go on from the published text, and did not write the same text again; nothing was written."""


class NodeStopping(NodeError):
    """The node is shut down before the answer is whole; another can go on from what is stored."""


class RequestRefused(EngineError):
    """A request can never succeed here, and nothing was generated for it."""

    def __init__(self, code: RefusalCode, message: str) -> None:
        super().__init__(message)
        self.code: RefusalCode = code
        self.message = message


class ShardLinkRefused(NodeError):
    """The other end of a shard group's link is not who it should be, or does not answer."""
