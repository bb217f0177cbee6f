"""What a task demands beyond plain text: whether it makes sense, and whether there is a replica that can do it.

Asked by a gateway before it accepts a task, and by a dispatcher of every task once more: what is published straight on
the bus passes the same gate. Parameters are named as OpenAI's API does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.intake.json_schema import SchemaRefused, check_schema
from gateway.intake.model_kinds import kind_error
from streams.tasks.abilities import needed
from streams.tasks.task_error import TaskError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.scheduling.aliases import Alias
    from streams.devices.replica import Ability
    from streams.devices.roster import Roster
    from streams.events import TaskSubmitted
    from streams.tasks.chat import Message
    from streams.tasks.tools import OutputFormat, Tools


def needs_of(asked: TaskSubmitted) -> frozenset[Ability]:
    """What a replica must be able to do to serve a task."""
    return needed(asked.messages, asked.sampling, asked.tools, asked.format, is_raw=bool(asked.prompt))


def inability(asked: TaskSubmitted, roster: Roster, aliases: Mapping[str, Alias]) -> TaskError | None:
    """Say why no replica of the model can serve a task, or None if one can, or nobody has announced one.

    Where there is none yet, nobody knows what the first will be able to do: the task waits, as for any node.
    """
    alias = aliases.get(asked.model)
    models = (asked.model,) if alias is None else alias.models
    if (error := kind_error(asked, models, roster)) is not None:
        return error
    needs = needs_of(asked)
    if not needs:
        return None
    abilities = [frozenset(replica.abilities) for model in models for replica in roster.replicas_of(model)]
    if not abilities or any(needs <= can for can in abilities):
        return None
    return _cannot(needs, abilities, asked.model)


def _cannot(needs: frozenset[Ability], abilities: list[frozenset[Ability]], model: str) -> TaskError:
    lacking = sorted(needs.difference(*abilities))
    if not lacking:
        message = f"No replica of `{model}` can do all of {', '.join(sorted(needs))} at once. {_WHO_CAN}"
        return TaskError(code="unsupported_parameter", message=message, status=400, param=_PARAMS[min(needs)])
    first = lacking[0]
    code = "unsupported_value" if first in _OF_VALUES else "unsupported_parameter"
    kind = "value" if first in _OF_VALUES else "parameter"
    message = f"Unsupported {kind}: '{_PARAMS[first]}'. No replica of `{model}` {_CANNOT[first]}. {_WHO_CAN}"
    return TaskError(code=code, message=message, status=400, param=_PARAMS[first])


_WHO_CAN: Final = "GET /v1/models says what each model's replicas can do."
_PARAMS: Final[dict[Ability, str]] = {
    "tools": "tools",
    "schema": "response_format",
    "vision": "messages",
    "logprobs": "logprobs",
    "logit_bias": "logit_bias",
    "raw_prompt": "prompt",
}
_OF_VALUES: Final[frozenset[Ability]] = frozenset({"schema", "vision", "raw_prompt"})
_CANNOT: Final[dict[Ability, str]] = {
    "tools": "can call functions",
    "schema": "can keep an answer to JSON or a schema",
    "vision": "can see pictures",
    "logprobs": "gives log probabilities",
    "logit_bias": "takes a bias on tokens",
    "raw_prompt": "goes on with a text as it stands: ask it by /v1/chat/completions",
}


def demand_error(asked: TaskSubmitted) -> TaskError | None:
    """Say what makes no sense in what a task demands, or None."""
    if asked.tools is not None and (error := _tools_error(asked.tools)) is not None:
        return error
    if asked.format is not None and (error := _format_error(asked.format)) is not None:
        return error
    return _conversation_error(asked.messages)


def _tools_error(tools: Tools) -> TaskError | None:
    names: set[str] = set()
    for index, function in enumerate(tools.functions):
        if function.name in names:
            return _wrong(f"tools[{index}].function.name", f"there are two functions {function.name!r}")
        names.add(function.name)
        if function.parameters_json:
            try:
                check_schema(function.parameters_json)
            except SchemaRefused as error:
                return _wrong(f"tools[{index}].function.parameters", str(error))
    if tools.choice == "named" and tools.name not in names:
        return _wrong("tool_choice", f"there is no function {tools.name!r} among the tools")
    return None


def _format_error(wanted: OutputFormat) -> TaskError | None:
    if wanted.kind != "json_schema":
        return None
    place = "response_format.json_schema.schema"
    if not wanted.schema_json:
        return TaskError(
            code="missing_required_parameter",
            message=f"Missing required parameter: '{place}'.",
            status=400,
            param=place,
        )
    try:
        check_schema(wanted.schema_json)
    except SchemaRefused as error:
        return _wrong(place, str(error))
    return None


def _conversation_error(messages: Iterable[Message]) -> TaskError | None:
    """Calls and their results must fit together, as chat templates expect it."""
    waited_for: dict[str, str] = {}
    answered: set[str] = set()
    for index, turn in enumerate(messages):
        place = f"messages[{index}]"
        if turn.role == "tool":
            if turn.tool_call_id in answered:
                return _wrong(f"{place}.tool_call_id", "this call has its result already")
            if turn.tool_call_id is None or waited_for.pop(turn.tool_call_id, None) is None:
                return _wrong(f"{place}.tool_call_id", "no call of this id stands in the assistant's turn before it")
            answered.add(turn.tool_call_id)
            continue
        if waited_for:
            return _no_result(waited_for)
        answered.clear()
        if turn.tool_calls and turn.role != "assistant":
            return _wrong(f"{place}.tool_calls", f"a turn of the role {turn.role} calls nothing")
        waited_for = {call.id: f"{place}.tool_calls[{at}]" for at, call in enumerate(turn.tool_calls)}
        if len(waited_for) != len(turn.tool_calls):
            return _wrong(f"{place}.tool_calls", "two calls have the same id")
    return _no_result(waited_for) if waited_for else None


def _no_result(waited_for: dict[str, str]) -> TaskError:
    call, place = next(iter(waited_for.items()))
    return _wrong(place, f"no turn of the role tool has the result of the call {call!r}")


def _wrong(param: str, why: str) -> TaskError:
    return TaskError(code="invalid_value", message=f"Invalid value for '{param}': {why}.", status=400, param=param)
