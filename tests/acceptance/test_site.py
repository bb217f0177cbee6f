"""An edge site as its users see it: it works before its hub does and without it, and the hub hears of it all later."""

import json
import os
import signal
from pathlib import Path

import pytest

from mesh.broker.cluster import free_ports
from tests.http_gateway import Json
from tests.processes import wait_until
from tests.running_mesh import Place, RunningMesh, running_up

# Three meshes are started, some twenty commands are run, and a hub that has come back waits for 40 s.
pytestmark = pytest.mark.timeout(480)

ENGINE = ("--engine", "synthetic", "--token-delay-ms", "5")


def ask(mesh: RunningMesh, word: str) -> str:
    return mesh.place.ok("chat", "--max-tokens", "8", word).strip()


def told(mesh: RunningMesh, *streams: str) -> list[Json]:
    """What a mesh has stored, as an operator prints it."""
    return [json.loads(line) for line in mesh.place.ok("events", "replay", *streams).splitlines()]


def tasks_of(events: list[Json]) -> list[str]:
    return [event["subject"].split(".")[-1] for event in events]


def test_a_site_answers_while_its_hub_is_away_and_the_hub_gets_each_event_once_and_in_order(tmp_path: Path) -> None:
    (port,) = free_ports("127.0.0.1", 1)
    door = f"127.0.0.1:{port}"
    hub_place, site_place = Place(folder=tmp_path / "hub"), Place(folder=tmp_path / "shop")
    join_file = tmp_path / "shop.join"
    assert hub_place.ok("sites", "add", "shop", "--join-file", str(join_file)).strip() == str(join_file)
    assert site_place.ok("sites", "join", str(join_file)).strip() == "shop"

    with running_up(site_place.folder, *ENGINE, "--leaf", door) as site:
        assert ask(site, "before the hub was ever there")

        with running_up(hub_place.folder, "--leaf-listen", door, *ENGINE) as hub:
            ours = ask(hub, "a question of the hub's own")
            wait_until(lambda: copies_are_made(hub))
            wait_until(lambda: len(told(hub, "SITE_shop_ENDED")) == 1)
            os.killpg(hub.up.pid, signal.SIGKILL)
            hub.up.process.wait()

        answers = [ask(site, f"while it is away, {number}") for number in range(3)]
        assert all(answers)
        ends = told(site, "ENDED")
        assert [end["event"]["type"] for end in ends] == ["task.completed.v1"] * 4

        with running_up(hub_place.folder, "--leaf-listen", door, *ENGINE) as hub:
            # A hub that came up before its sites found it again asks them after 40 s, since nats-server waits 30 s for
            # an answer and 10 s before it asks again, whatever is configured: time for what needs no copies.
            assert "as it should be" in hub.place.ok("streams", "check")
            assert "as it should be" in site.place.ok("streams", "check")
            assert len(told(hub, "ENDED")) == len([ours])
            # Who asks has the answer before the last marker is stored.
            wait_until(lambda: [event["event"]["type"] for event in results(site)].count("task.ended.v1") == 4)
            there = results(site)
            wait_until(lambda: len(told(hub, "SITE_shop_ENDED")) >= 4, pause_s=2)
            copies = told(hub, "SITE_shop_ENDED")
            assert [copy["event"] for copy in copies] == [end["event"] for end in ends]
            assert [copy["subject"] for copy in copies] == [f"site.shop.{end['subject']}" for end in ends]
            wait_until(lambda: len(told(hub, "SITE_shop_RESULTS")) >= len(there))
            assert by_task(told(hub, "SITE_shop_RESULTS")) == by_task(there)
            one = tasks_of(ends)[0]
            assert tasks_of(told(hub, "SITE_shop_ENDED", "--task", one)) == [one]
            wait_until(lambda: hub.place.ok("sites", "list").count("  linked  ") == 4)


def copies_are_made(hub: RunningMesh) -> bool:
    """The hub serves before it has made the streams for its sites."""
    return hub.place.ig3("streams", "check").returncode == 0


def results(mesh: RunningMesh) -> list[Json]:
    return [event for event in told(mesh) if event["stream"].startswith("RESULTS_")]


def by_task(events: list[Json]) -> dict[str, list[Json]]:
    """The events of each task in the order in which they are stored."""
    found: dict[str, list[Json]] = {}
    for event in events:
        found.setdefault(event["subject"].split(".")[-2], []).append(event["event"])
    return found
