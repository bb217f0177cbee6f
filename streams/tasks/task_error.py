"""Why a task came to no whole answer."""

from __future__ import annotations

from msgspec import Struct


class TaskError(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a task did not complete, with the code and status that HTTP would have given."""

    code: str
    message: str
    status: int
    param: str | None = None
