"""A question that kills every node it is put to: it stops, its user is told, and the mesh serves on."""

import json
from collections.abc import Iterator
from urllib.request import urlopen

import openai
import pytest

from tests.processes import PATIENCE_S, wait_until
from tests.running_mesh import SYNTHETIC, RunningMesh, running_up

pytestmark = pytest.mark.timeout(240)

POISON = "the question that kills"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    """Two nodes, which `ig3 up` starts again when they die."""
    arguments = ("--engine", SYNTHETIC, "--nodes", "2")
    # One that is held up for seconds is not given up: it is to be there when the other one has died.
    variables = {"IG3_POISON": POISON, "IG3_HEARTBEAT": "30s"}
    with running_up(tmp_path_factory.mktemp("poison"), *arguments, variables=variables) as running:
        wait_until(lambda: live_nodes(running) == 2)
        yield running


def live_nodes(mesh: RunningMesh) -> int:
    with urlopen(f"{mesh.url}/readyz", timeout=PATIENCE_S) as answer:
        return json.load(answer)["live_nodes"]


def ask(mesh: RunningMesh, question: str) -> str | None:
    with openai.OpenAI(base_url=f"{mesh.url}/v1", api_key="unused", max_retries=0) as client:
        answer = client.chat.completions.create(model=SYNTHETIC, messages=[{"role": "user", "content": question}])
        return answer.choices[0].message.content


def test_a_poisonous_task_dies_and_the_fleet_does_not(mesh: RunningMesh) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        ask(mesh, f"{POISON}, please")
    assert caught.value.status_code == 502
    assert caught.value.code == "attempts_exhausted"
    assert "kept for the operator" in caught.value.message

    (dead,) = (json.loads(line) for line in mesh.place.ok("dead", "list", "--json").splitlines())
    report = json.loads(mesh.place.ok("dead", "show", dead["task"], "--json"))
    assert len(report["failures"]) >= 3
    # A node that is back before its loss was noticed does not take the task up.
    assert {failure["code"] for failure in report["failures"]} <= {"node_lost", "node_unresponsive"}
    assert len({failure["node"] for failure in report["failures"][:2]}) == 2, "the same node came first again"

    assert ask(mesh, "an honest question")
    mesh.place.ok("dead", "drop", dead["task"], "--reason", "it kills")
    assert mesh.place.ok("dead", "list", "--json") == ""
