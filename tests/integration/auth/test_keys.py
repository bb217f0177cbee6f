"""API keys over HTTP: what they open, what they do not, and that no account sees another."""

import logging
from typing import Any

import pytest

from gateway.http.metrics_page import MetricsPage
from mesh.access.writer import AccessWriter
from streams.clock import now_ms
from streams.tasks.task_id import new_task_id
from streams.tokens import Token
from tests.http_gateway import HttpGateway, serve_http
from tests.integration.auth.conftest import Guarded
from tests.mesh_in_process import InProcessMesh

EVERY_PATH = [
    ("POST", "/v1/chat/completions"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/synthetic"),
    ("GET", "/v1/tasks/TASK"),
    ("GET", "/v1/tasks/TASK/events"),
    ("POST", "/v1/tasks/TASK/cancel"),
    ("GET", "/v1/auth/me"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/responses"),
    ("GET", "/v1/responses/resp_TASK"),
    ("DELETE", "/v1/responses/resp_TASK"),
    ("POST", "/v1/responses/resp_TASK/cancel"),
    ("GET", "/v1/responses/resp_TASK/input_items"),
    ("POST", "/v1/messages"),
    ("GET", "/v1/nothing"),
    ("PUT", "/v1/models"),
]
OPEN_PATHS = ["/healthz", "/readyz", "/", "/page/main.js"]


async def said(gateway: HttpGateway, method: str, path: str, **headers: str) -> tuple[int, str | None]:
    """Status and code of the answer to a request with a body that works."""
    body = {"model": "synthetic", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    json = body if method == "POST" else None
    async with gateway.session.request(method, f"{gateway.url}{path}", json=json, headers=headers) as response:
        if response.content_type != "application/json":
            return response.status, None
        answer: Any = await response.json()
        return response.status, (answer.get("error") or {}).get("code")


@pytest.mark.parametrize(("method", "path"), EVERY_PATH)
async def test_nothing_is_served_without_a_credential(guarded: Guarded, method: str, path: str) -> None:
    gateway = guarded.gateway
    for headers in (
        {},
        {"Authorization": "Bearer unused"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic aWczOmlnMw=="},
        {"Authorization": f"Bearer ig3_{'a' * 13}_{'a' * 52}"},
        {"Authorization": "Bearer eyJ.eyJ.eyJ"},
        {"x-api-key": f"ig3_{'a' * 13}_{'a' * 52}"},
    ):
        asked = path.replace("TASK", new_task_id())
        assert await said(gateway, method, asked, **headers) == (401, "invalid_api_key")


async def test_a_refusal_has_openais_shape(guarded: Guarded) -> None:
    response = await guarded.gateway.get("/v1/models")
    error = (await response.json())["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (response.headers["WWW-Authenticate"], error["type"]) == ("Bearer", "authentication_error")


@pytest.mark.parametrize("path", OPEN_PATHS)
async def test_health_and_the_page_are_served_to_everybody(guarded: Guarded, path: str) -> None:
    assert (await guarded.gateway.get(path)).status == 200


async def test_a_key_asks_and_reads_in_its_own_account(guarded: Guarded) -> None:
    key, gateway = await guarded.key("acme"), guarded.gateway
    response = await gateway.ask(Authorization=key)
    task = response.headers["x-ig3-task"]
    assert (response.status, (await response.json())["usage"]["completion_tokens"]) == (200, 5)
    assert (await (await gateway.get(f"/v1/tasks/{task}", Authorization=key)).json())["outcome"] == "completed"
    me = await (await gateway.get("/v1/auth/me", Authorization=key)).json()
    assert (me["account"], me["how"], me["role"], me["did"]) == ("acme", "key", None, None)
    assert me["rights"] == ["admin", "chat", "read"]
    bare = key.removeprefix("Bearer ")
    assert await (await gateway.get("/v1/auth/me", x_api_key=bare)).json() == me


async def test_a_response_of_another_account_is_none(guarded: Guarded) -> None:
    key, other, gateway = await guarded.key("acme"), await guarded.key("beta"), guarded.gateway
    made = await gateway.post("/v1/responses", {"model": "synthetic", "input": "hi"}, Authorization=key)
    name = (await made.json())["id"]
    assert (await gateway.get(f"/v1/responses/{name}", Authorization=key)).status == 200
    missing = (404, "response_not_found")
    for method, path in (
        ("GET", f"/v1/responses/{name}"),
        ("GET", f"/v1/responses/{name}/input_items"),
        ("POST", f"/v1/responses/{name}/cancel"),
        ("DELETE", f"/v1/responses/{name}"),
    ):
        assert await said(gateway, method, path, Authorization=other) == missing
    asked = {"model": "synthetic", "input": "and?", "previous_response_id": name}
    refused = await gateway.post("/v1/responses", asked, Authorization=other)
    assert (await refused.json())["error"]["code"] == "previous_response_not_found"
    assert (await gateway.get(f"/v1/responses/{name}", Authorization=key)).status == 200


@pytest.mark.parametrize(
    ("rights", "may"),
    [(("chat",), {"ask", "models", "cancel"}), (("read",), {"models", "task", "events"}), (("admin",), {"models"})],
)
async def test_a_key_does_what_its_rights_say_and_no_more(guarded: Guarded, rights: Any, may: set[str]) -> None:
    gateway, owner = guarded.gateway, await guarded.key("acme")
    task = (await gateway.ask(Authorization=owner)).headers["x-ig3-task"]
    key = await guarded.key("acme", rights)
    asked = {
        "ask": ("POST", "/v1/chat/completions"),
        "models": ("GET", "/v1/models"),
        "task": ("GET", f"/v1/tasks/{task}"),
        "events": ("GET", f"/v1/tasks/{task}/events"),
        "cancel": ("POST", f"/v1/tasks/{task}/cancel"),
    }
    answers = {name: await said(gateway, *request, Authorization=key) for name, request in asked.items()}
    assert {name for name, answer in answers.items() if answer[0] == 200} == may
    assert {answer for name, answer in answers.items() if name not in may} == {(403, "missing_right")}


async def test_a_key_asks_the_models_that_it_is_for(guarded: Guarded) -> None:
    gateway, key = guarded.gateway, await guarded.key("acme", models=("another",))
    assert await said(gateway, "POST", "/v1/chat/completions", Authorization=key) == (403, "model_not_allowed")
    assert await said(gateway, "GET", "/v1/models/synthetic", Authorization=key) == (403, "model_not_allowed")
    assert (await (await gateway.get("/v1/models", Authorization=key)).json())["data"] == []
    both = await guarded.key("acme", models=("another", "synthetic"))
    assert (await gateway.ask(Authorization=both)).status == 200
    assert [model["id"] for model in (await (await gateway.get("/v1/models", Authorization=both)).json())["data"]] == [
        "synthetic"
    ]


async def test_a_key_offers_the_functions_that_it_is_for(guarded: Guarded) -> None:
    gateway, key = guarded.gateway, await guarded.key("acme", tools=("weather",))

    async def offering(path: str, *names: str, **fields: object) -> tuple[int, str | None]:
        flat = path == "/v1/responses"
        tools = [{"type": "function", "name": name} if flat else named(name) for name in names]
        response = await gateway.post(path, {"model": "synthetic", "tools": tools, **fields}, Authorization=key)
        error = (await response.json()).get("error") or {}
        return response.status, error.get("code")

    chat, responses = "/v1/chat/completions", "/v1/responses"
    asked: dict[str, object] = {"messages": [{"role": "user", "content": "hello"}]}
    assert await offering(chat, "weather", **asked) == (200, None)
    assert await offering(chat, **asked) == (200, None)
    assert await offering(chat, "weather", "shell", **asked) == (403, "tool_not_allowed")
    assert await offering(chat, "shell", tool_choice="none", **asked) == (403, "tool_not_allowed")
    assert await offering(responses, "shell", input="hello") == (403, "tool_not_allowed")


def named(name: str) -> dict[str, object]:
    return {"type": "function", "function": {"name": name}}


async def test_a_key_that_is_over_or_revoked_opens_nothing(guarded: Guarded) -> None:
    over = await guarded.key("acme", expires_at_ms=now_ms() - 1)
    key = await guarded.key("acme")
    key_id = key.split("_")[1]
    assert (await guarded.gateway.get("/v1/models", Authorization=key)).status == 200
    await guarded.gateway.access.reach(await guarded.writer.revoke(Token("acme"), key_id, reason="lost"))
    for refused in (over, key):
        assert await said(guarded.gateway, "GET", "/v1/models", Authorization=refused) == (401, "invalid_api_key")


async def test_an_account_sees_no_task_of_another(guarded: Guarded) -> None:
    gateway, ours, theirs = guarded.gateway, await guarded.key("acme"), await guarded.key("beta")
    stream = await gateway.ask({"stream": True}, Authorization=ours)
    task = stream.headers["x-ig3-task"]
    await stream.read()
    for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/cancel")):
        assert await said(gateway, method, f"/v1/tasks/{task}{path}", Authorization=theirs) == (404, "task_not_found")
    # Nor goes on with its stream; and the same id in another account is another task.
    resumed = await gateway.ask({"stream": True}, Authorization=theirs, x_ig3_task=task, Last_Event_ID="1")
    assert (resumed.status, (await resumed.json())["error"]["code"]) == (404, "task_not_found")
    own = await gateway.ask({"max_tokens": 2}, Authorization=theirs, x_ig3_task=task)
    assert (own.status, (await own.json())["usage"]["completion_tokens"]) == (200, 2)
    summary = await (await gateway.get(f"/v1/tasks/{task}", Authorization=ours)).json()
    assert summary["usage"]["completion_tokens"] == 5


async def test_an_idempotency_key_is_an_accounts_own(guarded: Guarded) -> None:
    gateway, ours, theirs = guarded.gateway, await guarded.key("acme"), await guarded.key("beta")
    one = await gateway.ask(Authorization=ours, Idempotency_Key="k")
    other = await gateway.ask(Authorization=theirs, Idempotency_Key="k")
    again = await gateway.ask(Authorization=await guarded.key("acme"), Idempotency_Key="k")
    tasks = [response.headers["x-ig3-task"] for response in (one, other, again)]
    assert tasks[0] == tasks[2] != tasks[1]


async def test_limits_are_an_accounts_own(mesh: InProcessMesh) -> None:
    await mesh.add_dispatcher()
    async with serve_http(mesh.bus, auth="required", open_limit_of=("acme=1",)) as gateway:
        guarded = Guarded(mesh=mesh, gateway=gateway, writer=AccessWriter(mesh.bus.core))
        for account in ("acme", "beta"):
            await guarded.writer.open(Token(account))
        ours, theirs = await guarded.key("acme"), await guarded.key("beta")
        waiting = await gateway.ask({"model": "promised", "stream": True}, Authorization=ours)
        assert (await gateway.ask({"model": "promised"}, Authorization=ours)).status == 429
        other = await gateway.ask({"model": "promised", "stream": True}, Authorization=theirs)
        assert (waiting.status, other.status) == (200, 200)
        for stream in (waiting, other):
            stream.close()


async def test_no_secret_reaches_a_log_or_an_answer(guarded: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key = await guarded.key("acme", ("admin",))
    secret = key.rpartition("_")[2]
    wrong = f"{key[:-1]}{'a' if key[-1] != 'a' else 'b'}"
    texts = []
    for shown in (key, wrong):
        response = await guarded.gateway.ask(Authorization=shown)
        texts.append(f"{await response.text()} {dict(response.headers)}")
    assert "there is no key" in caplog.text
    assert secret[:-1] not in caplog.text + "".join(texts)


async def test_where_no_credential_is_needed_one_that_is_shown_still_counts(mesh: InProcessMesh) -> None:
    await mesh.add_dispatcher()
    await mesh.add_node(interval_s=5)
    async with serve_http(mesh.bus) as gateway:
        await gateway.until_served()
        guarded = Guarded(mesh=mesh, gateway=gateway, writer=AccessWriter(mesh.bus.core))
        await guarded.writer.open(Token("acme"))
        key = await guarded.key("acme")
        task = (await gateway.ask(Authorization=key)).headers["x-ig3-task"]
        assert await said(gateway, "GET", f"/v1/tasks/{task}") == (404, "task_not_found")
        assert await said(gateway, "GET", f"/v1/tasks/{task}", Authorization="Bearer unused") == (404, "task_not_found")
        assert (await (await gateway.get("/v1/auth/me")).json())["account"] == "local"
        for wrong in (f"{key}x", f"Bearer ig3_{'a' * 13}_{'a' * 52}", "Bearer ig3_", "Bearer eyJ.eyJ.eyJ"):
            assert await said(gateway, "GET", "/v1/models", Authorization=wrong) == (401, "invalid_api_key")


async def test_metrics_are_for_who_runs_the_mesh(mesh: InProcessMesh) -> None:
    async with serve_http(mesh.bus, auth="required", metrics=MetricsPage()) as gateway:
        guarded = Guarded(mesh=mesh, gateway=gateway, writer=AccessWriter(mesh.bus.core))
        await guarded.writer.open(Token("acme"))
        assert (await gateway.get("/metrics", Authorization=await guarded.key("local"))).status == 200
        for key in (await guarded.key("acme"), await guarded.key("local", ("read", "chat"))):
            assert await said(gateway, "GET", "/metrics", Authorization=key) == (403, "operator_only")
        assert await said(gateway, "GET", "/metrics") == (401, "invalid_api_key")
