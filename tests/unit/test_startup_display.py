"""What people see while a mesh starts and a model loads: bars on a terminal, plain lines everywhere else."""

import io

import pytest
from rich.text import Text

from mesh.processes.child import ChildChange
from mesh.processes.startup_display import StartupDisplay
from mesh.processes.terminal import Terminal

LOADING = ChildChange(name="node-1", state="starting", text="loading the model", fraction=0.4)
READY = ChildChange(name="node-1", state="ready", text="smollm2 on xllamacpp")
RESTARTING = ChildChange(name="node-1", state="restarting", text="ended with status 1")


class Screen:
    """A terminal, or a log file, and what was written to it."""

    def __init__(self, *, is_terminal: bool) -> None:
        self.terminal = Terminal()
        self.terminal.err.file = self._written = io.StringIO()
        assert self.terminal.err.is_terminal is is_terminal

    def lines(self) -> list[str]:
        """All that was ever written, every picture of a bar as a line, without the codes that colour it."""
        return [
            line.rstrip() for line in Text.from_ansi(self._written.getvalue().replace("\r", "\n")).plain.split("\n")
        ]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    return Screen(is_terminal=True)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Screen:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    return Screen(is_terminal=False)


def show(screen: Screen, *changes: ChildChange) -> StartupDisplay:
    display = StartupDisplay(screen.terminal)
    display.open()
    for change in changes:
        display.show(change)
    return display


def test_a_terminal_has_one_line_per_process_with_what_it_does_and_since_when(screen: Screen) -> None:
    broker = ChildChange(name="broker", state="ready", text="nats://127.0.0.1:4222")
    show(screen, ChildChange(name="broker", state="starting"), LOADING, broker).close()
    last = [line for line in screen.lines() if line][-2:]
    assert last[0].startswith("✓ broker")
    assert last[0].endswith("0:00:00 nats://127.0.0.1:4222")
    assert "node-1 ━━━━╸" in last[1]
    assert last[1].endswith("loading the model")


def test_a_process_that_is_ready_has_a_full_bar_and_its_detail(screen: Screen) -> None:
    show(screen, LOADING, READY).close()
    last = [line for line in screen.lines() if line][-1]
    assert last.startswith("✓ node-1 ━━━━━━━━━━━━ ")
    assert last.endswith("smollm2 on xllamacpp")


def test_a_text_longer_than_the_terminal_is_cut_and_not_wrapped(screen: Screen) -> None:
    show(screen, ChildChange(name="node-1", state="starting", text="x" * 300)).close()
    assert max(len(line) for line in screen.lines()) <= 100
    assert [line for line in screen.lines() if line][-1].endswith("x…")


def test_what_happens_after_the_start_is_written_below_as_a_line(screen: Screen) -> None:
    display = show(screen, READY)
    display.close()
    display.show(RESTARTING)
    assert [line for line in screen.lines() if line][-1] == "node-1       restarting: ended with status 1"


def test_a_log_has_each_change_once_and_nothing_of_a_stop_without_a_reason(log: Screen) -> None:
    further = ChildChange(name="node-1", state="starting", text="loading the model", fraction=0.6)
    stopping = [ChildChange(name="node-1", state=state) for state in ("stopping", "stopped")]
    killed = ChildChange(name="node-1", state="stopped", text="killed")
    show(log, LOADING, further, READY, *stopping, killed).close()
    assert log.lines() == [
        "node-1       starting: loading the model",
        "node-1       ready: smollm2 on xllamacpp",
        "node-1       stopped: killed",
        "",
    ]


def test_a_bar_grows_as_it_is_told_and_lets_lines_through(screen: Screen) -> None:
    with screen.terminal.progress("Loading the model") as told:
        told(0.25)
        screen.terminal.err.print("beside it")
    pictures = [line for line in screen.lines() if "Loading" in line]
    assert any(" 0%" in line for line in pictures)
    assert any("25%" in line for line in pictures)
    assert "beside it" in screen.lines()


def test_a_log_gets_one_line_instead_of_a_bar(log: Screen) -> None:
    with log.terminal.progress("Loading the model") as told:
        for percent in range(101):
            told(percent / 100)
    assert log.lines() == ["Loading the model ...", ""]
