"""Whole logs that were once written still add up to what they meant then, and nobody edits them."""

import subprocess
from pathlib import Path

import msgspec
import pytest

from mesh.inspection.task_fold import TaskFold
from streams.codec import decode_end_event
from streams.subjects import parse_result
from tests.unit.golden_logs import (
    FOLDER,
    LOGS,
    Record,
    log_file,
    meaning_file,
    meaning_of,
    read_log,
    read_meaning,
    write_log,
)

ROOT = Path(__file__).parents[2]


def results(records: list[Record]) -> list[Record]:
    return [record for record in records if record.stream == "RESULTS"]


def said(record: Record) -> tuple[str, str, object]:
    """What a record says.

    The length of a MessagePack map may be written in one byte or in three, and msgspec takes three for a struct that
    could have more than 15 fields.
    """
    try:
        return record.stream, record.subject, msgspec.msgpack.decode(record.body)
    except msgspec.DecodeError:
        return record.stream, record.subject, record.body


def test_the_folder_holds_these_logs_and_nothing_else() -> None:
    files = {path.name for path in FOLDER.iterdir()}
    assert files == {path(name).name for name in LOGS for path in (log_file, meaning_file)}


@pytest.mark.parametrize("name", LOGS)
def test_an_old_log_adds_up_to_what_it_meant(name: str) -> None:
    meant, means = read_meaning(name), meaning_of(read_log(name))
    # A field that came later is no change of what was meant.
    assert {field: means.state[field] for field in meant.state} == meant.state
    assert {field: value for field, value in (means.end or {}).items() if field in (meant.end or {})} == (
        meant.end or {}
    )
    assert (means.text, means.passed_over) == (meant.text, meant.passed_over)


@pytest.mark.parametrize("name", LOGS)
def test_the_end_of_an_old_log_is_what_its_events_say(name: str) -> None:
    records = read_log(name)
    fold = TaskFold()
    for sequence, record in enumerate(results(records), 1):
        fold.take(sequence, parse_result(record.subject).writer, record.body)
    ends = [decode_end_event(record.body) for record in records if record.stream == "ENDED"]
    assert fold.against(ends[0] if ends else None) == []


@pytest.mark.parametrize("name", LOGS)
def test_a_log_would_be_written_alike_today(name: str) -> None:
    assert list(map(said, LOGS[name]().records)) == list(map(said, read_log(name)))


def test_a_log_is_never_written_twice(tmp_path: Path) -> None:
    write_log("completed", tmp_path)
    with pytest.raises(FileExistsError):
        write_log("completed", tmp_path)


def test_no_commit_ever_changed_or_removed_a_golden_file() -> None:
    if not (ROOT / ".git").exists():
        # An unpacked release has no history; the tests above still hold what is there against its meaning.
        return
    asked = ["git", "-C", ROOT, "log", "--format=", "--name-only", "--diff-filter=MDRT", "--", "tests/golden"]
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split() == []
    asked = ["git", "-C", ROOT, "diff", "--name-only", "--diff-filter=MDRT", "HEAD", "--", "tests/golden"]
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split() == []
