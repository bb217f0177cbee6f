"""What a request demands of an engine beyond plain text, and refusing what it has not announced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nodes.errors import RequestRefused
from streams.tasks.abilities import may_call, needed
from streams.tasks.chat import ImagePart

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nodes.engine import EngineSpec, Generate
    from streams.devices.replica import Ability

_TURN_TOKENS: Final = 64
_SPREAD: Final = 4
_PICTURE_TOKENS: Final = 20_000
"""The dispatcher believes no more (``gateway.dispatcher.plausible``)."""

_CALLED: Final[dict[Ability, str]] = {
    "tools": "call functions (tools)",
    "schema": "keep to a format or a schema (response_format)",
    "vision": "see pictures",
    "logprobs": "give logprobs",
    "logit_bias": "take a logit_bias",
    "raw_prompt": "go on with a raw prompt",
}


def announced(able: Iterable[Ability], spec: EngineSpec) -> tuple[Ability, ...]:
    """Return what an engine announces that is able to do so much, in its order: not what its owner will not have."""
    return tuple(ability for ability in able if ability not in spec.without)


def check_demands(request: Generate, abilities: Iterable[Ability]) -> None:
    """Check that an engine with ``abilities`` can do all that a request demands: nothing is left out silently.

    Raises:
        RequestRefused: ``unsupported_ability``, by name.
    """
    needs = needed(request.messages, request.sampling, request.tools, request.format, is_raw=bool(request.prompt))
    lacks = needs.difference(abilities)
    if lacks:
        cannot = " or ".join(_CALLED[ability] for ability in sorted(lacks))
        raise RequestRefused("unsupported_ability", f"this model's engine cannot {cannot}")


def demanded_bytes(request: Generate) -> int:
    """How many tokens of a prompt may come of what is demanded beyond the text of its messages, at most."""
    functions = () if request.tools is None else request.tools.functions
    told = sum(_TURN_TOKENS + _SPREAD * (len(one.description) + len(one.parameters_json)) for one in functions)
    told += 0 if request.format is None else _TURN_TOKENS + _SPREAD * len(request.format.schema_json)
    for message in request.messages:
        told += sum(_TURN_TOKENS + _SPREAD * len(call.arguments) for call in message.tool_calls)
        told += sum(_PICTURE_TOKENS for part in message.parts if isinstance(part, ImagePart))
    return told


def is_constrained(request: Generate) -> bool:
    """Whether something decides beside the model what the answer looks like."""
    return request.format is not None or may_call(request.tools)
