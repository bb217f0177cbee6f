"""What a request demands of an answer beyond text: functions to call, and the form that the text must have.

JSON schemas travel as the JSON text that the user sent: nobody between the user and the engine interprets them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

FunctionName = Annotated[str, Meta(min_length=1, max_length=64, pattern="^[A-Za-z0-9_-]+$")]
"""OpenAI's rule."""

SchemaJson = Annotated[str, Meta(max_length=131_072)]
"""A JSON schema as JSON; empty: none was given."""

MOST_FUNCTIONS = 128
"""In one request; OpenAI's limit."""


class Function(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that the model may ask its user to do."""

    name: FunctionName
    description: Annotated[str, Meta(max_length=16_384)] = ""
    parameters_json: SchemaJson = ""
    strict: bool = False
    """Whether the arguments must match the schema, enforced while they are written."""


class Tools(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The functions of a request, and whether the model must call one."""

    functions: Annotated[tuple[Function, ...], Meta(min_length=1, max_length=MOST_FUNCTIONS)]
    choice: Literal["auto", "none", "required", "named"] = "auto"
    name: FunctionName | None = None
    """Which function it must call, where ``choice`` is ``named``."""
    parallel: bool = True
    """Whether it may call several at once."""


class OutputFormat(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The form of an answer: any JSON object, or JSON under a schema."""

    kind: Literal["json_object", "json_schema"]
    name: str = ""
    schema_json: SchemaJson = ""
    strict: bool = True
