"""What a request, its account and its node say of redaction reaches the provider by the whole mesh, or does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nodes.engine import EngineSpec
from tests.http_gateway import read_sse, serve_http, text_of
from tests.integration.remote.test_cloud_engine import entry, written
from tests.mesh_in_process import InProcessMesh
from tests.played_providers import PlayedProviders

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.timeout(180),
    # LiteLLM's own.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20"),
]

SAID = "Write to alice@example.org of did:web:example.com."
STANDARD = "Write to <EMAIL_1> of did:web:example.com."
STRICT = "Write to <EMAIL_1> of <DID_1>."


async def test_the_provider_sees_what_request_account_and_node_let_it_see(tmp_path: Path) -> None:
    async with PlayedProviders(echoes=True).running() as server, InProcessMesh(folder=tmp_path / "mesh") as mesh:
        provider = entry(server, tmp_path, "openai")
        file = written(tmp_path, {"id": "big", "providers": [provider], "context_tokens": 9000, "probe": False})
        await mesh.add_dispatcher()
        await mesh.add_node(spec=EngineSpec(engine="litellm", model="big", cloud_config=file))
        asked: dict[str, Any] = {"model": "big", "messages": [{"role": "user", "content": SAID}], "max_tokens": 200}
        cases: list[tuple[tuple[str, ...], dict[str, str], str]] = [
            ((), {}, STANDARD),
            ((), {"x_ig3_redaction": "off"}, SAID),
            (("local=strict",), {}, STRICT),
            (("local=strict",), {"x_ig3_redaction": "standard"}, STANDARD),
        ]
        for accounts, headers, seen in cases:
            async with serve_http(mesh.bus, redaction_of=accounts) as gateway:
                await gateway.until_served("big")
                whole = await (await gateway.ask(asked, x_ig3_cache="off", **headers)).json()
                assert whole["choices"][0]["message"]["content"] == SAID
                events = await read_sse(await gateway.ask({**asked, "stream": True}, x_ig3_cache="off", **headers))
                assert text_of(events) == SAID
                assert {body["messages"][-1]["content"] for _, _, body in server.asked[-2:]} == {seen}
        async with serve_http(mesh.bus) as gateway:
            refused = await gateway.ask(asked, x_ig3_redaction="some")
            assert (refused.status, (await refused.json())["error"]["param"]) == (400, "x-ig3-redaction")
