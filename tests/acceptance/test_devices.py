"""A device of somebody else's joins, works, and is shut out: with the commands that its owner and the operator type."""

import json
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.processes import wait_until
from tests.running_mesh import PATIENT, SYNTHETIC, Parts, Place, await_models, running_parts

pytestmark = pytest.mark.timeout(240)

LINE = re.compile(r"This device is (did:key:\S+); its operator lets it in by: ig3 (devices admit .+)")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with running_parts(tmp_path_factory.mktemp("mesh")) as running:
        running.start("dispatcher")
        running.start("gateway", "--http", "127.0.0.1:0")
        running.ready("dispatcher", "gateway")
        yield running


@pytest.fixture
def elsewhere(parts: Parts, tmp_path: Path) -> Iterator[Parts]:
    """Another machine: it knows where the broker is, and has none of its files."""
    machine = Parts(place=replace(Place(folder=tmp_path / "elsewhere"), nats=parts.place.nats))
    yield machine
    machine.stop()


def devices(place: Place) -> dict[str, dict[str, str]]:
    return {line["node"]: line for line in map(json.loads, place.ok("devices", "list", "--json").splitlines())}


def asked(parts: Parts) -> dict[str, object]:
    """Ask over HTTP and wait for the whole answer."""
    body = {"model": SYNTHETIC, "max_tokens": 3, "messages": [{"role": "user", "content": "hello"}]}
    request = urllib.request.Request(
        f"{parts.urls['gateway']}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=90) as answer:
        return json.loads(answer.read())


def test_a_strangers_device_waits_is_admitted_works_and_is_revoked(parts: Parts, elsewhere: Parts) -> None:
    node = elsewhere.start("node", "--engine", SYNTHETIC, "--id", "attic", **PATIENT)
    wait_until(lambda: LINE.search(node.output) is not None)
    said = LINE.search(node.output)
    assert said is not None
    assert devices(parts.place)["attic"]["standing"] == "verified"

    # As the device's owner reads it on the screen and sends it to the operator.
    assert parts.place.ok(*said[2].split()) == "attic is admitted\n"
    elsewhere.ready("node")
    await_models(parts.urls["gateway"], {SYNTHETIC})
    assert asked(parts)["usage"]
    assert devices(parts.place)["attic"]["did"] == said[1]

    assert parts.place.ok("devices", "revoke", "attic", "--reason", "stolen") == "attic is revoked\n"
    wait_until(lambda: "lost, reconnecting" in node.output)
    shown = parts.place.ok("devices", "show", "attic")
    assert "revoked" in shown
    assert "stolen" in shown
    assert "for good" in parts.place.ig3("devices", "admit", "attic").stderr


def test_a_name_is_kept_for_a_device_that_is_still_to_come(parts: Parts, elsewhere: Parts) -> None:
    key = elsewhere.place.data_dir / "cellar.key"
    key.parent.mkdir(parents=True)
    did = elsewhere.place.ok("did", "create", "--no-passphrase", "--out", str(key)).split()[0]
    assert parts.place.ok("devices", "admit", "cellar", "--did", did) == "cellar is expected\n"
    node = elsewhere.start("node", "--engine", SYNTHETIC, "--id", "cellar", "--device-key", str(key), **PATIENT)
    elsewhere.ready("node")
    assert devices(parts.place)["cellar"]["standing"] == "admitted"
    assert parts.place.ok("devices", "suspend", "cellar", "--reason", "answers nonsense") == "cellar is suspended\n"
    wait_until(lambda: "lost, reconnecting" in node.output)
    assert devices(parts.place)["cellar"]["reason"] == "answers nonsense"
    assert parts.place.ok("devices", "admit", "cellar") == "cellar is admitted\n"


def test_bad_input_of_an_operator_is_told_and_changes_nothing(parts: Parts) -> None:
    for arguments, told in (
        (("admit", "nobody"), "nobody has not shown a DID yet: give the one to keep the name for, by --did"),
        (("suspend", "nobody", "--reason", "x"), "there is no device nobody"),
        (("show", "nobody"), "there is no device nobody"),
        (("admit", "a.b", "--did", "did:key:x"), "did:key:x"),
        (("admit", "*", "--did", "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"), "not a subject token"),
    ):
        done = parts.place.ig3("devices", *arguments)
        assert done.returncode == 1
        assert told in done.stderr
        assert "Traceback" not in done.stderr
