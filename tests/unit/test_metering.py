"""What an end says for whoever keeps accounts."""

import pytest
from msgspec.structs import replace

from gateway.dispatcher import ending
from gateway.dispatcher.metering import metered
from streams.devices.replica import Tier
from streams.events import AttemptShare, EndEvent, TaskError, TaskSubmitted
from streams.tasks.chat import Message, Usage
from streams.tasks.metering import Metered
from streams.tasks.task import TaskState

ASKED = TaskSubmitted(model="m", messages=(Message(role="user", content="hello"),), key="k1")
TEXTS = TaskSubmitted(model="m", texts=("hello", "you"), key="k1")
SHARES = (AttemptShare(attempt=1, node="n", chars=5, tokens=1),)
STATE = TaskState(n=3, chars=5, tokens=1, shares=SHARES, prompt_tokens=31)
ERROR = TaskError(code="engine_error", message="Gone.", status=502)
PARTIAL = [
    ending.failed(STATE, "m", ERROR),
    ending.cancelled(STATE, "m", "enough"),
    ending.dead(STATE, "m", ERROR),
]


def kinds(end: EndEvent) -> str:
    return type(end).__name__


def tier_of(node: str, model: str) -> Tier:
    return "cloud" if (node, model) == ("n", "m") else "edge"


def terms(end: EndEvent, asked: TaskSubmitted, state: TaskState) -> Metered | None:
    found = metered(end, asked, state, tier_of)
    assert replace(found, metered=None) == end
    return found.metered


@pytest.mark.parametrize("end", PARTIAL, ids=kinds)
def test_the_prompt_of_a_partial_answer_counts_by_a_claim_that_can_be(end: EndEvent) -> None:
    assert terms(end, ASKED, STATE) == Metered(key="k1", tier="cloud", prompt_tokens=31)
    assert terms(end, ASKED, replace(STATE, prompt_tokens=10**9)) == Metered(key="k1", tier="cloud")


def test_nobody_pays_for_a_prompt_of_which_no_text_came() -> None:
    silent = replace(STATE, chars=0, tokens=0, shares=(replace(SHARES[0], chars=0, tokens=0),))
    assert terms(ending.failed(silent, "m", ERROR), ASKED, silent) == Metered(key="k1")


@pytest.mark.parametrize("end", PARTIAL, ids=kinds)
def test_of_texts_the_shares_alone_say_what_was_read(end: EndEvent) -> None:
    assert terms(end, TEXTS, STATE) == Metered(key="k1", kind="embedding", tier="cloud")


def test_a_whole_answer_has_its_usage() -> None:
    state = replace(STATE, finish_reason="stop", usage=Usage(prompt_tokens=30, completion_tokens=1))
    end = ending.completed(state, "m")
    assert end is not None
    assert terms(end, ASKED, state) == Metered(key="k1", tier="cloud")
