"""Frames that many readers share are those of one task of one account."""

from gateway.bridge.task_follower import FrameMemory
from gateway.bridge.wire import FORMATS
from mesh.bus.answer import Step
from streams.events import TaskChunk
from streams.subjects import TaskKey
from streams.tasks.task import TaskState
from streams.tasks.task_id import new_task_id
from streams.tokens import Token


def test_readers_of_one_task_share_a_frame_and_a_task_of_another_account_under_the_same_id_has_its_own() -> None:
    memory, task = FrameMemory(), new_task_id()
    ours, theirs = (TaskKey(Token(account), task) for account in ("acme", "beta"))
    said = [Step(TaskChunk(n=1, attempt=1, offset=0, text=text), "n1", TaskState(n=1)) for text in ("ours", "theirs")]
    frame = memory.frame(ours, said[:1])
    assert memory.frame(ours, said[:1]) is frame
    other = memory.frame(theirs, said[1:])
    wire = FORMATS["ig3.v1.json"]
    assert (b"ours" in frame.as_bytes(wire), b"theirs" in other.as_bytes(wire)) == (True, True)
