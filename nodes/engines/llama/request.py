"""A request as both engines of llama.cpp take it: functions told in the prompt, tools and format as a grammar."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from nodes.engines.conversation import Conversation, conversation_of
from nodes.engines.demands import check_demands, is_constrained
from nodes.engines.grammar.call_form import with_calls_as_text, with_functions
from nodes.engines.grammar.call_reader import CallReader
from nodes.engines.grammar.constraint import grammar_of
from nodes.engines.llama.plain_text import Mended
from nodes.errors import RequestRefused
from streams.tasks.abilities import may_call
from streams.tasks.chat import Sampling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nodes.engine import Generate
    from nodes.engines.llama.plain_text import PlainText
    from streams.devices.replica import Ability

LLAMA_ABILITIES: Final[tuple[Ability, ...]] = ("tools", "schema", "logprobs", "logit_bias", "raw_prompt")


class LlamaRequest(Struct, frozen=True, kw_only=True):
    """What is asked of llama.cpp."""

    conversation: Conversation
    sampling: Sampling
    grammar: str | None = None
    calls: bool = False
    """Whether the answer may hold calls, in the form that the grammar has for them."""

    def reader(self) -> CallReader | None:
        """Make what parts calls from text, where there may be any."""
        return CallReader(Mended(self.conversation.plain, "")) if self.calls else None


async def llama_request(
    request: Generate, plain: PlainText, abilities: Sequence[Ability], vocabulary: int
) -> LlamaRequest:
    """Check a request and make it ready.

    Raises:
        RequestRefused: it demands what is not announced, its messages ask nothing, its schema cannot be enforced or
            its logit_bias is of a token that there is not.
    """
    check_demands(request, abilities)
    for biased in request.sampling.logit_bias:
        if biased.token >= vocabulary:
            message = f"logit_bias names token {biased.token}, and this model has tokens up to {vocabulary - 1}"
            raise RequestRefused("invalid_input", message)
    conversation = conversation_of(request, plain)
    if any(turn.tool_calls or turn.tool_call_id for turn in conversation.turns):
        conversation = replace(conversation, turns=with_calls_as_text(conversation.turns, plain))
    if not is_constrained(request):
        return LlamaRequest(conversation=conversation, sampling=request.sampling)
    # A large schema takes milliseconds: the event loop goes on meanwhile.
    grammar = await asyncio.to_thread(grammar_of, request)
    calls = may_call(request.tools)
    if request.tools is not None and calls:
        conversation = replace(conversation, turns=with_functions(conversation.turns, request.tools, plain))
    return LlamaRequest(conversation=conversation, sampling=request.sampling, grammar=grammar, calls=calls)
