"""The short version of `make chaos`: fifty answers at once, one fault of each sort, and the log read afterwards."""

from collections.abc import Callable, Iterator

import pytest

from tests.chaos.campaign import Campaign, Load, Outcome
from tests.chaos.faults import (
    cut_node,
    drop_clients,
    hang_node,
    kill_one_of_each,
    kill_server,
    kill_services,
)
from tests.chaos.figures import rows
from tests.chaos.fleet import Fleet, Size, running_fleet

pytestmark = pytest.mark.timeout(600)

SEED = 20261124


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory.mktemp("chaos"), Size()) as running:
        yield running


async def test_nothing_is_lost_whatever_dies_while_fifty_answers_stream(
    fleet: Fleet, show: Callable[[Outcome], None]
) -> None:
    faults = (kill_one_of_each, hang_node, cut_node, drop_clients, kill_server)
    outcome = await Campaign(fleet, Load(tokens=40), SEED).run(faults, pause_s=0.5)
    show(outcome)
    assert not outcome.findings.broken
    assert outcome.findings.answers >= 50
    assert outcome.findings.attempts.keys() - {1}, "no answer had to be moved: the faults missed"
    assert {transcript.way for transcript in outcome.transcripts if transcript.connections > 1} >= {"http", "websocket"}
    measured = rows(outcome.injections, outcome.transcripts, outcome.records)
    for kind in ("node hung", "node cut off"):
        # Noticed after the fault, and gone on with after that; how soon is for `make chaos` to say.
        assert measured[kind].detected_s, f"{kind}: no answer was taken from it"
        assert len(measured[kind].continued_s) == len(measured[kind].detected_s)


async def test_a_dispatcher_and_a_gateway_die_with_two_hundred_tasks_in_flight(
    fleet: Fleet, show: Callable[[Outcome], None]
) -> None:
    load = Load(http_readers=160, websocket_readers=40, bus_readers=0, tokens=80)
    while True:
        outcome = await Campaign(fleet, load, SEED).burst((kill_services,))
        show(outcome)
        assert not outcome.findings.broken
        assert outcome.findings.answers == 200
        # On a machine that stalls one may be whole before all have begun: then once more.
        if outcome.in_flight == 200:
            break
    assert any(transcript.connections > 1 for transcript in outcome.transcripts)
