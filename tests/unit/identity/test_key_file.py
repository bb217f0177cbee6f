"""Key files: sealed and open, wrong passphrases, damage, and two processes that make the same one."""

import base64
import json
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.errors import CredentialsError, IdentityError, KeyFileError, WrongPassphrase
from mesh.identity import key_file
from mesh.identity.accounts import evm_account, substrate_account
from mesh.identity.did import did_key, did_peaq, did_pkh
from mesh.identity.key_file import DeviceKey, device_key, open_key_file, read_public_part, write_key_file
from mesh.identity.keys import Algorithm, SigningKey
from mesh.identity.sealing import Cost, seal, unseal
from mesh.identity.subject_proof import prove, subject_signed
from streams.tokens import token

CHEAP = Cost(rounds=1, memory_bytes=8192)
"""Argon2id as fast as it goes: the tests are about files, not about guessing."""

PASSPHRASE = "corréct horse"
Json = dict[str, object]


def devices() -> dict[str, DeviceKey]:
    found: dict[str, DeviceKey] = {}
    algorithms: tuple[Algorithm, ...] = ("ed25519", "sr25519", "secp256k1")
    for algorithm in algorithms:
        key = SigningKey.from_secret(algorithm, bytes(range(1, 33)))
        found[f"key, {algorithm}"] = DeviceKey(did_key(key.public), key)
        found[f"peaq, {algorithm}"] = DeviceKey(did_peaq(substrate_account(key.public)), key)
    key = SigningKey.from_secret("secp256k1", bytes(range(1, 33)))
    found["pkh, evm"] = DeviceKey(did_pkh(evm_account(key.public), "eip155:1"), key)
    return found


DEVICES = devices()
DEVICE = DEVICES["key, ed25519"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "me.key"


@pytest.fixture
def sealed(path: Path) -> Path:
    assert write_key_file(path, DEVICE, PASSPHRASE, cost=CHEAP)
    return path


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE], ids=["open", "sealed"])
@pytest.mark.parametrize("device", DEVICES.values(), ids=list(DEVICES))
def test_a_key_comes_back_and_signs_for_its_did(path: Path, device: DeviceKey, passphrase: str | None) -> None:
    assert write_key_file(path, device, passphrase, cost=CHEAP)
    opened = open_key_file(path, passphrase)
    assert (opened.did, opened.key.public) == (device.did, device.key.public)
    assert subject_signed(device.did, prove(opened.did, opened.key, b"message"), b"message")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_sealed_file_does_not_hold_the_secret(sealed: Path) -> None:
    content = sealed.read_bytes()
    secret = DEVICE.key.secret
    for form in (secret, secret.hex().encode(), base64.b64encode(secret), base64.b64encode(secret)[:20]):
        assert form not in content


def test_two_seals_of_one_key_have_nothing_in_common() -> None:
    one, two = seal(b"secret", PASSPHRASE, CHEAP), seal(b"secret", PASSPHRASE, CHEAP)
    assert one.salt != two.salt
    assert one.box[:24] != two.box[:24]
    assert unseal(one, PASSPHRASE) == unseal(two, PASSPHRASE) == b"secret"


def test_a_seal_costs_what_is_moderate_unless_somebody_says_otherwise() -> None:
    assert Cost() == Cost(rounds=3, memory_bytes=256 * 1024 * 1024)


def test_the_public_part_needs_no_passphrase(sealed: Path) -> None:
    said = read_public_part(sealed)
    assert (said.did, said.public_key, said.is_sealed) == (DEVICE.did, DEVICE.key.public, True)


@pytest.mark.parametrize("wrong", ["", "correct horse", PASSPHRASE + " ", PASSPHRASE.upper(), "x" * 5000])
def test_a_wrong_passphrase_opens_nothing_and_is_not_shown(sealed: Path, wrong: str) -> None:
    with pytest.raises(WrongPassphrase, match=rf"{sealed} stays closed: ") as refused:
        open_key_file(sealed, wrong)
    assert not wrong or wrong not in str(refused.value)


def test_a_sealed_file_without_a_passphrase_stays_closed(sealed: Path) -> None:
    with pytest.raises(WrongPassphrase, match="sealed by a passphrase, and none was given"):
        open_key_file(sealed)


