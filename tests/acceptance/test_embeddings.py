"""`ig3 up` as it comes: texts become vectors by OpenAI's SDK, by `ig3 embed`, and as a task that can be looked at."""

import json
import math

import openai
import pytest

from tests.running_mesh import RunningMesh

pytestmark = pytest.mark.timeout(240)

MODEL = "all-minilm-l6-v2"
TEXTS = ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "The central bank raised its interest rate."]


def likeness(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_the_mesh_that_comes_up_embeds(smollm: RunningMesh) -> None:
    with openai.OpenAI(base_url=f"{smollm.url}/v1", api_key="unused", max_retries=0) as sdk:
        answer = sdk.embeddings.with_raw_response.create(model=MODEL, input=TEXTS)
        vectors = [item.embedding for item in answer.parse().data]
        assert {model.id for model in sdk.models.list()} >= {MODEL, smollm.model}
    assert [len(vector) for vector in vectors] == [384] * 3
    assert [math.hypot(*vector) for vector in vectors] == pytest.approx([1.0] * 3, abs=1e-3)
    assert likeness(vectors[0], vectors[1]) > 0.5 > likeness(vectors[0], vectors[2]) + 0.3

    printed = [json.loads(line) for line in smollm.place.ok("embed", *TEXTS).splitlines()]
    assert printed == [pytest.approx(vector, abs=1e-6) for vector in vectors]

    story = smollm.place.ok("explain", answer.headers["x-ig3-task"])
    assert "3 texts to become vectors" in story
    assert "wrote 1 chunk with 3 vectors" in story
    assert smollm.model != MODEL
