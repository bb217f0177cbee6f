"""The aggregate under schedules that nobody would think of: rivals, zombies, forgeries, losses, repeats, kills."""

import random
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streams.events import TaskAssigned, TaskChunk
from streams.tasks.task import Phase
from tests.unit.task_promises import check, check_end, check_replay
from tests.unit.task_simulation import Mesh

ANY = st.integers(0, 7)
FEW = st.integers(0, 3)
RARELY = st.integers(0, 5).map(lambda number: number == 5)
SCHEDULES = 10_000
STEPS = 70


class TaskMachine(RuleBasedStateMachine):
    """Lets hypothesis choose, and shrink what it finds to a few steps."""

    def __init__(self) -> None:
        super().__init__()
        self.mesh = Mesh()
        self.mesh.submit()

    @rule(who=FEW)
    def deliver(self, who: int) -> None:
        self.mesh.deliver(who)

    @rule(who=FEW, is_lost=RARELY)
    def queue(self, who: int, is_lost: bool) -> None:
        self.mesh.queue(who, is_lost)

    @rule(who=FEW, where=ANY, is_lost=RARELY)
    def assign(self, who: int, where: int, is_lost: bool) -> None:
        self.mesh.assign(who, where, is_lost)

    @rule(who=FEW)
    def hand_over(self, who: int) -> None:
        self.mesh.hand_over(who)

    @rule(who=FEW, where=ANY)
    def hedge(self, who: int, where: int) -> None:
        self.mesh.hedge(who, where)

    @rule(who=FEW, which=ANY, is_lost=RARELY)
    def prefer(self, who: int, which: int, is_lost: bool) -> None:
        self.mesh.prefer(who, which, is_lost)

    @rule(who=FEW, why=FEW, is_lost=RARELY)
    def requeue(self, who: int, why: int, is_lost: bool) -> None:
        self.mesh.requeue(who, why, is_lost)

    @rule(who=FEW, dies_after=FEW)
    def expire(self, who: int, dies_after: int) -> None:
        self.mesh.expire(who, dies_after)

    @rule(who=FEW, dies_after=FEW, is_owned=st.booleans())
    def cancel(self, who: int, dies_after: int, is_owned: bool) -> None:
        (self.mesh.cancel if is_owned else self.mesh.cancel_unowned)(who, dies_after)

    @rule(who=FEW, dies_after=FEW)
    def finish(self, who: int, dies_after: int) -> None:
        self.mesh.finish(who, dies_after)

    @rule(who=FEW)
    def crash(self, who: int) -> None:
        self.mesh.crash(who)

    @rule(which=ANY, length=FEW, is_last=st.booleans(), is_ack_lost=st.booleans())
    def generate(self, which: int, length: int, is_last: bool, is_ack_lost: bool) -> None:
        self.mesh.generate(which, length, is_last=is_last, is_ack_lost=is_ack_lost)

    @rule(which=ANY, hangs=st.booleans())
    def kill_or_wake(self, which: int, hangs: bool) -> None:
        (self.mesh.kill if hangs else self.mesh.wake)(which)

    @rule(which=ANY, ahead=FEW)
    def write_on(self, which: int, ahead: int) -> None:
        self.mesh.write_on(which, max(ahead, 1))

    @rule(where=ANY, ahead=FEW, hope=st.integers(0, 1))
    def usurp(self, where: int, ahead: int, hope: int) -> None:
        self.mesh.usurp(where, max(ahead, 1), hope)

    @rule(which=ANY, astray=FEW)
    def misplace(self, which: int, astray: int) -> None:
        self.mesh.misplace(which, astray + 1)

    @rule(where=ANY)
    def forge(self, where: int) -> None:
        self.mesh.forge(where)

    @rule(which=ANY)
    def repeat(self, which: int) -> None:
        self.mesh.repeat(which)

    @rule(who=FEW, which=ANY)
    def hear(self, who: int, which: int) -> None:
        self.mesh.hear(who, which)

    @rule(who=FEW)
    def resume(self, who: int) -> None:
        self.mesh.resume(who)

    @invariant()
    def holds(self) -> None:
        check(self.mesh)

    def teardown(self) -> None:
        check_end(self.mesh)
        check_replay(self.mesh, 3)


TestTaskMachine = TaskMachine.TestCase
TestTaskMachine.settings = settings(max_examples=100, stateful_step_count=40)


def _begin(mesh: Mesh, chance: random.Random) -> None:
    one, other, is_lost = chance.randrange(1_000), chance.randrange(1_000), chance.random() < 0.1
    step = chance.choices(range(5), weights=(1, 4, 1, 3, 6))[0]
    match step:
        case 0:
            mesh.submit()
        case 1:
            mesh.deliver(one)
        case 2:
            mesh.queue(one, is_lost)
        case 3:
            who = chance.choice((0, 0, one))
            mesh.hedge(who, other)
            if chance.random() < 0.7:
                mesh.prefer(who, other, is_lost)
        case _:
            mesh.assign(one, other, is_lost)


def _write(mesh: Mesh, chance: random.Random) -> None:
    which = -1 if chance.random() < 0.8 else chance.randrange(1_000)
    is_last, is_ack_lost = chance.random() < 0.08, chance.random() < 0.2
    mesh.generate(which, chance.randrange(4), is_last=is_last, is_ack_lost=is_ack_lost)


