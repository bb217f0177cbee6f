"""``ig3 did register`` and ``ig3 did verify`` by the real command line, against a stand-in for a node of peaq."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from mesh.cli import root
from mesh.identity.accounts import evm_account, substrate_account
from mesh.identity.did import did_key, did_peaq, parse_did
from mesh.identity.key_file import DeviceKey, write_key_file
from mesh.identity.keys import Algorithm, SigningKey
from mesh.identity.peaq.document import decode_document
from mesh.identity.peaq.place import place_of
from tests.peaq_chain import NO_LIMIT, PeaqChain
from tests.peaq_metadata import small_runtime
from tests.processes import PATIENCE_S

# Each runs up to four commands one after the other, and each command learns the types of the chain anew.
pytestmark = pytest.mark.timeout(240)
IG3 = (sys.executable, "-P", "-m", "mesh.cli")


@pytest.fixture(scope="module")
def chain() -> Iterator[PeaqChain]:
    with PeaqChain(small_runtime()) as running:
        yield running


def ig3(folder: Path, chain: PeaqChain | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {"IG3_DID_METHODS": "key"}
    if chain is not None:
        env = {
            "IG3_DID_METHODS": "peaq",
            "IG3_PEAQ_ENDPOINTS": chain.url,
            "IG3_PEAQ_GENESIS": chain.genesis,
            "IG3_PEAQ_TIMEOUT": "30s",
        }
    return subprocess.run(
        [*IG3, *arguments],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def create(folder: Path, name: str, algorithm: Algorithm, method: str = "peaq") -> str:
    """Make a key file that is not sealed, and return its DID."""
    key = SigningKey.generate(algorithm)
    account = evm_account(key.public) if algorithm == "secp256k1" else substrate_account(key.public)
    did = did_peaq(account) if method == "peaq" else did_key(key.public)
    assert write_key_file(folder / name, DeviceKey(did, key), None)
    return did.text


def rules(shown: str) -> dict[str, str]:
    found = json.loads(shown)
    return {one["name"]: one.get("rule") or one.get("how") or "holds" for one in found["rules"]}


def test_a_did_is_registered_and_then_gets_in_by_its_key_and_by_that_of_its_device(
    tmp_path: Path, chain: PeaqChain
) -> None:
    did, device = create(tmp_path, "me.key", "sr25519"), create(tmp_path, "device.key", "ed25519", "key")
    before = ig3(tmp_path, chain, "did", "verify", did)
    assert before.returncode == 1
    assert re.search(r"^entry on the chain +no +not_on_chain: ", before.stdout, re.MULTILINE)
    assert before.stderr == f"{did}: its own key would not get in.\n"

    done = ig3(tmp_path, chain, "did", "register", "me.key", "--device-key", device)
    assert (done.returncode, done.stdout) == (0, f"{did}\n"), done.stderr
    assert f"in block {chain.hash_of(chain.head)}" in done.stderr
    place = place_of(parse_did(did))
    value, validity = chain.attribute(place.account, place.names[0])
    assert (decode_document(value).id, validity) == (did, NO_LIMIT)

    after = ig3(tmp_path, chain, "did", "verify", did, "--key", "device.key", "--json")
    assert (after.returncode, rules(after.stdout)["proof by this key"]) == (0, "key #key-2 of its document")
    other = ig3(tmp_path, chain, "did", "verify", device, "--key", "device.key", "--json")
    assert (other.returncode, rules(other.stdout)["proof by this key"]) == (1, "method_not_accepted")


def test_an_account_of_evm_is_registered_at_the_cost_of_another(tmp_path: Path, chain: PeaqChain) -> None:
    did = create(tmp_path, "wallet.key", "secp256k1")
    create(tmp_path, "payer.key", "ed25519")
    alone = ig3(tmp_path, chain, "did", "register", "wallet.key")
    assert alone.returncode == 2
    assert "give --payer" in alone.stderr
    done = ig3(tmp_path, chain, "did", "register", "wallet.key", "--payer", "payer.key", "--valid-for", "50")
    assert done.returncode == 0, done.stderr
    place = place_of(parse_did(did))
    assert chain.attribute(place.account, place.names[0])[1] == chain.head + 50
    found = ig3(tmp_path, chain, "did", "verify", did, "--key", "wallet.key", "--json")
    assert (found.returncode, rules(found.stdout)["proof by this key"]) == (0, "its own key")


def test_what_would_be_written_can_be_printed_without_a_chain(tmp_path: Path) -> None:
    did = create(tmp_path, "me.key", "ed25519")
    done = ig3(tmp_path, None, "did", "register", "me.key", "--print", "--signed-for", "30d")
    assert decode_document(done.stdout.strip().encode()).id == did
    assert done.stderr == ""


def test_a_squatted_attribute_is_told(tmp_path: Path, chain: PeaqChain) -> None:
    did = create(tmp_path, "me.key", "sr25519")
    place = place_of(parse_did(did))
    chain.put(place.account, place.names[0], b"0a0131", owner=bytes(32))
    done = ig3(tmp_path, chain, "did", "register", "me.key")
    assert done.returncode == 1
    assert "somebody wrote this attribute before, and alone may change it" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (("register", "me.key"), 1, "no chain is configured"),
        (("register", "other.key", "--print"), 1, "only did:peaq has"),
        (("register", "me.key", "--print", "--signed-for", "30"), 2, "is not a duration"),
        (("register", "me.key", "--print", "--device-key", "did:web:x"), 1, "method that is not known"),
        (("register", "none.key", "--print"), 1, "none.key does not exist"),
        (("verify", "did:web:x"), 1, "method that is not known"),
        (("verify", "did:peaq:123"), 1, "a machine id of digits"),
        (("verify", "did:key:z6Mk", "--key", "none.key"), 1, "none.key does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_done_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, why: str
) -> None:
    create(tmp_path, "other.key", "ed25519", "key")
    create(tmp_path, "me.key", "ed25519")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(root, ["did", *arguments])
    assert (done.exit_code, done.stdout) == (code, "")
    assert why in (done.stderr or str(done.exception))


def test_no_secret_is_printed(tmp_path: Path, chain: PeaqChain) -> None:
    did = create(tmp_path, "me.key", "sr25519")
    secret = json.loads((tmp_path / "me.key").read_text())["secret"]
    for arguments in (("register", "me.key"), ("verify", did, "--key", "me.key"), ("register", "me.key", "--print")):
        done = ig3(tmp_path, chain, "did", *arguments)
        assert done.returncode == 0, done.stderr
        assert secret not in done.stdout + done.stderr
