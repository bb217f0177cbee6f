"""What holds a model of llama.cpp to the tools and the format of a request: one grammar, made before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nodes.engines.grammar.call_form import ARGUMENTS, BEGIN, BETWEEN, END, NAME
from nodes.engines.grammar.rules import Rules, literal
from nodes.engines.grammar.schema_grammar import SchemaGrammar, read_schema, unsupported
from nodes.errors import RequestRefused
from streams.tasks.abilities import may_call

if TYPE_CHECKING:
    from nodes.engine import Generate
    from streams.tasks.tools import Function, OutputFormat, Tools

_MOST_CALLS: Final = 16
"""In one answer: a small model that may go on would go on for ever."""
_ANYTHING: Final = {"type": "object"}


def grammar_of(request: Generate) -> str | None:
    """Write the grammar that an answer must keep to; None: any text will do.

    Bounded in size, and so in time, whatever the schemas are. Call it in a thread all the same: a large one takes
    milliseconds.

    Raises:
        RequestRefused: ``unsupported_schema``: it would explode, or holds what cannot be enforced and must be.
    """
    tools, rules = request.tools, Rules()
    if tools is None or not may_call(tools):
        return None if request.format is None else rules.text(_formatted(rules, request.format))
    begun = _calls(rules, tools)
    if tools.choice == "auto" and request.format is None:
        return rules.text(_free_text(rules, begun))
    calls = f"{literal(BEGIN)} {begun}"
    if tools.choice == "auto" and request.format is not None:
        calls = f"{calls} | {_formatted(rules, request.format)}"
    return rules.text(rules.add("answer", calls))


def _formatted(rules: Rules, output_format: OutputFormat) -> str:
    if output_format.kind == "json_object" or not output_format.schema_json:
        return SchemaGrammar(rules, _ANYTHING, strict=True).write()
    return SchemaGrammar(rules, read_schema(output_format.schema_json), strict=output_format.strict).write()


def _calls(rules: Rules, tools: Tools) -> str:
    """What follows the beginning of the first call."""
    functions = [function for function in tools.functions if tools.choice != "named" or function.name == tools.name]
    if not functions:
        raise RequestRefused("invalid_input", f"tool_choice names {tools.name!r}, which is none of the tools")
    one = rules.add("call", " | ".join(_one_call(rules, function) for function in functions))
    begun = rules.add("begun", f"{literal(NAME)} {one} {literal(END)}")
    if tools.parallel:
        another = f"( {literal(BETWEEN + BEGIN)} {begun} )"
        begun = rules.add("calls", f"{begun} {rules.repeated(another, 0, _MOST_CALLS - 1)}")
    return begun


def _one_call(rules: Rules, function: Function) -> str:
    name = literal(function.name + ARGUMENTS)
    if not function.parameters_json:
        return f'{name} "{{}}"'
    schema = read_schema(function.parameters_json)
    if schema.get("type", "object") != "object":
        raise unsupported(f"the parameters of {function.name!r} must be an object")
    try:
        return f"{name} {SchemaGrammar(rules, {**schema, 'type': 'object'}, strict=function.strict).write()}"
    except RequestRefused as refused:
        raise RequestRefused(refused.code, f"function {function.name!r}: {refused.message}") from refused


def _free_text(rules: Rules, begun: str) -> str:
    """Any text up to a call, and nothing behind it: one rule for each character of what begins a call."""
    names = [rules.reserve("free") for _ in BEGIN]
    for at, char in enumerate(BEGIN):
        # What does not go on like the beginning of a call is text; with each "<" one may begin.
        others = "[^<]" if at == 0 else f"[^<{char}]"
        again = "" if at == 0 else f' | "<" {names[1]}'
        following = names[at + 1] if at + 1 < len(BEGIN) else begun
        rules.set(names[at], f'"" | {others} {names[0]}{again} | "{char}" {following}')
    return names[0]
