"""The OpenAPI document against the gateway that serves it: the same paths, and answers that fit."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import hdrs
from aiohttp.web import UrlDispatcher
from jsonschema import Draft202012Validator

from gateway.http.metrics_page import MetricsPage
from tests.http_gateway import MODEL, serve_http
from tests.scripted_mesh import scripted_mesh

pytestmark = pytest.mark.usefixtures("patient_answers")

HELLO: Any = [{"role": "user", "content": "hello"}]


def routes_of(router: UrlDispatcher) -> set[tuple[str, str]]:
    served = {(route.method, route.resource.canonical) for route in router.routes() if route.resource is not None}
    return {(method.lower(), path) for method, path in served if method != hdrs.METH_HEAD}


async def test_every_route_is_documented_and_every_documented_one_served(tmp_path: Path) -> None:
    async with scripted_mesh(tmp_path) as mesh:
        await mesh.bus.follow()
        async with serve_http(mesh.bus, metrics=MetricsPage()) as gateway:
            answer = await gateway.get("/openapi.json")
            document = await answer.json()
            documented = {(method, path) for path, methods in document["paths"].items() for method in methods}
            assert documented == routes_of(gateway.server._app.router)
            for path, body in (
                ("/v1/chat/completions", {"messages": HELLO}),
                ("/v1/responses", {"input": "hello", "metadata": {"a": "b"}}),
                ("/v1/messages", {"messages": HELLO, "max_tokens": 500}),
            ):
                made = await gateway.post(path, {"model": MODEL, **body})
                assert made.status == 200
                check(document, path, "post", await made.json())
            refused = await gateway.post("/v1/messages", {"model": MODEL})
            check(document, "/v1/messages", "post", await refused.json(), status="default")
            for path in ("/v1/models", "/healthz", "/readyz"):
                check(document, path, "get", await (await gateway.get(path)).json())


def check(document: dict[str, Any], path: str, method: str, answer: object, *, status: str = "200") -> None:
    schema = document["paths"][path][method]["responses"][status]["content"]["application/json"]["schema"]
    whole: Any = {**schema, "components": document["components"]}
    validator = Draft202012Validator(whole)
    assert [error.message for error in validator.iter_errors(json.loads(json.dumps(answer)))] == [], path
