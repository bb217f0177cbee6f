"""`ig3 doctor`: nothing to say of a mesh as it comes, and every hole of one that is full of them."""

import json
from pathlib import Path

import pytest

from mesh.broker.credentials import Credentials
from tests.certificates import Authority
from tests.processes import wait_until
from tests.running_mesh import Place, RunningMesh

pytestmark = pytest.mark.timeout(240)


def look_at(mesh: RunningMesh) -> list[dict[str, str]]:
    """What the doctor says once nobody was held up: how long they took is all that may change between two looks."""
    told: list[dict[str, str]] = []

    def they_were_quick() -> bool:
        told[:] = [json.loads(line) for line in mesh.place.ok("doctor", "--json").splitlines()]
        return not any(one["item"] in {"broker", "logins"} and one["level"] != "ok" for one in told)

    wait_until(they_were_quick)
    return told


def test_a_mesh_as_it_comes_has_nothing_to_do(synthetic: RunningMesh) -> None:
    told = look_at(synthetic)
    assert [one for one in told if one["level"] != "ok"] == []
    found = {one["item"]: one["text"] for one in told}
    assert found[f"gateway at {synthetic.place.http}"] == "this machine only"
    assert found[f"nats at {synthetic.place.nats}"] == "this machine only"
    assert found["streams"] == "as they should be"
    assert "is refused" in found["logins"]
    wait_until(lambda: "Nothing to do." in synthetic.place.ok("doctor"))


def test_an_installation_full_of_holes_is_told_each_of_them(tmp_path: Path) -> None:
    place = Place(folder=tmp_path, nats="0.0.0.0:1", http="0.0.0.0:8080")
    Credentials.load_or_create(place.data_dir)
    (place.data_dir / "credentials" / "user.nk").chmod(0o644)
    (place.data_dir / "credentials").chmod(0o755)
    files = Authority(tmp_path / "ca").shown("mesh.example.org")
    assert files.key is not None
    files.key.chmod(0o644)
    holes = {
        "IG3_AUTH": "local",
        "IG3_ADMISSION": "open",
        "IG3_DURABILITY": "process",
        "IG3_MONITOR": "0.0.0.0:8222",
        "IG3_OTLP_ENDPOINT": "http://otel.example.org:4318",
        "IG3_LEAF_LISTEN": "0.0.0.0:7422",
        "IG3_LEAF_CERT": str(files.cert),
        "IG3_LEAF_KEY": str(files.key),
    }
    done = place.ig3("doctor", "--json", **holes)
    told = {one["item"]: one for one in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 1
    insecure = {item for item, one in told.items() if one["level"] == "insecure"}
    assert insecure == {
        str(place.data_dir / "credentials"),
        str(place.data_dir / "credentials" / "user.nk"),
        "gateway at 0.0.0.0:8080",
        "nats at 0.0.0.0:1",
        "monitoring at 0.0.0.0:8222",
        f"leaf_cert ({files.cert})",
    }
    warned = {item for item, one in told.items() if one["level"] == "warning"}
    assert {"admission", "durability", "broker"} <= warned
    assert "otlp_endpoint (http://otel.example.org)" in warned
    assert told["leafnodes at 0.0.0.0:7422"]["level"] == "ok"
    refused = place.ig3("doctor", **{**holes, "IG3_OTLP_ENDPOINT": "http://me:hunter2@otel.example.org:4318"})
    assert refused.returncode != 0
    assert "otlp_endpoint" in refused.stderr
    assert "hunter2" not in refused.stdout + refused.stderr
