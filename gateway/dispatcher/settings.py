"""Settings of the dispatcher."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from msgspec import Meta, Struct

SMALL_MODEL = "smollm2-135m-instruct"
"""The model that `ig3 up` serves when nothing else was asked for."""


class DispatcherSettings(Struct, frozen=True, kw_only=True):
    """How one dispatcher works."""

    window: Annotated[
        int, Meta(ge=1, le=10_000, description="Tasks of each class that this dispatcher holds, running or waiting.")
    ] = 1024
    deadline: Annotated[timedelta, Meta(description="How long a task may take when it says nothing itself.")] = (
        timedelta(minutes=10)
    )
    max_attempts: Annotated[
        int, Meta(ge=1, le=100, description="On how many nodes a task is tried when they refuse it.")
    ] = 5
    known_models: Annotated[
        tuple[str, ...],
        Meta(description="Models that tasks may wait for although no node has announced them yet."),
    ] = (SMALL_MODEL,)
