"""`ig3 up` as it comes: a file is taken in and found from a terminal, and an answer of the real model cites it."""

import json
from typing import Any

import openai
import pytest

from tests.running_mesh import ROOT, RunningMesh

pytestmark = pytest.mark.timeout(300)

QUESTION = "Which command prints the vector of a text in a terminal?"


def test_a_file_is_found_from_a_terminal_and_an_answer_cites_it(smollm: RunningMesh) -> None:
    place, readme = smollm.place, str(ROOT / "README.md")
    assert place.ok("rag", "add", readme, "--store", "docs").split() == ["added", readme]
    assert place.ok("rag", "add", readme, "--store", "docs").split() == ["unchanged", readme]
    hits = [json.loads(line) for line in place.ok("rag", "search", QUESTION, "--store", "docs", "--json").splitlines()]
    assert any("prints the vector of a text" in hit["text"] for hit in hits[:3]), [hit["text"] for hit in hits]
    (store,) = [json.loads(line) for line in place.ok("rag", "list", "--json").splitlines()]
    tool: Any = {"type": "file_search", "vector_store_ids": [store["id"]], "max_num_results": 3}
    with openai.OpenAI(base_url=f"{smollm.url}/v1", api_key="unused", max_retries=0) as sdk:
        made = sdk.responses.create(
            model=smollm.model, input=QUESTION, tools=[tool], max_output_tokens=60, include=["file_search_call.results"]
        )
    call, message = made.output
    assert call.type == "file_search_call"
    assert call.results is not None
    assert [found.filename for found in call.results] == [readme] * 3
    assert message.type == "message"
    part = message.content[0]
    assert part.type == "output_text"
    assert part.annotations
    for cited in part.annotations:
        assert cited.type == "file_citation"
        assert (cited.filename, 0 < cited.index <= len(part.text)) == (readme, True)
