"""What commands write: tables that keep everything, and text that cannot steer a terminal."""

import io
import re
from datetime import UTC, datetime, timedelta

import pytest

from mesh.client.chat_session import printable
from mesh.inspection.tables import Column, print_table, show_duration, show_size, show_time
from mesh.processes.terminal import Terminal

COLUMNS = (Column("NAME"), Column("COUNT", right=True), Column("WHY"))
ROWS = [("a", "5", ""), (("longer name", "green"), "1000", "x" * 200)]


def printed() -> str:
    screen, written = Terminal(), io.StringIO()
    screen.out.file = written
    print_table(screen, COLUMNS, ROWS)
    return written.getvalue()


def test_a_program_gets_one_line_per_row_however_long() -> None:
    assert printed().splitlines() == [
        "NAME         COUNT  WHY",
        "a                5",
        f"longer name   1000  {'x' * 200}",
    ]


def test_a_person_gets_all_of_it_in_the_width_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "60"}.items():
        monkeypatch.setenv(name, text)
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown = printed()
    assert max(len(re.sub(r"\x1b\[\d*m", "", line)) for line in shown.splitlines()) == 60
    assert shown.count("x") == 200
    assert "\x1b[32mlonger name" in shown


def test_a_model_cannot_steer_the_terminal() -> None:
    assert printable("red \x1b[31m, bell \x07, title \x1b]0;x\x07, up \r\nnext\ttab ü 海 🌊\x9b") == (
        "red [31m, bell , title ]0;x, up \nnext\ttab ü 海 🌊"
    )


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3072.0 GiB")]
)
def test_sizes(count: int, shown: str) -> None:
    assert show_size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.0123, "12 ms"), (1.26, "1.3 s"), (61, "1 min 1 s"), (7322, "2 h 2 min")]
)
def test_durations(seconds: float, shown: str) -> None:
    assert show_duration(timedelta(seconds=seconds)) == shown


def test_times_of_other_days_have_their_date() -> None:
    assert show_time(None) == ""
    assert len(show_time(datetime.now(UTC))) == len("12:00:00")
    assert show_time(datetime(2020, 5, 5, 12, tzinfo=UTC)).startswith("2020-05-0")