@pytest.mark.parametrize("passphrase", ["", "x" * 1025])
def test_a_key_is_not_sealed_by_an_empty_or_endless_passphrase(path: Path, passphrase: str) -> None:
    with pytest.raises(WrongPassphrase, match="1 to 1024 bytes"):
        write_key_file(path, DEVICE, passphrase, cost=CHEAP)
    assert not path.exists()


def test_a_file_that_is_there_is_not_written_over(sealed: Path) -> None:
    before = sealed.read_bytes()
    assert not write_key_file(sealed, DEVICES["key, sr25519"], None)
    assert sealed.read_bytes() == before


def test_a_key_is_not_written_under_the_did_of_another(path: Path) -> None:
    with pytest.raises(KeyFileError, match="the key is not that of did:key:"):
        write_key_file(path, DeviceKey(DEVICE.did, SigningKey.generate("ed25519")), None)
    assert not path.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_that_others_can_read_is_refused(sealed: Path, mode: int) -> None:
    sealed.chmod(mode)
    for read in (read_public_part, lambda path: open_key_file(path, PASSPHRASE)):
        with pytest.raises(CredentialsError, match=f"chmod 600 {sealed}"):
            read(sealed)


def test_a_missing_file_says_how_one_is_made(path: Path) -> None:
    with pytest.raises(CredentialsError, match="ig3 did create"):
        open_key_file(path)


def edit(path: Path, change: Callable[[Json], object]) -> None:
    content: Json = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def part(content: Json, name: str) -> Json:
    found = content[name]
    assert isinstance(found, dict)
    return found


OTHER = SigningKey.generate("ed25519").public


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda it: it.update(version=2), "written by a newer version"),
        (lambda it: it.update(version="1"), "damaged"),
        (lambda it: it.update(version=0), "damaged"),
        (lambda it: it.pop("version"), "damaged"),
        (lambda it: it.update(kdf="scrypt"), "damaged"),
        (lambda it: it.update(kdf="none"), "damaged"),
        (lambda it: it.update(algorithm="rsa"), "damaged"),
        (lambda it: it.update(algorithm="sr25519"), "another key than it says"),
        (lambda it: it.update(algorithm="secp256k1"), "damaged"),
        (lambda it: it.update(public_key="AAAA"), "damaged"),
        (lambda it: it.update(public_key="?"), "damaged"),
        (lambda it: it.update(did="did:web:example.org"), "damaged"),
        (lambda it: it.update(did=str(did_key(OTHER))), "not that of did:key:"),
        (lambda it: it.update(more=1), "damaged"),
        (lambda it: it.pop("sealed"), "damaged"),
        (lambda it: part(it, "sealed").update(salt="AAAA"), "damaged"),
        (lambda it: part(it, "sealed").update(box="AAAA"), "damaged"),
        (lambda it: part(part(it, "sealed"), "cost").update(rounds=0), "damaged"),
        (lambda it: part(part(it, "sealed"), "cost").update(rounds=17), "damaged"),
        (lambda it: part(part(it, "sealed"), "cost").update(memory_bytes=1), "damaged"),
        (lambda it: part(part(it, "sealed"), "cost").update(memory_bytes=2**30 + 1), "damaged"),
        (lambda it: part(part(it, "sealed"), "cost").update(memory_bytes=2**70), "damaged"),
    ],
)
def test_a_changed_file_is_refused_with_the_reason(sealed: Path, change: Callable[[Json], object], reason: str) -> None:
    edit(sealed, change)
    with pytest.raises(KeyFileError, match=reason) as refused:
        open_key_file(sealed, PASSPHRASE)
    assert not isinstance(refused.value, WrongPassphrase)


def test_a_public_key_put_in_place_of_ours_shows_when_the_file_is_opened(sealed: Path) -> None:
    def swap(content: Json) -> None:
        content.update(did=str(did_key(OTHER)), public_key=base64.b64encode(OTHER.raw).decode())

    edit(sealed, swap)
    assert read_public_part(sealed).public_key == OTHER
    with pytest.raises(KeyFileError, match="another key than it says"):
        open_key_file(sealed, PASSPHRASE)


