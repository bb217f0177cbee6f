"""What a task that was asked for as a response (``POST /v1/responses``) says beside its question."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

MetadataName = Annotated[str, Meta(max_length=64)]
MetadataText = Annotated[str, Meta(max_length=512)]

MOST_METADATA = 16
"""Pairs of metadata; OpenAI's limit."""


class MetadataPair(Struct, frozen=True, kw_only=True):
    """Something that a client notes beside its response."""

    name: MetadataName
    text: MetadataText


class ResponseTerms(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """So that any gateway shows the response as it was asked for. The task's messages hold the whole conversation."""

    previous: Annotated[str, Meta(max_length=64)] | None = None
    """The task whose conversation this one continues."""
    instructed: bool = False
    """Whether the first message is this turn's instructions, which a later turn does not inherit."""
    earlier: Annotated[int, Meta(ge=0, le=4096)] = 0
    """How many messages behind the instructions are of earlier turns."""
    metadata: Annotated[tuple[MetadataPair, ...], Meta(max_length=MOST_METADATA)] = ()
    """For the client's own use."""
    stored: bool = True
    """Whether it may be read again as a response, and continued."""
    background: bool = False
    """Whether it was asked for by somebody who does not wait."""
    max_tool_calls: Annotated[int, Meta(ge=1)] | None = None
    """How often the mesh itself may use a tool for it; None: nothing was said."""
