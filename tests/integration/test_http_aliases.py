"""Aliases over HTTP: listed, answered, and the answer says which model it is by."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.dispatcher.ending import stored_end
from streams.events import TaskCompleted
from streams.subjects import TaskKey
from streams.tokens import Token
from tests.http_gateway import HttpGateway, read_sse, serve_http
from tests.mesh_in_process import InProcessMesh

pytestmark = pytest.mark.usefixtures("patient_answers")

ALIASES = ("auto=promised,synthetic", "nobody=promised")


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path / "mesh") as running:
        await running.add_dispatcher(aliases=ALIASES)
        await running.add_node(interval_s=5)
        yield running


@pytest.fixture
async def gateway(mesh: InProcessMesh) -> AsyncIterator[HttpGateway]:
    async with serve_http(mesh.bus, aliases=ALIASES) as serving:
        await serving.until_served()
        yield serving


async def test_an_alias_is_listed_while_a_model_of_it_is_served_and_the_answer_names_the_model(
    mesh: InProcessMesh, gateway: HttpGateway
) -> None:
    listed = {each["id"]: each for each in (await (await gateway.get("/v1/models")).json())["data"]}
    assert set(listed) == {"auto", "synthetic"}
    assert listed["auto"]["alias_of"] == ["synthetic"]
    assert "alias_of" not in listed["synthetic"]
    assert (await (await gateway.get("/v1/models/auto")).json()) == listed["auto"]
    assert (await gateway.get("/v1/models/nobody")).status == 404

    whole = await gateway.ask({"model": "auto", "max_tokens": 4})
    body = await whole.json()
    assert body["model"] == "synthetic"
    stream = await gateway.ask({"model": "auto", "max_tokens": 4, "stream": True})
    chunks = [event.json for event in await read_sse(stream) if event.data != "[DONE]"]
    assert {chunk["model"] for chunk in chunks} == {"synthetic"}

    task = whole.headers["x-ig3-task"]
    end = await stored_end(mesh.bus, TaskKey(Token("local"), Token(task)))
    assert isinstance(end, TaskCompleted)
    assert end.model == "synthetic"
    assert (await (await gateway.get(f"/v1/tasks/{task}")).json())["model"] == "synthetic"
