"""Messages about tasks: whose task they mean, also where an older program does not say it."""

import msgspec

from streams.codec import decode
from streams.messages import Finished, Refused, Running, Stop, is_about
from streams.subjects import TaskKey
from streams.tasks.task_id import new_task_id
from streams.tokens import token

TASK = new_task_id()
ALICE, BOB = (TaskKey(token(name), TASK) for name in ("alice", "bob"))


def test_a_message_means_the_task_of_its_account() -> None:
    stop = Stop(task=TASK, attempt=1, reason="", account="alice")
    assert is_about(stop, ALICE)
    assert not is_about(stop, BOB)
    assert not is_about(stop, TaskKey(ALICE.account, new_task_id()))


def test_a_message_of_an_older_program_means_any_task_of_the_id() -> None:
    old = {"type": "node.stop.v1", "task": TASK, "attempt": 2, "reason": "over"}
    stop = decode(msgspec.msgpack.encode(old), Stop)
    assert (stop.account, stop.attempt) == ("", 2)
    assert is_about(stop, ALICE)
    assert is_about(stop, BOB)


def test_reports_without_an_account_are_still_read() -> None:
    told = {"task": TASK, "attempt": 1, "dispatcher": "d1"}
    finished = decode(msgspec.msgpack.encode({"type": "node.finished.v1", "sequence": 3, **told}), Finished)
    refused = decode(msgspec.msgpack.encode({"type": "node.refused.v1", "code": "x", "message": "y", **told}), Refused)
    assert (finished.account, refused.account) == ("", "")
    assert msgspec.convert({"task": TASK, "attempt": 1}, Running).account == ""
