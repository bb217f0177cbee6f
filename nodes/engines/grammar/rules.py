"""Writing a grammar in llama.cpp's form (GBNF), within bounds: what explodes is refused before llama.cpp sees it."""

from __future__ import annotations

from typing import Final

from nodes.errors import RequestRefused

MOST_RULES: Final = 2_000
MOST_CHARS: Final = 200_000
MOST_REPEATS: Final = 4_000
"""llama.cpp writes a repetition out: so many copies of what is repeated, in all."""

MOST_AT_ONCE: Final = 1_900
"""Of one thing. From 2,000 on llama.cpp refuses a repetition, or, in newer versions, forgets its end in silence."""

_ESCAPED: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class GrammarTooLarge(RequestRefused):
    """The grammar would grow beyond what an engine shall be asked to work through."""

    def __init__(self, what: str, most: int) -> None:
        """Say which bound is passed."""
        super().__init__(
            "unsupported_schema", f"the schema makes a grammar of more than {most} {what}: use a smaller one"
        )


class Rules:
    """The rules of one grammar, each with a body."""

    def __init__(self) -> None:
        """Begin with none."""
        self._bodies: dict[str, str] = {}
        self._chars = 0
        self._repeats = 0

    def reserve(self, kind: str) -> str:
        """Name a rule whose body comes later, as recursion needs it."""
        name = f"{kind}-{len(self._bodies)}"
        self._take(name, "")
        return name

    def set(self, name: str, body: str) -> str:
        """Give a rule its body, and return its name."""
        self._take(name, body)
        return name

    def add(self, kind: str, body: str) -> str:
        """Add a rule of a kind, and return its name."""
        return self.set(f"{kind}-{len(self._bodies)}", body)

    def shared(self, name: str, body: str) -> str:
        """Add a rule that may be there already."""
        return name if name in self._bodies else self.set(name, body)

    def repeated(self, what: str, least: int, most: int | None) -> str:
        """Say that something comes so many times."""
        times = max(least, most or 0)
        if times > MOST_AT_ONCE:
            raise GrammarTooLarge("repetitions of one thing (minLength, maxLength, minItems, maxItems)", MOST_AT_ONCE)
        self._repeats += times
        if self._repeats > MOST_REPEATS:
            raise GrammarTooLarge("repetitions (minLength, maxLength, minItems, maxItems)", MOST_REPEATS)
        if (least, most) == (0, None):
            return f"{what}*"
        return f"{what}{{{least},{'' if most is None else most}}}"

    def text(self, root: str) -> str:
        """Write the grammar, which begins with the rule ``root``."""
        lines = [f"root ::= {root}", *(f"{name} ::= {body}" for name, body in self._bodies.items())]
        return "\n".join(lines) + "\n"

    def _take(self, name: str, body: str) -> None:
        self._chars += len(name) + len(body)
        self._bodies[name] = body
        if len(self._bodies) > MOST_RULES:
            raise GrammarTooLarge("rules", MOST_RULES)
        if self._chars > MOST_CHARS:
            raise GrammarTooLarge("characters", MOST_CHARS)


def literal(text: str) -> str:
    """Write a text that must come as it is."""
    return '"' + "".join(map(_escaped, text)) + '"'


def one_of(alternatives: list[str]) -> str:
    """Write alternatives, in brackets where there are several."""
    return alternatives[0] if len(alternatives) == 1 else f"( {' | '.join(alternatives)} )"


def _escaped(char: str) -> str:
    if char in _ESCAPED:
        return _ESCAPED[char]
    return f"\\x{ord(char):02X}" if ord(char) < 0x20 or ord(char) == 0x7F else char
