"""``file_search`` in rounds: the model says what to search for next, as long as it may."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from openai.types.responses import ResponseFileSearchToolCall

from tests.http_gateway import MODEL
from tests.played_retrieval import found
from tests.searching_place import CITED, FACT, QUESTION, Place, cited, events_of, searching_place

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("patient_answers")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    async with searching_place(tmp_path_factory.mktemp("mesh")) as place:
        yield place


@pytest_asyncio.fixture(loop_scope="module")
async def place(running: Place) -> Place:
    """The mesh that all tests here share, as it was at first."""
    await running.begin_anew()
    return running


async def test_the_model_may_ask_to_search_again_and_each_round_is_told_of(place: Place) -> None:
    place.retrieval.finds = {
        QUESTION: (found("The sky is blue.", store=place.store, file="file-2", filename="sky.md"),),
        "salt in rivers": (
            found(FACT, store=place.store, filename="salt.md"),
            found("The sky is blue.", store=place.store, file="file-2", filename="sky.md"),
        ),
    }
    place.mesh.decisions = [
        '{"enough": false, "search": "salt  in rivers"}',
        '{"enough": false, "search": "Salt in rivers?"}',
    ]
    asked: Any = {"model": MODEL, "input": QUESTION, "tools": [place.tool], "include": ["file_search_call.results"]}
    made = await place.one.responses.create(**asked, max_tool_calls=4)
    assert [one.query for one in place.retrieval.asked] == [QUESTION, "salt in rivers"], "the same again is enough"
    first, second, message = made.output
    assert isinstance(first, ResponseFileSearchToolCall)
    assert isinstance(second, ResponseFileSearchToolCall)
    assert (first.queries, second.queries, first.id != second.id) == ([QUESTION], ["salt in rivers"], True)
    assert [[one.filename for one in call.results or ()] for call in (first, second)] == [
        ["sky.md"],
        ["salt.md", "sky.md"],
    ]
    assert message.type == "message"
    part = message.content[0]
    assert part.type == "output_text"
    assert (cited(part.annotations), made.max_tool_calls) == ([CITED], 4)
    decision, _, answer = [task.messages[-1].content for task in place.mesh.submitted]
    assert ("sky is blue" in decision, FACT in decision, "Do not answer yet" in decision) == (True, False, True)
    assert answer.count("sky is blue") == 1, "what two searches have found is shown once"
    assert answer.endswith(f"The question:\n{QUESTION}")
    assert (await place.other.responses.retrieve(made.id)).model_dump() == made.model_dump()
    told = await events_of(await place.other.responses.retrieve(made.id, stream=True))
    assert [event.sequence_number for event in told] == list(range(len(told)))
    searching = [event for event in told if event.type.startswith("response.file_search_call.")]
    assert [(event.output_index, event.item_id) for event in searching] == [(0, first.id)] * 3 + [(1, second.id)] * 3
    assert told[-1].response.output == made.output


async def test_rounds_end_where_the_client_or_the_model_says_and_no_decision_fails_a_request(place: Place) -> None:
    again = '{"enough": false, "search": "%d"}'
    for most, decisions, searches in (
        (1, [], 1),
        (2, [again % 1, again % 2], 2),
        (9, [again % 1, again % 2, again % 3, again % 4], 4),
        (4, ['{"enough": true, "search": "x"}'], 1),
        (4, ["no JSON"], 1),
    ):
        place.retrieval.asked.clear()
        place.mesh.decisions = list(decisions)
        made = await place.one.responses.create(model=MODEL, input=QUESTION, tools=[place.tool], max_tool_calls=most)
        assert (len(place.retrieval.asked), made.status) == (searches, "completed"), most
        assert [item.type for item in made.output] == ["file_search_call"] * searches + ["message"]
