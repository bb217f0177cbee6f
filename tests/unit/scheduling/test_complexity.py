"""The estimator of complexity: on the labelled set, and whatever it is given."""

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.complexity import LEVELS, accuracy, halves, read_set
from gateway.scheduling.complexity import level_of, points_of
from streams.tasks.chat import Message, Role

roles: st.SearchStrategy[Role] = st.sampled_from(["system", "user", "assistant"])
conversations = st.lists(st.builds(Message, role=roles, content=st.text(max_size=300)), max_size=6)


def asked(*contents: str) -> list[Message]:
    return [Message(role="user", content=content) for content in contents]


def test_it_agrees_with_a_person_as_often_as_the_documentation_says():
    _, held_back = halves(read_set())
    assert len(held_back) == 72
    assert {each.level for each in held_back} == set(LEVELS)
    assert round(accuracy(held_back), 3) == 0.889


def test_it_is_never_wrong_by_two_levels_on_the_labelled_set():
    wrong = [each.prompt for each in read_set() if {each.level, each.guess} == {"simple", "hard"}]
    assert wrong == []


@given(conversations, st.booleans(), st.booleans())
def test_whatever_is_asked_it_says_one_level_and_the_same_again(
    messages: list[Message], has_tools: bool, has_schema: bool
):
    level = level_of(messages, has_tools=has_tools, has_schema=has_schema)
    assert level in LEVELS
    assert level == level_of(messages, has_tools=has_tools, has_schema=has_schema)


@given(conversations)
def test_tools_and_a_schema_never_make_a_request_easier(messages: list[Message]):
    assert (
        points_of(messages) < points_of(messages, has_tools=True) < points_of(messages, has_tools=True, has_schema=True)
    )


def test_the_last_question_counts_and_not_what_was_asked_before():
    assert level_of(asked("Prove and derive and justify this.", "hi")) == "simple"
    assert level_of([]) == "simple"
