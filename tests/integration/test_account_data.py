"""`ig3 account export` and `erase`: what is stored of an account, carried away whole, and gone from the disk."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mesh.access.writer import AccessWriter
from mesh.bus.answer import AnswerText
from mesh.history.snapshots import SnapshotStore
from mesh.inspection.account_erasure import AccountErasure
from mesh.inspection.account_export import export_account
from mesh.inspection.task_records import ended
from streams import subjects
from streams.codec import encode
from streams.events import SubmissionUnreadable
from streams.subjects import CHECKS, TaskKey
from streams.tasks.answer_check import CheckOf
from streams.tokens import Token
from streams.topology import stream_specs
from tests.integration.written_tasks import report_on
from tests.mesh_in_process import InProcessMesh
from tests.operator_shell import ig3
from tests.patient_links import wait_for_answers
from tests.processes import until

ACME, OTHER = Token("acme"), Token("other")
MARKER = "a-prompt-that-shall-be-gone"
KEPT = "a-prompt-of-somebody-else"
ENDLESS = 100_000
"""Tokens of an answer that goes on until it is cancelled."""


@pytest.fixture(autouse=True)
def answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer of the broker counts as lost because this machine is slow."""
    wait_for_answers(monkeypatch)


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path / "mesh") as running:
        for account in (ACME, OTHER):
            await AccessWriter(running.bus.core).open(account)
        await running.add_dispatcher()
        await running.add_node(delay_ms=5, interval_s=5)
        yield running


async def answered(mesh: InProcessMesh, account: Token, text: str) -> tuple[TaskKey, str]:
    """A task that has ended for everybody, and its answer."""
    key = await mesh.submit(mesh.key(account), text=text)
    answer = AnswerText()
    answer.take(await mesh.steps(key))
    await mesh.all_acknowledged("standard")
    return key, str(answer)


async def exported(mesh: InProcessMesh, account: Token) -> list[dict[str, Any]]:
    return [json.loads(msgspec.json.encode(line)) async for line in export_account(mesh.bus, account, stream_specs())]


def on_disk(mesh: InProcessMesh, text: str) -> bool:
    files = (path for path in (mesh.folder / "jetstream").rglob("*") if path.is_file())
    return any(text.encode() in path.read_bytes() for path in files)


async def test_an_export_has_all_of_one_account_and_nothing_of_another(mesh: InProcessMesh, tmp_path: Path) -> None:
    key, text = await answered(mesh, ACME, MARKER)
    await answered(mesh, OTHER, KEPT)
    lines = await exported(mesh, ACME)
    assert {line["stream"] for line in lines if key.task in line["subject"]} > {"TASKS", "ENDED"}
    pieces = [line["event"]["text"] for line in lines if line["event"]["type"] == "task.chunk.v1"]
    assert "".join(pieces) == text
    assert {"task.submitted.v1", "task.completed.v1", "account.opened.v1"} < {line["event"]["type"] for line in lines}
    assert KEPT not in json.dumps(lines)
    file = tmp_path / "acme.jsonl"
    assert (await ig3(mesh, "account", "export", ACME, "--output", str(file))).status == 0
    assert [json.loads(line) for line in file.read_text().splitlines()] == lines
    assert file.stat().st_mode & 0o777 == 0o600
    assert "cannot write" in (await ig3(mesh, "account", "export", ACME, "--output", str(file))).stderr


async def test_an_erased_account_is_gone_from_the_disk_and_its_ends_stay(mesh: InProcessMesh, tmp_path: Path) -> None:
    key, text = await answered(mesh, ACME, MARKER)
    # The engine answers everybody alike, so the other one says more.
    other = await mesh.submit(mesh.key(OTHER), text=KEPT, tokens=40)
    await mesh.steps(other)
    stray = SubmissionUnreadable(
        at_ms=1, subject=f"tasks.standard.a.{ACME}.nonsense.submitted", reason="", body_base64=f"{MARKER}-astray"
    )
    await mesh.bus.core.append(subjects.UNREADABLE_SUBMISSION, encode(stray))
    await until(lambda: on_disk(mesh, MARKER))  # the broker writes behind its acknowledgement
    done = await ig3(mesh, "account", "erase", ACME, "--reason", "asked for", "--yes")
    assert done.status == 0, done.stderr
    assert "were written over" in done.stdout
    assert not on_disk(mesh, MARKER)
    await until(lambda: on_disk(mesh, KEPT))
    left = await exported(mesh, ACME)
    assert [line["event"]["type"] for line in left if key.task in line["subject"]] == ["task.completed.v1"]
    assert left[-1]["event"]["type"] == "account.erased.v1"
    assert left[-1]["event"]["messages"] > 0
    assert text not in json.dumps(left)
    report = await report_on(mesh, SnapshotStore(tmp_path / "snapshots"))
    assert report.is_equal, report.differences
    assert (await exported(mesh, OTHER)) != []


async def test_what_was_asked_again_to_check_an_answer_goes_too(mesh: InProcessMesh, tmp_path: Path) -> None:
    check = CheckOf(account=ACME, task=mesh.key().task, node="somebody", engine="synthetic")
    key = await mesh.submit(TaskKey(CHECKS, mesh.key().task), text=MARKER, check_of=check)
    await mesh.steps(key)
    running = await mesh.submit(TaskKey(CHECKS, mesh.key().task), text=MARKER, tokens=ENDLESS, check_of=check)
    await mesh.reached(running, 3)
    done = await ig3(mesh, "account", "erase", ACME, "--reason", "asked for", "--yes", "--cancel")
    assert done.status == 0, done.stderr
    assert not on_disk(mesh, MARKER)
    report = await report_on(mesh, SnapshotStore(tmp_path / "snapshots"))
    assert report.is_equal, report.differences


async def test_nothing_is_erased_while_a_task_runs_unless_it_is_cancelled_first(mesh: InProcessMesh) -> None:
    key = await mesh.submit(mesh.key(ACME), text=MARKER, tokens=ENDLESS)
    await mesh.reached(key, 3)
    refused = await ig3(mesh, "account", "erase", ACME, "--reason", "asked for", "--yes")
    assert refused.status == 1
    assert f"have not ended ({key.task})" in refused.stderr
    await until(lambda: on_disk(mesh, MARKER))
    done = await ig3(mesh, "account", "erase", ACME, "--reason", "asked for", "--yes", "--cancel")
    assert done.status == 0, done.stderr
    assert not on_disk(mesh, MARKER)
    left = await exported(mesh, ACME)
    assert [line["event"]["type"] for line in left if key.task in line["subject"]] == ["task.cancelled.v1"]


async def test_what_nobody_asked_for_is_not_erased(mesh: InProcessMesh) -> None:
    await answered(mesh, ACME, MARKER)
    assert (
        "there is no account nobody" in (await ig3(mesh, "account", "erase", "nobody", "--reason", "r", "--yes")).stderr
    )
    # Standard input is closed: nobody says yes.
    assert (await ig3(mesh, "account", "erase", ACME, "--reason", "r")).status == 1
    await until(lambda: on_disk(mesh, MARKER))


async def test_an_id_that_was_erased_is_answered_anew_and_ends_only_once(mesh: InProcessMesh) -> None:
    key, text = await answered(mesh, ACME, MARKER)
    before = await ended(mesh.bus, key)
    await (await AccountErasure.begin(mesh.bus, ACME, stream_specs())).run()
    await mesh.submit(key, text=MARKER, tokens=3)
    answer = AnswerText()
    answer.take(await mesh.steps(key))
    assert str(answer) != text, "somebody still had the old answer"
    assert await ended(mesh.bus, key) == before
