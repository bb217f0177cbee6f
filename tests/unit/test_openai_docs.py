"""The pages about the HTTP API name what there is."""

import re
from pathlib import Path

import pytest
from msgspec import Struct

from gateway.http import wishes
from gateway.http.chat.request import UNSUPPORTED, UNSUPPORTED_VALUES, ChatRequest
from gateway.http.completions import request as completions
from gateway.http.messages import request as messages
from gateway.http.openapi.operation import Operation
from gateway.http.openapi.store_operations import STORE_OPERATIONS
from gateway.http.responses import request as responses
from gateway.http.vector_stores.request import (
    FileBatchRequest,
    SearchRequest,
    StoreFileRequest,
    VectorStoreRequest,
)

ROOT = Path(__file__).parents[2]
PAGE = "".join((ROOT / "docs" / name).read_text() for name in ("http.md", "files.md", "retrieval.md"))
RETRIEVAL = (ROOT / "docs" / "retrieval.md").read_text()
RESPONSES = (ROOT / "docs" / "responses.md").read_text()
MESSAGES = (ROOT / "docs" / "messages.md").read_text()
COMPLETIONS = (ROOT / "docs" / "completions.md").read_text()
SOURCES = [
    path.read_text()
    for folder in ("http", "files", "batches")
    for path in sorted((ROOT / "gateway" / folder).rglob("*.py"))
]


@pytest.mark.parametrize("name", sorted({*ChatRequest.__struct_fields__} | UNSUPPORTED | UNSUPPORTED_VALUES))
def test_every_parameter_is_named(name: str) -> None:
    assert f"`{name}" in PAGE


@pytest.mark.parametrize(
    "name",
    sorted({*responses.ResponseRequest.__struct_fields__} | responses.UNSUPPORTED | responses.UNSUPPORTED_VALUES),
)
def test_every_parameter_of_a_response_is_named(name: str) -> None:
    assert f"`{name}" in RESPONSES


@pytest.mark.parametrize(
    "name",
    sorted({*messages.MessagesRequest.__struct_fields__} | messages.UNSUPPORTED | messages.UNSUPPORTED_VALUES),
)
def test_every_parameter_of_a_message_is_named(name: str) -> None:
    assert f"`{name}" in MESSAGES


@pytest.mark.parametrize("name", sorted(completions.CompletionRequest.__struct_fields__))
def test_every_parameter_of_a_completion_is_named(name: str) -> None:
    assert f"`{name}" in COMPLETIONS


@pytest.mark.parametrize(
    "header",
    [wishes.REQUEST_ID, wishes.TASK, wishes.URGENCY, wishes.DEADLINE, wishes.ON_DISCONNECT, wishes.LAST_EVENT_ID],
)
def test_every_header_is_named(header: str) -> None:
    assert f"`{header}`" in PAGE


def test_every_code_of_an_error_is_named() -> None:
    codes = {code for source in SOURCES for code in re.findall(r'code="(\w+)"', source)}
    assert len(codes) > 20
    assert {code for code in codes if f"`{code}`" not in PAGE} == {"task_dead", "task_failed"}


def test_every_path_is_named() -> None:
    paths = {path for source in SOURCES for path in re.findall(r'add_(?:get|post|delete)\("([^"]+)"', source)}
    assert len(paths) >= 9
    assert {path for path in paths if path.replace("{model:.+}", "{model}") not in PAGE} == set()


@pytest.mark.parametrize("operation", STORE_OPERATIONS, ids=lambda one: f"{one.method} {one.path}")
def test_every_path_of_vector_stores_is_named(operation: Operation) -> None:
    assert f"{operation.path}`" in PAGE


@pytest.mark.parametrize("kind", [VectorStoreRequest, FileBatchRequest, StoreFileRequest, SearchRequest])
def test_every_parameter_of_vector_stores_is_named(kind: type[Struct]) -> None:
    assert [name for name in kind.__struct_fields__ if f"`{name}" not in RETRIEVAL] == []


def test_every_setting_that_it_names_exists() -> None:
    from gateway.dispatcher.settings import DispatcherSettings
    from gateway.settings import GatewaySettings
    from mesh.config.settings import MeshSettings

    sections = (GatewaySettings, DispatcherSettings, MeshSettings)
    fields = {field for section in sections for field in section.__struct_fields__}
    named = {flag.replace("-", "_") for flag in re.findall(r"--(http[a-z-]*)", PAGE)}
    assert named | {"deadline", "urgency", "on_disconnect", "known_models", "sse_keep_alive", "metrics"} <= fields
