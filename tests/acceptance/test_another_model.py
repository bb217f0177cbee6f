"""A second node with a model file of its own joins a mesh that runs, and leaves again."""

import asyncio
from pathlib import Path

import openai
import pytest

from nodes.models.file import find_model
from tests.processes import PATIENCE_S
from tests.running_mesh import IG3, PATIENT, SMALL_EMBEDDING_MODEL, SMALL_MODEL, Running, RunningMesh

pytestmark = pytest.mark.timeout(240)

POLL_S = 0.1
SMALL_MODELS = {SMALL_MODEL, SMALL_EMBEDDING_MODEL}


async def until_listed(sdk: openai.AsyncOpenAI, models: set[str]) -> None:
    """A gateway hears of an announcement a moment after the node hears that it was accepted."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if {model.id async for model in sdk.models.list()} == models:
                break
            await asyncio.sleep(POLL_S)


async def test_a_model_file_is_one_option_away(smollm: RunningMesh, sdk: openai.AsyncOpenAI, tmp_path: Path) -> None:
    file = tmp_path / "My-Own-Model.Q4_1.gguf"
    file.symlink_to(find_model(SMALL_MODEL).path)
    command = [str(IG3), "node", "--model", str(file), "--slots", "1", "--context", "256", "--instance", "2"]
    with Running("node-own", command, smollm.place, variables=PATIENT) as node:
        assert node.ready().models == ("my-own-model",)
        await until_listed(sdk, {*SMALL_MODELS, "my-own-model"})
        answer = await sdk.chat.completions.create(
            model="my-own-model", messages=[{"role": "user", "content": "Hello"}], max_tokens=5
        )
        assert answer.choices[0].message.content
        with pytest.raises(openai.BadRequestError, match="context holds 256"):
            await sdk.chat.completions.create(
                model="my-own-model", messages=[{"role": "user", "content": "word " * 400}], max_tokens=5
            )
        assert await asyncio.to_thread(node.stop) == 0
    await until_listed(sdk, SMALL_MODELS)
    with pytest.raises(openai.NotFoundError, match="is served by no node now"):
        await sdk.models.retrieve("my-own-model")
