"""How often the estimator of complexity agrees with a person: ``python -m benchmarks.complexity [--wrong]``.

The set was labelled and committed before the estimator was written. Of each level, every other prompt was used to tune
it; the others were not looked at, and are the figure that counts.
"""

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from gateway.scheduling.complexity import level_of, points_of
from streams.tasks.chat import Message

SET = Path(__file__).with_name("complexity_set") / "prompts.txt"
LEVELS = ("simple", "moderate", "hard")


class Labelled(NamedTuple):
    """A prompt and how hard a person finds it."""

    level: str
    prompt: str

    @property
    def messages(self) -> tuple[Message, ...]:
        """As a request has it."""
        return (Message(role="user", content=self.prompt),)

    @property
    def guess(self) -> str:
        """What the estimator says."""
        return level_of(self.messages)


def read_set() -> list[Labelled]:
    """All labelled prompts, in the order of the file."""
    lines = (line.split("|", 1) for line in SET.read_text(encoding="utf-8").splitlines() if line)
    return [Labelled(level, prompt.replace("\\n", "\n")) for level, prompt in lines]


def halves(labelled: list[Labelled]) -> tuple[list[Labelled], list[Labelled]]:
    """Those that the estimator was tuned on, and those that were held back."""
    return labelled[0::2], labelled[1::2]


def accuracy(labelled: Iterable[Labelled]) -> float:
    """The share of prompts on which both agree."""
    hits = [each.guess == each.level for each in labelled]
    return sum(hits) / len(hits)


def main() -> None:
    """Measure and print."""
    tuned, held = halves(read_set())
    for name, part in (("tuned on", tuned), ("held back", held)):
        print(f"{name}: {accuracy(part):.1%} of {len(part)} as a person says")
        seen = Counter((each.level, each.guess) for each in part)
        print(f"  {'':10}{''.join(f'{guess:>10}' for guess in LEVELS)}   (columns: the estimator)")
        for level in LEVELS:
            print(f"  {level:10}{''.join(f'{seen[level, guess]:10}' for guess in LEVELS)}")
    if "--wrong" in sys.argv:
        for each in tuned:
            if each.guess != each.level:
                print(f"{each.level} taken for {each.guess} ({points_of(each.messages):.2f}): {each.prompt[:110]!r}")


if __name__ == "__main__":
    main()
