"""A model that a gateway has not heard of yet."""

from pathlib import Path

import pytest

from tests.http_gateway import serve_http
from tests.mesh_in_process import InProcessMesh

pytestmark = pytest.mark.usefixtures("patient_answers")


async def test_a_model_that_was_announced_a_moment_ago_is_asked_and_one_that_never_was_is_a_404(tmp_path: Path) -> None:
    async with InProcessMesh(folder=tmp_path / "mesh") as mesh:
        await mesh.add_dispatcher()
        async with serve_http(mesh.bus, known_models=()) as gateway:
            # As if it were held up just now: what is stored comes to it when it asks, and not before.
            await gateway.feed.models.stop()
            await mesh.add_node()

            answer = await gateway.ask({"max_tokens": 3})
            unknown = await gateway.ask({"model": "nobody-has-this"})

            assert (answer.status, unknown.status) == (200, 404)
            assert (await unknown.json())["error"]["code"] == "model_not_found"
