"""What must hold of one task on the model mesh, at any moment and at its end."""

from streams.events import TaskAssigned, TaskChunk, TaskCompleted, TaskDead, TaskEnded, TaskEvent
from streams.subjects import MESH
from streams.tasks.task import closing, fold
from tests.unit.task_actors import Reader
from tests.unit.task_simulation import Mesh
from tests.unit.task_world import Stream, truth


def check(mesh: Mesh) -> None:
    """What must hold at any moment."""
    stream, state = mesh.world.stream, mesh.world.stream.state
    assert [event.n for _, event in stream.counted] == list(range(1, state.n + 1)), "the counter has a hole or a repeat"
    assert stream.text == truth(stream.version, 0, state.chars), "the answer has a gap, a repeat, or words of others"
    assert all(writer == MESH or isinstance(event, TaskChunk) for writer, event in stream.counted), "a node's marker"
    assert sum(share.chars for share in state.shares) == state.chars, "the shares do not add up to the text"
    markers = [place for place, (_, event) in enumerate(stream.counted) if isinstance(event, TaskEnded)]
    assert markers in ([], [state.n - 1]), "a task ends once, and nothing counts after that"
    assert len(mesh.world.ends.stored) <= 1, "a second end, and a second charge"
    for reader in mesh.readers:
        _check_reader(reader, stream)


def _check_reader(reader: Reader, stream: Stream) -> None:
    """A reader who hears badly is only ever behind one who misses nothing."""
    assert reader.state in stream.states, "a reader believes what never was"
    assert reader.text == text_until(stream, reader.state.n), "a reader sees another text than the log has"


def text_until(stream: Stream, n: int) -> str:
    """The answer up to a counter: what valid attempts have written since it was last begun anew."""
    text = ""
    for _, event in stream.counted[:n]:
        if isinstance(event, TaskChunk):
            text += event.text
        elif isinstance(event, TaskAssigned) and event.seam == "restarted":
            text = ""
    return text


def prompt_of(stream: Stream) -> int | None:
    """What the first node has said of the prompt whose text is part of the answer that stands."""
    began = max((at for at, (_, event) in enumerate(stream.counted) if begins_anew(event)), default=0)
    chunks = (event for _, event in stream.counted[began:] if isinstance(event, TaskChunk))
    return next((chunk.prompt_tokens for chunk in chunks), None)


def begins_anew(event: TaskEvent) -> bool:
    """Whether all text before it is void."""
    return isinstance(event, TaskAssigned) and event.seam == "restarted"


def check_end(mesh: Mesh) -> None:
    """What must hold once somebody has settled the task."""
    mesh.settle()
    check(mesh)
    stream, state = mesh.world.stream, mesh.world.stream.state
    assert state.is_over, "a task without an end"
    assert mesh.world.queue.is_done, "the queue would hand it out for ever"
    assert all(reader.state == state and reader.text == stream.text for reader in mesh.readers)
    _check_charge(mesh)
    assert len(mesh.world.dead.stored) == (state.outcome == "dead"), "the dead are kept, and only they"


def _check_charge(mesh: Mesh) -> None:
    """The one end charges the text that was delivered, once, to those who wrote it."""
    stream, end = mesh.world.stream, mesh.world.ends.stored[0]
    assert closing(end).outcome == stream.state.outcome, "the readers are told another end than the ledger"
    assert sum(share.chars for share in end.shares) == len(stream.text), "not what was delivered is charged"
    assert end.shares == stream.state.shares
    assert stream.state.prompt_tokens == prompt_of(stream), "the prompt is paid by what no text stands for"
    assert text_until(stream, end.final_n) == stream.text, "something was delivered past the end"
    if isinstance(end, TaskCompleted):
        last = stream.counted[end.final_n - 1][1]
        assert isinstance(last, TaskChunk), "final_n is no chunk"
        assert last.finish_reason is not None, "final_n is no last chunk"
    if isinstance(end, TaskDead):
        assert len(end.failures) == len({failure.attempt for failure in end.failures}) > 0


def check_replay(mesh: Mesh, cut: int) -> None:
    """A fold from the log, whole or in two parts, is what the live one was at that place."""
    stream = mesh.world.stream
    cut %= len(stream.states)
    assert fold(stream.stored[:cut]) == stream.states[cut]
    assert fold(stream.stored[cut:], stream.states[cut]) == stream.state == fold(stream.stored)
    assert fold(stream.counted) == stream.state
