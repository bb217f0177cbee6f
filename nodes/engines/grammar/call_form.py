"""How functions and calls stand in a conversation with a model: the form that Hermes and Qwen models were trained with.

It is ours alone and the same for every model: llama.cpp knows a form for some templates only, and where it knows none
it passes over functions in silence.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from streams.tasks.chat import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nodes.engines.llama.plain_text import PlainText
    from streams.tasks.tools import Function, Tools

BEGIN: Final = "<tool_call>"
NAME: Final = '\n{"name": "'
ARGUMENTS: Final = '", "arguments": '
END: Final = "}\n</tool_call>"
BETWEEN: Final = "\n"

_EXPLAINED: Final = (
    "You can call functions. Their signatures are between <tools> and </tools>:\n<tools>\n{functions}\n</tools>\n"
    "To call one, write its name and its arguments as a JSON object between <tool_call> and </tool_call>:\n"
    '<tool_call>\n{{"name": "NAME", "arguments": {{ARGUMENTS}}}}\n</tool_call>{must}'
)
_MUST: Final = "\nAnswer with {what} and nothing else."


def with_functions(turns: Sequence[Message], tools: Tools, plain: PlainText) -> tuple[Message, ...]:
    """Put what can be called into the system's turn, one that is there or one of its own."""
    functions = "\n".join(plain(_signature(function)) for function in tools.functions)
    explained = _EXPLAINED.format(functions=functions, must=_must(tools))
    if turns and turns[0].role == "system":
        first = replace(turns[0], content=f"{turns[0].content}\n\n{explained}")
        return (first, *turns[1:])
    return (Message(role="system", content=explained), *turns)


def with_calls_as_text(turns: Sequence[Message], plain: PlainText) -> tuple[Message, ...]:
    """Write calls that were made, and what came of them, into the turns, as the model writes calls itself."""
    said: list[Message] = []
    for turn in turns:
        if turn.tool_calls:
            calls = BETWEEN.join(
                f"{BEGIN}{NAME}{call.name}{ARGUMENTS}{plain(call.arguments)}{END}" for call in turn.tool_calls
            )
            content = f"{turn.content}\n{calls}" if turn.content else calls
            said.append(replace(turn, content=content, tool_calls=()))
        elif turn.tool_call_id is not None:
            result = f"<tool_response>\n{turn.content}\n</tool_response>"
            is_next = bool(said) and said[-1].tool_call_id is not None
            content = f"{said.pop().content}\n{result}" if is_next else result
            # Few templates know a role of this kind; all know the user's.
            said.append(replace(turn, role="user", content=content))
        else:
            said.append(turn)
    return tuple(said)


def _signature(function: Function) -> str:
    described: dict[str, Any] = {"name": function.name, "description": function.description}
    described["parameters"] = json.loads(function.parameters_json or '{"type": "object", "properties": {}}')
    return json.dumps({"type": "function", "function": described}, ensure_ascii=False)


def _must(tools: Tools) -> str:
    if tools.choice == "named":
        return _MUST.format(what=f"calls of {tools.name}" if tools.parallel else f"a call of {tools.name}")
    if tools.choice == "required":
        return _MUST.format(what="calls" if tools.parallel else "one call")
    return ""
