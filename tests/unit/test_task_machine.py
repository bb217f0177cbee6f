"""The aggregate under schedules that nobody would think of: rivals, zombies, forgeries, losses, repeats."""

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streams.events import TaskChunk, TaskEnded
from streams.subjects import MESH
from streams.task import Phase, TaskState, advance, fold
from tests.unit.task_histories import Written
from tests.unit.task_simulation import Mesh, truth

ANY = st.integers(0, 7)
LENGTHS = st.integers(0, 3)
SCHEDULES = 1_500
STEPS = 60


def counted(stored: list[Written]) -> list[Written]:
    state, kept = TaskState(), list[Written]()
    for writer, event in stored:
        following = advance(state, writer, event)
        if isinstance(following, TaskState):
            state = following
            kept.append((writer, event))
    return kept


def check(mesh: Mesh) -> None:
    """What must hold at any moment."""
    kept = counted(mesh.stream.stored)
    state = fold(mesh.stream.stored)
    text = "".join(event.text for _, event in kept if isinstance(event, TaskChunk))
    ends = [event for _, event in kept if isinstance(event, TaskEnded)]

    assert [event.n for _, event in kept] == list(range(1, state.n + 1)), "the counter has a hole or a repeat"
    assert text == truth(0, state.chars), "the answer has a gap, a repeat, or words of somebody else"
    assert all(writer == MESH or isinstance(event, TaskChunk) for writer, event in kept), "a node's marker counted"
    assert sum(share.chars for share in state.shares) == state.chars
    assert len(ends) == state.is_over, "a task has not exactly one end"
    assert not ends or kept[-1][1] is ends[0], "something counted after the end"
    assert fold(kept) == state

    reader = mesh.reader
    assert reader.text == truth(0, reader.state.chars)
    assert reader.state == fold(kept[: reader.state.n])


def check_end(mesh: Mesh) -> None:
    """What must hold once somebody has settled the task."""
    mesh.settle()
    check(mesh)
    assert mesh.reader.state == fold(mesh.stream.stored)
    assert mesh.reader.state.is_over


class TaskMachine(RuleBasedStateMachine):
    """Lets hypothesis choose, and shrink what it finds to a few steps."""

    def __init__(self) -> None:
        super().__init__()
        self.mesh = Mesh()

    @rule(who=ANY)
    def read(self, who: int) -> None:
        self.mesh.read(who)

    @rule(who=ANY)
    def queue(self, who: int) -> None:
        self.mesh.queue(who)

    @rule(who=ANY, where=ANY)
    def assign(self, who: int, where: int) -> None:
        self.mesh.assign(who, where)

    @rule(who=ANY)
    def halt(self, who: int) -> None:
        self.mesh.halt(who)

    @rule(who=ANY)
    def end(self, who: int) -> None:
        self.mesh.end(who)

    @rule(which=ANY, length=LENGTHS, is_last=st.booleans(), is_ack_lost=st.booleans())
    def generate(self, which: int, length: int, is_last: bool, is_ack_lost: bool) -> None:
        self.mesh.generate(which, length, is_last=is_last, is_ack_lost=is_ack_lost)

    @rule(which=ANY, ahead=LENGTHS)
    def write_on(self, which: int, ahead: int) -> None:
        self.mesh.write_on(which, max(ahead, 1))

    @rule(where=ANY, ahead=LENGTHS, hope=st.integers(0, 1))
    def usurp(self, where: int, ahead: int, hope: int) -> None:
        self.mesh.usurp(where, max(ahead, 1), hope)

    @rule(which=ANY, astray=LENGTHS)
    def misplace(self, which: int, astray: int) -> None:
        self.mesh.misplace(which, astray + 1)

    @rule(where=ANY)
    def forge(self, where: int) -> None:
        self.mesh.forge(where)

    @rule(which=ANY)
    def repeat(self, which: int) -> None:
        self.mesh.repeat(which)

    @rule(which=ANY)
    def hear(self, which: int) -> None:
        self.mesh.hear(which)

    @invariant()
    def holds(self) -> None:
        check(self.mesh)

    def teardown(self) -> None:
        check_end(self.mesh)


TestTaskMachine = TaskMachine.TestCase
TestTaskMachine.settings = settings(max_examples=100, stateful_step_count=40)


def step(mesh: Mesh, chance: random.Random) -> None:
    """One step of a schedule in which most is well, so that tasks get far before something hits them."""
    one, other = chance.randrange(1_000), chance.randrange(1_000)
    match chance.choices(range(10), weights=(2, 1, 3, 10, 2, 2, 2, 1, 2, 4))[0]:
        case 0:
            mesh.read(one)
        case 1:
            chance.choice((mesh.queue, mesh.halt, mesh.end))(one)
        case 2:
            mesh.assign(one, other)
        case 3:
            mesh.generate(-1, one % 4, is_last=other % 12 == 0, is_ack_lost=other % 5 == 0)
        case 4:
            mesh.generate(one, other % 4)
        case 5:
            mesh.write_on(one, 1 + other % 2)
        case 6:
            mesh.usurp(one, 1 + other % 3, other % 2)
        case 7:
            mesh.misplace(one, 1 + other % 3)
        case 8:
            chance.choice((mesh.forge, mesh.repeat))(one)
        case _:
            mesh.hear(one)


def run(seed: int) -> Mesh:
    chance, mesh = random.Random(seed), Mesh()
    for _ in range(chance.randrange(STEPS)):
        step(mesh, chance)
    return mesh


@pytest.fixture(scope="module")
def schedules() -> list[Mesh]:
    return [run(seed) for seed in range(SCHEDULES)]


def test_the_promises_hold_under_many_random_schedules(schedules: list[Mesh]) -> None:
    for seed, mesh in enumerate(schedules):
        try:
            check(mesh)
            check_end(run(seed))
        except AssertionError as error:
            raise AssertionError(f"schedule {seed}: {error}") from error


def test_the_random_schedules_reach_what_they_are_for(schedules: list[Mesh]) -> None:
    states = [fold(mesh.stream.stored) for mesh in schedules]
    assert {state.phase for state in states} == set(Phase)
    assert {state.outcome for state in states} >= {"completed", "failed"}
    assert sum(len(state.shares) > 1 and all(share.chars for share in state.shares[:2]) for state in states) > 20
    refused = [len(mesh.stream.stored) - state.n for mesh, state in zip(schedules, states, strict=True)]
    assert sum(count > 3 for count in refused) > SCHEDULES / 4
