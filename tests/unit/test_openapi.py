"""The OpenAPI document: a valid one, whose schemas fit what is really read and written."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from gateway.http.boundary import OPEN_ROUTES
from gateway.http.openapi.document import openapi_json
from gateway.http.openapi.operations import OPERATIONS

DOCUMENT: dict[str, Any] = json.loads(openapi_json())


def schema_of(path: str, place: str) -> Draft202012Validator:
    operation = DOCUMENT["paths"][path]["post"]
    holder = operation["requestBody"] if place == "request" else operation["responses"]["200"]
    schema = holder["content"]["application/json"]["schema"]
    whole: Any = {**schema, "components": DOCUMENT["components"]}
    return Draft202012Validator(whole)


def test_the_document_is_valid() -> None:
    validate(DOCUMENT)


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [method["operationId"] for path in DOCUMENT["paths"].values() for method in path.values()]
    assert len(names) == len(set(names)) == len(OPERATIONS)


def test_what_is_open_is_said_to_be() -> None:
    assert {operation.path for operation in OPERATIONS if operation.is_open} >= OPEN_ROUTES - {"/v1/auth/me"}


@pytest.mark.parametrize(
    ("path", "good", "bad"),
    [
        (
            "/v1/chat/completions",
            {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
            {"model": "m", "messages": []},
        ),
        (
            "/v1/responses",
            {"model": "m", "input": [{"role": "user", "content": "hi"}], "metadata": {"a": "b"}},
            {"model": "m", "input": [{"role": "nobody", "content": "hi"}]},
        ),
        (
            "/v1/messages",
            {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]},
            {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
        ),
    ],
)
def test_requests_that_are_taken_fit_their_schema_and_others_do_not(path: str, good: Any, bad: Any) -> None:
    validator = schema_of(path, "request")
    assert list(validator.iter_errors(good)) == []
    assert list(validator.iter_errors(bad)) != []