def _end(mesh: Mesh, chance: random.Random) -> None:
    act = chance.choices((mesh.finish, mesh.expire, mesh.cancel, mesh.cancel_unowned), weights=(8, 1, 1, 1))[0]
    act(chance.randrange(1_000), chance.randrange(5))


def _fail(mesh: Mesh, chance: random.Random) -> None:
    one, other = chance.randrange(1_000), chance.randrange(1_000)
    match chance.choices(range(6), weights=(7, 3, 2, 2, 1, 1))[0]:
        case 0:
            mesh.requeue(one, other, chance.random() < 0.1)
        case 1:
            mesh.crash(one)
        case 2:
            mesh.hand_over(one)
        case 3:
            mesh.kill(one)
        case 4:
            mesh.wake(one)
        case _:
            mesh.refuse(one)


def _disturb(mesh: Mesh, chance: random.Random) -> None:
    one, other = chance.randrange(1_000), chance.randrange(1_000)
    match chance.randrange(5):
        case 0:
            mesh.write_on(one, 1 + other % 2)
        case 1:
            mesh.usurp(one, 1 + other % 3, other % 2)
        case 2:
            mesh.misplace(one, 1 + other % 3)
        case 3:
            mesh.forge(one)
        case _:
            mesh.repeat(one)


def _read(mesh: Mesh, chance: random.Random) -> None:
    if chance.random() < 0.15:
        mesh.resume(chance.randrange(1_000))
    else:
        mesh.hear(chance.randrange(1_000), chance.randrange(1_000))


ACTS: tuple[Callable[[Mesh, random.Random], None], ...] = (_begin, _write, _end, _fail, _disturb, _read)


def run(seed: int, mesh: Mesh | None = None) -> Mesh:
    """One schedule in which most is well, so that tasks get far before something hits them."""
    chance, mesh = random.Random(seed), mesh or Mesh()
    mesh.submit()
    mesh.deliver(0)
    for act in chance.choices(ACTS, weights=(5, 9, 1, 4, 2, 4), k=chance.randrange(STEPS)):
        act(mesh, chance)
    return mesh


def broken_promise(seed: int, mesh: Mesh | None = None) -> str | None:
    """Run a schedule to its end and say which promise it broke, if any."""
    try:
        mesh = run(seed, mesh)
        check(mesh)
        check_end(mesh)
        check_replay(mesh, seed)
    except AssertionError as error:
        return f"schedule {seed}: {error}"
    return None


@pytest.mark.timeout(240)
def test_the_promises_hold_under_ten_thousand_random_schedules() -> None:
    for seed in range(SCHEDULES):
        assert (broken := broken_promise(seed)) is None, broken


def _unfenced(mesh: Mesh) -> None:
    mesh.world.stream.is_fenced = False


def _many_ends(mesh: Mesh) -> None:
    mesh.world.ends.holds_one = False


def _hasty(mesh: Mesh) -> None:
    for dispatcher in mesh.dispatchers:
        dispatcher.halts_what_waits = False


def _stubborn(mesh: Mesh) -> None:
    for reader in mesh.readers:
        reader.drops_what_is_void = False


def _careless(mesh: Mesh) -> None:
    for dispatcher in mesh.dispatchers:
        dispatcher.minds_what_came_before = False


@pytest.mark.parametrize("sabotage", [_unfenced, _many_ends, _hasty, _stubborn, _careless])
def test_a_mesh_that_leaves_one_rule_out_is_found_out(sabotage: Callable[[Mesh], None]) -> None:
    found: list[str] = []
    for seed in range(SCHEDULES):
        sabotage(mesh := Mesh())
        if broken := broken_promise(seed, mesh):
            found.append(broken)
            break
    assert found, "the schedules do not reach what this rule is for"


def test_the_random_schedules_reach_what_they_are_for() -> None:
    before, after = [run(seed) for seed in range(2_000)], [run(seed) for seed in range(2_000)]
    for mesh in after:
        mesh.settle()
    states = [mesh.world.stream.state for mesh in after]
    assert {mesh.world.stream.state.phase for mesh in before} == set(Phase)
    assert {state.outcome for state in states} == {"completed", "failed", "cancelled", "dead"}
    assert {state.seam for state in states} == {None, "continued", "replayed", "restarted"}
    assert sum(_was_hedged(mesh) for mesh in after) > 20
    assert sum(mesh.world.stream.version > 0 for mesh in after) > 10
    assert sum(len([share for share in state.shares if share.chars]) > 1 for state in states) > 50
    assert sum(mesh.world.queue.deliveries > 2 for mesh in after) > 200
    refused = [len(mesh.world.stream.stored) - len(mesh.world.stream.counted) for mesh in after]
    assert sum(count > 3 for count in refused) > 200


def _was_hedged(mesh: Mesh) -> bool:
    """Whether a second node got the task from one that had not failed, and wrote."""
    counted = [event for _, event in mesh.world.stream.counted]
    return any(
        isinstance(before, TaskAssigned) and isinstance(event, TaskAssigned) and isinstance(word, TaskChunk)
        for before, event, word in zip(counted, counted[1:], counted[2:], strict=False)
    )
