"""How nodes have fared: circuit breakers, slow start, measured speeds and ways, overdue reports."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.scheduling.breaker import FIRST_PAUSE_S, LONGEST_PAUSE_S, OPENS_AFTER, Breaker
from gateway.scheduling.policies import EDGE_FIRST
from gateway.scheduling.scheduler import Scheduler
from gateway.scheduling.wish import Wish
from streams.messages import Running
from streams.subjects import TaskKey
from streams.tasks.chat import Usage
from streams.tokens import Token
from tests.unit.scheduling.fleets import KEY, node, scheduler

WISH = Wish(model="m", answer_tokens=10)


def tripped(at_s: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(OPENS_AFTER):
        breaker.failed(at_s)
    return breaker


def part(mesh: Scheduler, name: str, *, now_s: float) -> float:
    candidate = mesh.place(WISH, now_s=now_s).candidates[0]
    return next((each.value for each in candidate.parts if each.name == name), 0.0)


# --- circuit breaker ---------------------------------------------------------------------------------------------


def test_a_breaker_opens_after_failures_in_a_row_and_not_before():
    breaker = Breaker()
    for _ in range(OPENS_AFTER - 1):
        breaker.failed(0.0)
    assert breaker.lets_through(0.0)
    breaker.close()
    for _ in range(OPENS_AFTER - 1):
        breaker.failed(0.0)
    assert breaker.lets_through(0.0)

    breaker.failed(0.0)
    assert not breaker.lets_through(FIRST_PAUSE_S - 0.01)


def test_half_open_it_lets_one_task_through_at_a_time():
    breaker = tripped()
    assert breaker.lets_through(FIRST_PAUSE_S)
    breaker.taken()
    assert not breaker.lets_through(FIRST_PAUSE_S)

    breaker.released()
    assert breaker.lets_through(FIRST_PAUSE_S)
    breaker.taken()
    breaker.close()
    assert breaker.lets_through(FIRST_PAUSE_S)


@given(st.integers(1, 12))
def test_each_trial_that_fails_doubles_the_pause_up_to_a_bound(trials: int):
    breaker, now_s = tripped(), 0.0
    for trial in range(trials):
        pause_s = min(FIRST_PAUSE_S * 2**trial, LONGEST_PAUSE_S)
        assert not breaker.lets_through(now_s + pause_s - 0.01)
        now_s += pause_s
        assert breaker.lets_through(now_s)
        breaker.taken()
        breaker.failed(now_s)
        breaker.released()
    assert not breaker.lets_through(now_s + min(FIRST_PAUSE_S * 2**trials, LONGEST_PAUSE_S) - 0.01)


def test_a_node_that_fails_time_after_time_is_passed_over_whatever_model_it_is_asked_for_until_it_is_started_again():
    mesh = scheduler(node("n"))
    for _ in range(OPENS_AFTER):
        mesh.failed("n", now_s=1)
    assert mesh.place(WISH, now_s=2).reason.endswith("it failed time after time, and is tried again later")
    assert mesh.place(WISH, now_s=1 + FIRST_PAUSE_S).node == "n"

    mesh.observe(node("n", process="2", heard_at_s=2))
    assert mesh.place(WISH, now_s=2).node == "n"


def test_a_good_answer_closes_the_breaker():
    mesh = scheduler(node("n"))
    for _ in range(OPENS_AFTER):
        mesh.failed("n", now_s=1)
    mesh.take("n", "m", KEY, WISH, now_s=4)
    assert mesh.place(WISH, now_s=4).node is None
    mesh.sent("n", "m", KEY, now_s=4)
    stint = mesh.release("n", "m", KEY, now_s=5)
    assert stint is not None
    mesh.completed(stint, Usage(prompt_tokens=1, completion_tokens=1))
    mesh.failed("n", now_s=5)
    assert mesh.place(WISH, now_s=5).node == "n"


# --- slow start --------------------------------------------------------------------------------------------------


def test_a_node_that_comes_for_the_first_time_is_not_held_back():
    assert part(scheduler(node("n", heard_at_s=100)), "returning", now_s=100) == 0.0


def test_a_node_that_comes_back_is_trusted_little_by_little():
    mesh = scheduler(node("n"))
    mesh.observe(node("n", heard_at_s=100))

    held_back = [part(mesh, "returning", now_s=now_s) for now_s in (100, 103, 106)]
    assert held_back == [-9.0, -9.0, -4.0]
    mesh.observe(node("n", heard_at_s=110))
    mesh.observe(node("n", heard_at_s=120))
    assert part(mesh, "returning", now_s=130) == 0.0


def test_a_node_that_was_started_again_between_two_reports_comes_back_too():
    mesh = scheduler(node("n"))
    mesh.observe(node("n", heard_at_s=4, process="2"))
    assert part(mesh, "returning", now_s=4) == -9.0


def test_a_node_that_reports_in_time_does_not_come_back():
    mesh = scheduler(node("n"))
    for at_s in range(5, 60, 5):
        mesh.observe(node("n", heard_at_s=at_s))
        assert part(mesh, "returning", now_s=at_s) == 0.0


# --- what is measured --------------------------------------------------------------------------------------------


def answer(mesh: Scheduler, *, took_s: float, tokens: int, prompt: int = 0, cached: int = 0, now_s: float = 1.0):
    mesh.take("n", "m", KEY, WISH, now_s=now_s)
    mesh.sent("n", "m", KEY, now_s=now_s)
    usage = Usage(prompt_tokens=prompt, completion_tokens=tokens, cached_prompt_tokens=cached)
    stint = mesh.release("n", "m", KEY, now_s=now_s + took_s)
    assert stint is not None
    mesh.completed(stint, usage)


def finish_s(mesh: Scheduler) -> float | None:
    return mesh.place(WISH, now_s=2).candidates[0].finish_s


def test_a_node_that_takes_longer_than_it_claims_is_believed_less_with_each_answer():
    mesh = scheduler(node("n", tokens_per_s=100))
    seen = [finish_s(mesh)]
    for _ in range(40):
        answer(mesh, took_s=10, tokens=100)
        seen.append(finish_s(mesh))

    assert seen[0] == 0.1
    assert seen == sorted(seen, key=lambda each: each or 0)
    # It wrote ten tokens a second.
    assert 0.95 <= (seen[-1] or 0) <= 1.0


def test_what_was_read_before_does_not_make_a_node_look_fast():
    mesh = scheduler(node("n", tokens_per_s=100, prompt_tokens_per_s=100))
    answer(mesh, took_s=1.0, tokens=50, prompt=1050, cached=1000)
    assert finish_s(mesh) == 0.1


def test_a_short_answer_says_nothing_of_an_engine():
    mesh = scheduler(node("n", tokens_per_s=100))
    answer(mesh, took_s=10, tokens=2)
    assert finish_s(mesh) == 0.1


def test_a_task_that_another_dispatcher_sent_gives_nothing_to_learn_from():
    mesh = scheduler(node("n"))
    mesh.take("n", "m", KEY, now_s=1)
    assert mesh.release("n", "m", KEY, now_s=2) is None


@given(st.lists(st.tuples(st.floats(1e-9, 1e9), st.integers(0, 10**6)), max_size=30))
def test_no_measurement_however_odd_makes_a_node_useless_or_a_wonder(seen: list[tuple[float, int]]):
    mesh = scheduler(node("n", tokens_per_s=100))
    for took_s, tokens in seen:
        answer(mesh, took_s=took_s, tokens=tokens)
    assert 0.1 / 64 - 0.001 <= (finish_s(mesh) or 0) <= 0.1 * 64 + 0.001


def test_the_way_to_a_node_is_measured_by_its_first_report_of_a_task():
    mesh = scheduler(node("n"))
    listed = (Running(task=KEY.task, attempt=1, model="m", account=KEY.account),)
    mesh.take("n", "m", KEY, WISH, now_s=1.0)
    mesh.sent("n", "m", KEY, now_s=1.0)
    mesh.observe(node("n", heard_at_s=1.25, running=listed))
    assert part(mesh, "distance", now_s=2) == -0.25

    # Later reports of the same order say nothing of the way.
    mesh.observe(node("n", heard_at_s=5.0, running=listed))
    assert part(mesh, "distance", now_s=5) == -0.25
    mesh.release("n", "m", KEY, now_s=5.0)

    mesh.take("n", "m", KEY, WISH, now_s=6.0)
    mesh.sent("n", "m", KEY, now_s=6.0)
    mesh.observe(node("n", heard_at_s=6.05, running=listed))
    assert part(mesh, "distance", now_s=6.1) == -0.15


# --- overdue reports ---------------------------------------------------------------------------------------------


def test_where_the_best_nodes_report_is_overdue_the_better_of_two_is_taken():
    names = [f"n{number}" for number in range(8)]
    mesh = scheduler(*(node(name, tokens_per_s=10 + number) for number, name in enumerate(names)), policy=EDGE_FIRST)

    def taken(now_s: float) -> list[str | None]:
        return [mesh.place(Wish(model="m", seed=f"t{n}"), now_s=now_s).node for n in range(400)]

    assert set(taken(7.2)) == {"n7"}
    overdue = taken(7.3)
    assert set(overdue) == set(names[1:])
    assert overdue.count("n7") > overdue.count("n1")


def test_dispatchers_that_know_equally_little_do_not_all_choose_the_same_node():
    """Power of two choices: each of them knows only what it gave itself, and all 400 tasks come at once."""
    names = [f"n{number}" for number in range(20)]
    most: dict[float, int] = {}
    for now_s in (7.2, 7.3):
        rivals = [
            scheduler(*(node(name, slots=64, tokens_per_s=10 + place) for place, name in enumerate(names)))
            for _ in range(40)
        ]
        given = [
            taken
            for each, rival in enumerate(rivals)
            for task in range(10)
            if (taken := _given(rival, f"{each}-{task}", now_s)) is not None
        ]
        most[now_s] = max(given.count(name) for name in names)
    assert most[7.2] > 200, "while reports are fresh, each takes the best it knows"
    assert most[7.3] < 60, "where they are overdue the load is spread: 20 each would be even"


def _given(mesh: Scheduler, task: str, now_s: float) -> str | None:
    wish = Wish(model="m", seed=task)
    name = mesh.place(wish, now_s=now_s).node
    if name is not None:
        mesh.take(name, "m", TaskKey(Token("a"), Token(task)), wish, now_s=now_s)
    return name


def test_of_one_node_the_report_may_be_overdue():
    assert scheduler(node("n")).place(Wish(model="m"), now_s=7.3).node == "n"


def test_a_task_that_others_run_counts_and_ours_does_not_count_twice():
    theirs = Running(task="t", attempt=1, model="m", account="x")
    ours = Running(task=KEY.task, attempt=1, model="m", account=KEY.account)
    mesh = scheduler(node("n", slots=3))
    mesh.take("n", "m", KEY, WISH, now_s=1)
    mesh.observe(node("n", slots=3, running=(theirs, ours), heard_at_s=2))
    mesh.take("n", "m", TaskKey(Token("a"), Token("1")), WISH, now_s=2)
    assert mesh.place(WISH, now_s=2).node is None
    mesh.release("n", "m", KEY, now_s=3)
    assert mesh.place(WISH, now_s=3).node == "n"
