"""What an operator does about rewards and payouts, by the commands of docs/rewards.md."""

import json
from pathlib import Path

from tests.running_mesh import RunningMesh


def test_a_week_is_closed_once_by_rules_out_of_a_file(synthetic: RunningMesh, tmp_path: Path) -> None:
    ok = synthetic.place.ok
    rules = json.loads(ok("rewards", "rules"))
    assert rules["base_nano"] == 2_333 * 10**9
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({**rules, "version": "ours-1"}))
    assert "no rules hold" in synthetic.place.ig3("rewards", "close", "2026-01-01").stderr
    ok("rewards", "set", str(file), "--from", "2026-01-01")
    ok("rewards", "machine", "rack-7", "M1E", "--cell", "8828308281fffff")

    file.write_text(json.dumps({**rules, "version": "ours-1", "base_nano": 1}))
    assert "another one" in synthetic.place.ig3("rewards", "set", str(file)).stderr
    file.write_text('{"version": "x"}')
    assert "holds no rules" in synthetic.place.ig3("rewards", "set", str(file)).stderr

    first = ok("rewards", "close", "2026-01-01")
    assert first == ok("rewards", "close", "2026-01-03")
    assert "by rules ours-1" in first
    assert "2026-01-01" in ok("rewards", "list")
    assert ok("rewards", "show", "2026-01-01").startswith("NODE")
    file.write_text(json.dumps({**rules, "version": "other"}))
    assert ok("rewards", "diff", "2026-01-01", str(file)).startswith("NODE")
    assert "can be closed in" in synthetic.place.ig3("rewards", "close", "9000-01-01").stderr


def test_what_a_node_does_not_have_is_not_paid_out(synthetic: RunningMesh, tmp_path: Path) -> None:
    place, to_file = synthetic.place, ("--payout-file", str(tmp_path / "payouts.jsonl"))
    assert "nobody has said" in place.ig3("payouts", "request", "rack-7", "IG3", "1").stderr
    assert "payout_file" in place.ig3("payouts", "to", "rack-7", "Ada", "--by", "file").stderr
    assert "goes to Ada by file" in place.ok("payouts", "to", "rack-7", " Ada ", "--by", "file", *to_file)
    assert "were asked for" in place.ig3("payouts", "request", "rack-7", "IG3", "1").stderr
    place.ok("payouts", "run", "file", "--once", *to_file)
    assert not (tmp_path / "payouts.jsonl").exists()
    assert place.ok("payouts", "list", "--json") == ""
