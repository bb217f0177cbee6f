"""Keys of edge sites that are still to come: each is given away once, and was known to the broker from its start."""

from pathlib import Path

import pytest

from mesh.broker.nkey import new_seed, public_key_of
from mesh.errors import CredentialsError, SiteError
from mesh.sites.spare_keys import SPARES, known_keys, refill, take_pair

FILE = Path("credentials") / "site-keys.json"


def public_keys(folder: Path) -> set[str]:
    return {public_key_of(seed) for seed in take_pair(folder)}


def test_a_key_is_given_away_once_and_was_known_before(tmp_path: Path) -> None:
    known = set(known_keys(tmp_path, ()))
    given = [public_keys(tmp_path) for _ in range(SPARES)]
    assert len(set.union(*given)) == 2 * SPARES
    assert set.union(*given) == known
    # What the broker was told at its start stays what it is.
    assert set(known_keys(tmp_path, ())) == known


def test_when_none_is_left_the_broker_has_to_start_again(tmp_path: Path) -> None:
    for _ in range(SPARES):
        take_pair(tmp_path)
    with pytest.raises(SiteError, match="start it again"):
        take_pair(tmp_path)
    refill(tmp_path, ())
    assert public_keys(tmp_path) <= set(known_keys(tmp_path, ()))


def test_a_start_keeps_the_sites_that_there_are_and_forgets_those_that_went(tmp_path: Path) -> None:
    stays, goes = public_keys(tmp_path), public_keys(tmp_path)
    older = public_key_of(new_seed())
    refill(tmp_path, (*stays, older))
    known = set(known_keys(tmp_path, ()))
    assert {*stays, older} <= known
    assert not goes & known
    assert len(known) == len(stays) + 1 + 2 * SPARES


def test_keys_that_others_can_read_or_that_are_damaged_are_refused(tmp_path: Path) -> None:
    known_keys(tmp_path, ())
    (tmp_path / FILE).chmod(0o644)
    with pytest.raises(CredentialsError, match="open to other users"):
        take_pair(tmp_path)
    (tmp_path / FILE).chmod(0o600)
    (tmp_path / FILE).write_bytes(b"{")
    with pytest.raises(SiteError, match="damaged"):
        known_keys(tmp_path, ())
