"""The OpenAPI document (3.1), made of ``operations``; its schemas are what msgspec says of the types."""

from __future__ import annotations

import functools
import re
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from gateway.http.openapi.operations import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.http.openapi.operations import Operation, Parameter

Json = dict[str, Any]

_REF: Final = "#/components/schemas/{name}"
_DESCRIPTION: Final = (
    "An event-sourced mesh for LLM inference: any gateway goes on with what another has begun. "
    "The pages in docs/ say what the fields mean, and which values are refused."
)
_HEADERS: Final = {
    "x-request-id": "Which request this answers.",
    "openai-processing-ms": "Milliseconds until the answer began.",
    "x-ig3-task": "Which task it is about, if there is one.",
}


@functools.cache
def openapi_json() -> bytes:
    """The document as it is served; made once."""
    # Types of one name are told apart by their modules; where those are is nobody's business.
    return msgspec.json.encode(openapi_document()).replace(b"gateway.http.", b"")


async def show_openapi(_: web.Request) -> web.Response:
    """Answer with the document."""
    return web.Response(body=openapi_json(), headers={"Content-Type": "application/json"})


def openapi_document() -> Json:
    """The document."""
    types = tuple(_types())
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    # By their place: not all types can be hashed.
    found = iter(schemas)
    paths: dict[str, Json] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, found)
    return {
        "openapi": "3.1.0",
        "info": {"title": "iG3 edge network", "version": version("ig3-edge-network"), "description": _DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _types() -> Iterator[Any]:
    """The types of all operations, in the order in which ``_operation`` takes them."""
    for operation in OPERATIONS:
        yield from (parameter.kind for parameter in operation.parameters)
        yield from (kind for kind in (operation.request, operation.answer, *operation.events) if kind is not None)
        yield operation.error


def _operation(operation: Operation, schemas: Iterator[Json]) -> Json:
    described: Json = {"operationId": _name_of(operation), "summary": operation.summary}
    if operation.parameters:
        described["parameters"] = [_parameter(parameter, next(schemas)) for parameter in operation.parameters]
    if operation.request is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": next(schemas)}}}
    answer: Json = {"description": operation.summary, "headers": _headers()}
    content: Json = {}
    if operation.answer is not None:
        content["application/json"] = {"schema": next(schemas)}
    if operation.events:
        content["text/event-stream"] = {"schema": {"anyOf": [next(schemas) for _ in operation.events]}}
    if operation.media_type:
        content[operation.media_type] = {"schema": {"type": "string"}}
    if content:
        answer["content"] = content
    error = {"description": "An error.", "content": {"application/json": {"schema": next(schemas)}}}
    described["responses"] = {str(operation.status): answer, "default": error}
    described["security"] = [{}] if operation.is_open else [{"bearer": []}, {"key": []}]
    return described


def _parameter(parameter: Parameter, schema: Json) -> Json:
    described: Json = {"name": parameter.name, "in": parameter.place, "schema": schema}
    if parameter.description:
        described["description"] = parameter.description
    if parameter.place == "path":
        described["required"] = True
    return described


def _headers() -> Json:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()}


def _name_of(operation: Operation) -> str:
    words = re.findall(r"[A-Za-z0-9]+", operation.path) or ["page"]
    return "_".join((operation.method, *words))
