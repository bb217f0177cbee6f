"""What is asked, and when: conversations as values, the same ones for every policy."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from gateway.dispatcher.wishing import wish_of
from gateway.scheduling.prefixes import blocks_of
from gateway.scheduling.wish import Wish
from streams.events import TaskSubmitted
from streams.subjects import ServiceClass, TaskKey
from streams.tasks.chat import Message
from streams.tasks.task import TaskState
from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.simulation.scenario import Demand

MODEL: Final = "m"
_SALT: Final = bytes(32)
_CHARS_PER_TOKEN: Final = 4


class Turn(Struct, frozen=True, kw_only=True):
    """One task. ``wish`` is what the dispatcher would ask the scheduler with, estimates and all."""

    key: TaskKey
    service_class: ServiceClass
    wish: Wish
    prompt_tokens: int
    """How many it has in truth."""
    answer_tokens: int
    """How long the answer will be."""
    think_s: float = 0.0
    """How long after the answer before it this is asked."""


class Conversation(NamedTuple):
    """Turns, the first of them at a time of its own, each other one after the end of the one before it."""

    at_s: float
    turns: tuple[Turn, ...]


def turn_of(
    key: TaskKey,
    asked: TaskSubmitted,
    service_class: ServiceClass = "standard",
    *,
    answer_tokens: int,
    prompt_tokens: int | None = None,
    at_ms: int = 0,
    think_s: float = 0.0,
) -> Turn:
    """Make a task of a submission, by the dispatcher's own reading of it; ``at_ms`` is when it was submitted."""
    wish = wish_of(key, asked, service_class, TaskState(), at_ms=at_ms)
    return Turn(
        key=key,
        service_class=service_class,
        wish=replace(wish, prefix=blocks_of(asked.messages, asked.prompt, account=wish.account, salt=_SALT)),
        prompt_tokens=wish.prompt_tokens if prompt_tokens is None else prompt_tokens,
        answer_tokens=answer_tokens,
        think_s=think_s,
    )


def synthetic(demand: Demand, seed: int) -> tuple[Conversation, ...]:
    """Draw the conversations of a scenario."""
    dice = random.Random(f"{seed}/trace")
    times = _arrivals(demand, dice)
    return tuple(Conversation(next(times), _turns(demand, dice, number)) for number in range(demand.conversations))


def _arrivals(demand: Demand, dice: random.Random) -> Iterator[float]:
    """Poisson; with bursts, at two rates by turns."""
    now_s, is_haste, bursts = 0.0, False, demand.bursts
    ends_s = float("inf") if bursts is None else dice.expovariate(1 / bursts.off_s)
    while True:
        rate = demand.per_s * (bursts.factor if bursts is not None and is_haste else 1.0)
        at_s = now_s + dice.expovariate(rate)
        if bursts is None or at_s <= ends_s:
            now_s = at_s
            yield at_s
            continue
        # Nothing is remembered of the wait so far: that is what makes it Poisson within each time.
        now_s, is_haste = ends_s, not is_haste
        ends_s = now_s + dice.expovariate(1 / (bursts.on_s if is_haste else bursts.off_s))


def _turns(demand: Demand, dice: random.Random, number: int) -> tuple[Turn, ...]:
    account = Token(f"a{dice.randrange(demand.accounts)}")
    said = [*_opening(demand, dice, number)]
    made: list[Turn] = []
    for count in range(dice.randint(*demand.turns)):
        question = _text(f"question {number} {count}", dice.randint(*demand.question_chars))
        said.append(Message(role="user", content=question))
        answer_tokens = dice.randint(*demand.answer_tokens)
        think_s = dice.expovariate(1 / demand.think_s) if demand.think_s and count else 0.0
        key = TaskKey(account, Token(f"{number:08x}{count:04x}"))
        asked = TaskSubmitted(model=MODEL, messages=tuple(said))
        made.append(turn_of(key, asked, answer_tokens=answer_tokens, think_s=think_s))
        answer = _text(f"answer {number} {count}", answer_tokens * _CHARS_PER_TOKEN)
        said.append(Message(role="assistant", content=answer))
    return tuple(made)


def _opening(demand: Demand, dice: random.Random, number: int) -> Iterator[Message]:
    if demand.system_prompts:
        text = _text(f"system {dice.randrange(demand.system_prompts)}", demand.system_chars)
        yield Message(role="system", content=text)
    if demand.document_chars[1]:
        yield Message(role="user", content=_text(f"document {number}", dice.randint(*demand.document_chars)))


def _text(label: str, chars: int) -> str:
    """So many characters that no other label gives."""
    return (f"{label} " * (chars // len(label) + 1))[:chars]
