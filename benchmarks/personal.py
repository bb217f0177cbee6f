"""How much personal data is recognised, and what else is taken for it: ``python -m benchmarks.personal``.

The texts were labelled and committed before the recognisers were written. Every other one was used to tune them; the
others are the figure that counts. With ``--wrong`` it prints what was missed and what was mistaken.
"""

import re
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple, get_args

from nodes.personal_data.found import Found, Kind
from nodes.personal_data.recogniser import recognise
from nodes.personal_data.spec import RedactionSpec
from streams.tasks.placing import Redaction

SET: Final = Path(__file__).with_name("personal_set") / "texts.txt"
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_MARK: Final = re.compile(r"\{\{([A-Z]+)\|(.*?)\}\}")
_COUNTRIES: Final = RedactionSpec().countries
_STRICT_ONLY: Final = frozenset({"WALLET", "DID"})


class Labelled(NamedTuple):
    """A text, and what in it a provider is not to see."""

    text: str
    found: frozenset[Found]


class Tally(NamedTuple):
    """Of one kind."""

    right: int
    missed: int
    mistaken: int

    @property
    def recall(self) -> float:
        """The share of what is there that was found."""
        there = self.right + self.missed
        return self.right / there if there else 1.0

    @property
    def precision(self) -> float:
        """The share of what was found that is there."""
        found = self.right + self.mistaken
        return self.right / found if found else 1.0


def read_set() -> list[Labelled]:
    """All labelled texts, in the order of the file."""
    return [_labelled(line) for line in SET.read_text(encoding="utf-8").splitlines() if line]


def halves(labelled: list[Labelled]) -> tuple[list[Labelled], list[Labelled]]:
    """Those that the recognisers were tuned on, and those that were held back."""
    return labelled[0::2], labelled[1::2]


def tally(labelled: Iterable[Labelled], level: Redaction) -> dict[str, Tally]:
    """Count by kind; a piece counts as found only from its first character to its last."""
    right, missed, mistaken = Counter[str](), Counter[str](), Counter[str]()
    for each in labelled:
        wanted = {one for one in each.found if level == "strict" or one.kind not in _STRICT_ONLY}
        found = set(recognise(each.text, level, _COUNTRIES))
        right.update(one.kind for one in wanted & found)
        missed.update(one.kind for one in wanted - found)
        mistaken.update(one.kind for one in found - wanted)
    return {kind: Tally(right[kind], missed[kind], mistaken[kind]) for kind in KINDS}


def _labelled(line: str) -> Labelled:
    text, found, at = "", list[Found](), 0
    kinds: dict[str, Kind] = {kind: kind for kind in KINDS}
    for match in _MARK.finditer(line):
        text += line[at : match.start()]
        found.append(Found(len(text), len(text) + len(match[2]), kinds[match[1]]))
        text += match[2]
        at = match.end()
    return Labelled(text + line[at:], frozenset(found))


def main() -> None:
    """Measure and print."""
    tuned, held = halves(read_set())
    levels: tuple[Redaction, ...] = ("standard", "strict")
    for name, part in (("tuned on", tuned), ("held back", held)):
        for level in levels:
            counts = tally(part, level)
            print(f"{name}, {level}: {len(part)} texts")
            for kind, of in counts.items():
                if of.right + of.missed + of.mistaken:
                    there = of.right + of.missed
                    print(f"  {kind:8}{there:4} there, recall {of.recall:.2f}, precision {of.precision:.2f}")
    text = "\n".join(each.text for each in tuned + held)
    began = time.perf_counter()
    recognise(text, "strict", _COUNTRIES)
    print(f"{(time.perf_counter() - began) * 1e9 / len(text):.0f} us for a thousand characters of it")
    if "--wrong" in sys.argv:
        _print_wrong(tuned)


def _print_wrong(labelled: Iterable[Labelled]) -> None:
    for each in labelled:
        found = frozenset(recognise(each.text, "strict", _COUNTRIES))
        for name, pieces in (("missed", each.found - found), ("mistaken", found - each.found)):
            for start, end, kind in pieces:
                print(f"{name} {kind}: {each.text[start:end]!r} in {each.text!r}")


if __name__ == "__main__":
    main()
