"""What the synthetic engine writes: words without end, JSON, or calls of functions."""

from __future__ import annotations

import zlib
from itertools import chain, count, islice
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from nodes.engines.answer_writer import AnswerWriter
from nodes.engines.conversation import context_exceeded, conversation_of
from nodes.engines.demands import is_constrained
from nodes.engines.synthetic.sample_json import sample
from nodes.errors import RequestRefused
from streams.tasks.abilities import may_call
from streams.tasks.answer_parts import LikelyToken, TokenLogprob, ToolCallPiece

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nodes.engine import Generate, Piece
    from nodes.engines.conversation import Conversation
    from streams.tasks.chat import FinishReason, Sampling
    from streams.tasks.tools import Function, OutputFormat, Tools

DEFAULT_TOKENS: Final = 50
"""Length of an answer when ``max_tokens`` is not given."""

# Every character class that a codec could break on; the number of words is prime, so starts differ for long.
WORDS: Final = (
    "amber", "brook", "cedar", "delta", "ember", "fjord", "grove", "haven", "islet", "jetty", "knoll", "larch",
    "mörk", "niño", "ocean", "pearl", "quartz", "río", "stone", "tide", "umbra", "valley", "willow", "øst",
    "yarrow", "zephyr", "海", "🌊", "nest",
)  # fmt: skip

_JSON_CHARS: Final = 4
"""Characters of JSON to a token."""
_WORDS_BEFORE: Final = 3
"""It says so much before it calls a function of its own choice."""
_FORBIDDEN: Final = -50
"""A word with so low a bias is never written."""
_LOGPROB: Final = -0.25


class _Token(NamedTuple):
    text: str
    call: ToolCallPiece | None = None
    place: int = 0
    """In the cycle of words, for what else could have stood there."""


class SyntheticAnswer:
    """One answer on its way."""

    def __init__(self, request: Generate, context_tokens: int, *, mark: str) -> None:
        """Read the request; ``mark`` is what its words begin with.

        Raises:
            RequestRefused: as every engine does, and for a schema that it cannot write under.
        """
        conversation = conversation_of(request)
        # What was published is prompt too, but does not count against the context: any length can be asked for.
        said = (conversation.prompt, *(turn.content for turn in conversation.turns))
        prompt_tokens = max(1, sum(len(text.split()) for text in said))
        if prompt_tokens > context_tokens:
            raise context_exceeded(prompt_tokens, context_tokens)
        sampling = request.sampling
        self._cycle = _cycle(sampling)
        self._top = sampling.top_logprobs
        words = self._words(conversation, mark)
        script = _script(request, words) if is_constrained(request) else None
        self._tokens: Iterator[_Token] = words if script is None else iter(script)
        self._ends: FinishReason = "length" if sampling.max_tokens else "stop"
        self._wanted = sampling.max_tokens or max(1, DEFAULT_TOKENS - conversation.begun.count(" "))
        if script is not None and (sampling.max_tokens is None or len(script) <= sampling.max_tokens):
            self._wanted, self._ends = len(script), "tool_calls" if script[-1].call else "stop"
        prompt_tokens += len(conversation.begun.split())
        self._writer = AnswerWriter(sampling.stop, conversation.mended, prompt_tokens=prompt_tokens)

    @property
    def tokens(self) -> int:
        """How many it has."""
        return self._writer.tokens

    @property
    def finished(self) -> bool:
        """Whether it is whole."""
        return self._writer.finished

    def step(self) -> Piece | None:
        """Make one token."""
        token = next(self._tokens)
        return self._writer.add(
            token.text,
            ends=self._ends if self._writer.tokens + 1 == self._wanted else None,
            calls=() if token.call is None else (token.call,),
            logprobs=() if self._top is None or token.call is not None else (self._likely(token, self._top),),
        )

    def _likely(self, token: _Token, top: int) -> TokenLogprob:
        others = (f"{self._cycle[(token.place + n) % len(self._cycle)]} " for n in range(1, top))
        texts = tuple(islice(chain((token.text,), others), top))
        likely = tuple(LikelyToken(token=text, logprob=_LOGPROB - n) for n, text in enumerate(texts))
        return TokenLogprob(token=token.text, logprob=_LOGPROB, top=likely)

    def _words(self, conversation: Conversation, mark: str) -> Iterator[_Token]:
        """Yield words for ever, from where the begun answer ends."""
        cycle = self._cycle
        asked = conversation.prompt or repr(conversation.turns)
        at = zlib.crc32(asked.encode()) + conversation.begun.count(" ")
        cut = conversation.begun.rpartition(" ")[2]
        first = f"{mark}{cycle[at % len(cycle)]} "
        yield _Token(first.removeprefix(cut), place=at)
        for place in count(at + 1):
            yield _Token(f"{cycle[place % len(cycle)]} ", place=place)


def _cycle(sampling: Sampling) -> tuple[str, ...]:
    forbidden = {biased.token for biased in sampling.logit_bias if biased.bias <= _FORBIDDEN}
    cycle = tuple(word for number, word in enumerate(WORDS) if number not in forbidden)
    if not cycle:
        raise RequestRefused("invalid_input", "logit_bias forbids every word that the synthetic engine knows")
    return cycle


def _script(request: Generate, words: Iterator[_Token]) -> tuple[_Token, ...] | None:
    """The whole answer, where it is calls or JSON; None: words after all."""
    tools = request.tools
    if tools is not None and may_call(tools) and (called := _called(tools, request.messages[-1].content)):
        before = islice(words, _WORDS_BEFORE if tools.choice == "auto" else 0)
        return (*before, *chain.from_iterable(_call(at, function, words) for at, function in enumerate(called)))
    return None if request.format is None else tuple(map(_Token, _parts(_formatted(request.format, words))))


def _called(tools: Tools, question: str) -> tuple[Function, ...]:
    if tools.choice == "named":
        return tuple(function for function in tools.functions if function.name == tools.name)
    named = tuple(function for function in tools.functions if function.name in question)
    called = named if named or tools.choice == "auto" else tools.functions[:1]
    return called if tools.parallel else called[:1]


def _call(index: int, function: Function, words: Iterator[_Token]) -> Iterator[_Token]:
    first, *rest = _parts(_json(function.parameters_json or '{"type":"object"}', words))
    # As unlike another call's as a model's, and the same each time.
    number = f"call_{index}{zlib.crc32(f'{function.name} {first}{rest}'.encode()):08x}"
    yield _Token("", ToolCallPiece(index=index, id=number, name=function.name, arguments=first))
    for part in rest:
        yield _Token("", ToolCallPiece(index=index, arguments=part))


def _formatted(output_format: OutputFormat, words: Iterator[_Token]) -> str:
    if output_format.kind == "json_object" or not output_format.schema_json:
        return msgspec.json.encode({"words": [next(words).text.strip() for _ in range(_WORDS_BEFORE)]}).decode()
    return _json(output_format.schema_json, words)


def _json(schema: str, words: Iterator[_Token]) -> str:
    return msgspec.json.encode(sample(schema, (token.text.strip() for token in words))).decode()


def _parts(text: str) -> list[str]:
    return [text[at : at + _JSON_CHARS] for at in range(0, len(text), _JSON_CHARS)]
