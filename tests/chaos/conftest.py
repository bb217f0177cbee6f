"""Prints what was measured at the end of the test run, also where every test passed."""

from collections.abc import Callable

import pytest

from tests.chaos.campaign import Outcome
from tests.chaos.figures import rows, summary, table

_MEASURED = pytest.StashKey[list[str]]()


@pytest.fixture
def show(request: pytest.FixtureRequest) -> Callable[[Outcome], None]:
    """Have the figures of a campaign printed when all tests are done."""

    def keep(outcome: Outcome) -> None:
        measured = table(rows(outcome.injections, outcome.transcripts, outcome.records))
        text = f"{request.node.name}\n\n{measured}\n\n{summary(outcome.findings)}\n"
        request.config.stash.setdefault(_MEASURED, []).append(text)

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Write them."""
    for text in config.stash.get(_MEASURED, []):
        terminalreporter.section("chaos", sep="-")
        terminalreporter.write_line(text)
