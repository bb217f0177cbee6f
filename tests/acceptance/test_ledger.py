"""What an operator does about the books, by the commands of docs/ledger.md."""

from pathlib import Path

from tests.running_mesh import RunningMesh


def test_what_is_not_in_suspense_is_not_corrected(synthetic: RunningMesh) -> None:
    place, entry = synthetic.place, "charge:019b7a3e00007abc8def012345678900"
    place.ok("ledger", "deposit", "acme", "25", "EUR", "--reference", "invoice-7")
    assert place.ok("ledger", "suspense", "--open").startswith("TIME")
    assert place.ok("ledger", "suspense", "--account", "acme", "--json") == ""
    said = place.ig3("ledger", "correct", "acme", entry, "--to", "back", "--note", "seen").stderr
    assert f"acme has no entry {entry} in suspense" in said
    assert "not to 'outside'" in place.ig3("ledger", "correct", "acme", entry, "--to", "outside", "--note", "x").stderr


def test_a_month_that_is_not_over_is_not_sealed_and_no_other_file_is_an_archive(
    synthetic: RunningMesh, tmp_path: Path
) -> None:
    place, file = synthetic.place, tmp_path / "books.jsonl"
    place.ok("ledger", "deposit", "acme", "25", "EUR", "--reference", "invoice-7")
    assert "not over" in place.ig3("ledger", "seal").stderr
    assert "9000-01 is not over" in place.ig3("ledger", "seal", "9000-01", "--archive", str(tmp_path / "a")).stderr
    assert "no month" in place.ig3("ledger", "seal", "2026-13").stderr
    assert not (tmp_path / "a").exists()
    file.write_text("{}\n")
    assert "no archive of the books" in place.ig3("ledger", "verify", "--archive", str(file)).stderr
