"""Credentials: made once, private, and refused when others can read them or they are damaged."""

import stat
from collections.abc import Callable
from pathlib import Path

import nkeys
import pytest
from nacl.public import Box, PrivateKey, PublicKey

from mesh.broker.credentials import Credentials
from mesh.broker.nkey import KeyKind, new_seed, public_key_of, read_public, secret_of, write_public
from mesh.errors import CredentialsError


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_owner_can_read_what_is_made(tmp_path: Path) -> None:
    made = Credentials.load_or_create(tmp_path)
    assert {mode_of(one.seed_path) for one in made.all()} == {0o600}
    assert mode_of(tmp_path / "credentials") == 0o700
    signers = (made.issuer, made.sealed)
    assert {mode_of(one.seed_path) for one in signers} == {0o600}
    assert len(list((tmp_path / "credentials").iterdir())) == len(made.all()) + len(signers)


def test_each_user_has_a_key_of_its_own_in_its_account(tmp_path: Path) -> None:
    made = Credentials.load_or_create(tmp_path)
    assert len({one.public_key for one in made.all()}) == 5
    assert {one.name: one.account for one in made.all()} == {
        "edge-service": "EDGE",
        "core-service": "CORE",
        "system": "SYS",
        "identity": "AUTH",
        "user": "EDGE",
    }


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    first = Credentials.load_or_create(tmp_path)
    first.system.seed_path.unlink()
    second = Credentials.load_or_create(tmp_path)
    assert (second.user, second.issuer, second.sealed) == (first.user, first.issuer, first.sealed)
    assert second.system.public_key != first.system.public_key
    assert Credentials.load(tmp_path) == second


def test_a_client_loads_its_own_credential_alone(tmp_path: Path) -> None:
    made = Credentials.load_or_create(tmp_path)
    for other in (*made.all(), made.issuer, made.sealed):
        if other.name != "user":
            other.seed_path.unlink()
    assert Credentials.load_one(tmp_path, "user") == made.user


def test_a_service_loads_what_it_needs_and_misses_nothing_else(tmp_path: Path) -> None:
    made = Credentials.load_or_create(tmp_path)
    for other in (made.system, made.identity, made.user):
        other.seed_path.unlink()
    found = Credentials.load_some(tmp_path, "core-service", "edge-service")
    assert found == (made.core_service, made.edge_service)
    with pytest.raises(CredentialsError, match=r"system\.nk does not exist"):
        Credentials.load_some(tmp_path, "core-service", "system")
    (tmp_path / "credentials").chmod(0o750)
    with pytest.raises(CredentialsError, match="chmod 700"):
        Credentials.load_some(tmp_path, "core-service")


def test_a_missing_credential_says_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match=r"user\.nk does not exist: start the broker once"):
        Credentials.load_one(tmp_path, "user")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_seed_that_others_can_touch_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    seed = Credentials.load_or_create(tmp_path).user.seed_path
    seed.chmod(mode)
    with pytest.raises(CredentialsError, match=f"chmod 600 {seed}"):
        Credentials.load(tmp_path)


def test_a_folder_that_others_can_enter_is_refused_with_the_remedy(tmp_path: Path) -> None:
    Credentials.load_or_create(tmp_path)
    (tmp_path / "credentials").chmod(0o755)
    with pytest.raises(CredentialsError, match="chmod 700"):
        Credentials.load_or_create(tmp_path)


def flip(text: str, at: int) -> str:
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda seed: "",
        lambda seed: seed[:-1],
        lambda seed: flip(seed, 20),
        lambda seed: flip(seed, 1),
        lambda seed: seed.lower(),
        lambda seed: "S\N{SNOWMAN}",
        lambda seed: nkeys.encode_seed(b"\0" * 32, nkeys.PREFIX_BYTE_ACCOUNT).decode(),
    ],
    ids=["empty", "cut", "flipped", "no seed", "lower case", "not ascii", "of an account"],
)
def test_a_damaged_seed_is_refused_and_not_shown(tmp_path: Path, damage: Callable[[str], str]) -> None:
    path = Credentials.load_or_create(tmp_path).user.seed_path
    damaged = damage(path.read_text().strip())
    path.write_text(damaged)
    with pytest.raises(CredentialsError, match="damaged") as refused:
        Credentials.load(tmp_path)
    assert not damaged or damaged not in str(refused.value)


@pytest.mark.parametrize("kind", [KeyKind.USER, KeyKind.ACCOUNT])
def test_keys_are_those_of_the_reference_library(kind: KeyKind) -> None:
    for _ in range(20):
        seed = new_seed(kind)
        public = public_key_of(seed, kind)
        assert bytes(nkeys.from_seed(bytearray(seed.encode())).public_key) == public.encode()
        assert write_public(read_public(public, kind), kind) == public


def test_a_curve_key_opens_what_was_sealed_for_its_public_half() -> None:
    seed = new_seed(KeyKind.CURVE)
    own, other = PrivateKey(secret_of(seed, KeyKind.CURVE)), PrivateKey.generate()
    public = public_key_of(seed, KeyKind.CURVE)
    assert (seed[:2], public[0]) == ("SX", "X")
    sealed = Box(other, PublicKey(read_public(public, KeyKind.CURVE))).encrypt(b"words")
    assert Box(own, other.public_key).decrypt(sealed) == b"words"


def test_a_key_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="not the seed of an account"):
        public_key_of(new_seed(KeyKind.USER), KeyKind.ACCOUNT)
    with pytest.raises(ValueError, match="not the public key of a curve"):
        read_public(public_key_of(new_seed()), KeyKind.CURVE)
