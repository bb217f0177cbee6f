"""What a task says that checks another one's answer."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

_Name = Annotated[str, Meta(max_length=64)]


class CheckOf(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An answer that is checked by having another node write it too (ADR 14)."""

    account: _Name
    task: _Name
    node: _Name
    """Who wrote it."""
    engine: Annotated[str, Meta(max_length=256)]
    """With what; together with the quantisation and the model, what another node must run to come to the same."""
    quantisation: Annotated[str, Meta(max_length=256)] | None = None
    other: _Name | None = None
    """Who has written another answer, as ``other_task``: then this run says which of the two is wrong."""
    other_task: _Name | None = None