def test_a_secret_that_is_none_is_refused_and_not_shown(path: Path) -> None:
    write_key_file(path, DEVICES["key, secp256k1"], None)
    edit(path, lambda content: content.update(secret="//////////////////////////////////////////8="))
    with pytest.raises(KeyFileError, match="no secret key of secp256k1") as refused:
        open_key_file(path)
    assert "////" not in str(refused.value)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"-----BEGIN PRIVATE KEY-----", b"{}" * 99999]
)
def test_what_is_no_key_file_is_refused(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises((KeyFileError, CredentialsError), match=r"no key file|no secret of ours"):
        open_key_file(path)


@given(at=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.booleans())
@settings(max_examples=200)
def test_no_damage_opens_the_file_as_another(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int, cut: bool
) -> None:
    path = tmp_path_factory.mktemp("damage") / "me.key"
    write_key_file(path, DEVICE, PASSPHRASE, cost=CHEAP)
    content = bytearray(path.read_bytes())
    place = at % len(content)
    if cut:
        del content[place:]
    else:
        content[place] = byte
    path.write_bytes(content)
    try:
        opened = open_key_file(path, PASSPHRASE)
    except IdentityError:
        return
    assert (opened.did, opened.key.secret) == (DEVICE.did, DEVICE.key.secret)


def test_nothing_that_is_printed_shows_a_secret(path: Path) -> None:
    write_key_file(path, DEVICE, None)
    form = key_file._read(path)  # pyright: ignore[reportPrivateUsage] - the only value here that holds a secret
    assert repr(form) == f"_OpenForm({DEVICE.did})"
    assert "SigningKey(ed25519)" in repr(open_key_file(path))


def test_a_device_gets_a_key_at_its_first_start_and_keeps_it(tmp_path: Path) -> None:
    first = device_key(tmp_path / "data", token("attic"))
    assert first.did.method == "key"
    assert first.key.public.algorithm == "ed25519"
    again = device_key(tmp_path / "data", token("attic"))
    assert (again.did, again.key.secret) == (first.did, first.key.secret)
    assert device_key(tmp_path / "data", token("cellar")).did != first.did
    folder = tmp_path / "data" / "credentials" / "devices"
    assert sorted(one.name for one in folder.iterdir()) == ["attic.key", "cellar.key"]
    assert {stat.S_IMODE(one.stat().st_mode) for one in (folder.parent, folder)} == {0o700}
    assert {stat.S_IMODE(one.stat().st_mode) for one in folder.iterdir()} == {0o600}


def test_a_device_takes_the_key_that_was_put_there(tmp_path: Path) -> None:
    device = DEVICES["peaq, sr25519"]
    write_key_file(tmp_path / "credentials/devices/attic.key", device, PASSPHRASE, cost=CHEAP)
    assert device_key(tmp_path, token("attic"), PASSPHRASE).did == device.did
    with pytest.raises(WrongPassphrase, match="none was given"):
        device_key(tmp_path, token("attic"))


def test_a_damaged_device_key_is_not_replaced(tmp_path: Path) -> None:
    device_key(tmp_path, token("attic"))
    path = tmp_path / "credentials/devices/attic.key"
    path.write_text("{")
    with pytest.raises(KeyFileError, match="damaged"):
        device_key(tmp_path, token("attic"))
    assert path.read_text() == "{"


def test_device_keys_in_a_folder_that_others_can_enter_are_refused(tmp_path: Path) -> None:
    device_key(tmp_path, token("attic"))
    (tmp_path / "credentials/devices").chmod(0o755)
    with pytest.raises(CredentialsError, match="chmod 700"):
        device_key(tmp_path, token("attic"))


MAKE_ONE = """
import sys
from pathlib import Path
from mesh.identity.key_file import device_key
from streams.tokens import token
print("ready", flush=True)
sys.stdin.readline()
print(device_key(Path(sys.argv[1]), token("attic")).did)
"""


def test_processes_that_start_at_once_have_one_key(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAKE_ONE, str(tmp_path / "data")]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(3)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
    dids = {racer.communicate(timeout=50)[0].strip() for racer in racers}
    assert dids == {str(device_key(tmp_path / "data", token("attic")).did)}
    assert [one.name for one in (tmp_path / "data/credentials/devices").iterdir()] == ["attic.key"]
