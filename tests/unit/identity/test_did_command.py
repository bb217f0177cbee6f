"""``ig3 did``: keys made, shown and sealed by the real command line, and passphrases that nobody else sees."""

import json
import os
import pty
import re
import select
import stat
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mesh.cli import root
from mesh.commands.did import did as did_group
from mesh.commands.passphrases import open_key
from mesh.errors import WrongPassphrase
from mesh.identity.did import parse_did
from mesh.identity.key_file import open_key_file
from mesh.identity.subject_proof import prove, subject_signed
from tests.processes import PATIENCE_S

IG3 = (sys.executable, "-P", "-m", "mesh.cli")


def ig3(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*IG3, *arguments], cwd=folder, env={}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=50
    )


def ok(*arguments: str, folder: Path) -> str:
    done = ig3(*arguments, folder=folder)
    assert (done.returncode, done.stderr.count("\n") <= 1) == (0, True), done.stderr
    return done.stdout


def refused(*arguments: str, folder: Path) -> str:
    done = ig3(*arguments, folder=folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"ig3: [^\n]+\n", done.stderr)
    return done.stderr


@pytest.mark.parametrize(
    ("options", "form"),
    [
        ((), r"did:key:z6Mk\w{44}"),
        (("--algorithm", "sr25519", "--method", "peaq"), r"did:peaq:5\w{46,47}"),
        (("--algorithm", "secp256k1", "--method", "peaq"), r"did:peaq:0x[0-9a-fA-F]{40}"),
        (("--algorithm", "secp256k1", "--method", "pkh"), r"did:pkh:eip155:3338:0x[0-9a-fA-F]{40}"),
        (("--method", "pkh", "--chain", "polkadot:b0a8d493285c2df73290dfb7e61f870f"), r"did:pkh:polkadot:b0a8\w+:5\w+"),
    ],
    ids=" ".join,
)
def test_a_key_is_made_and_its_did_printed(tmp_path: Path, options: tuple[str, ...], form: str) -> None:
    printed = ok("did", "create", *options, "--no-passphrase", "--out", "keys/me.key", folder=tmp_path).strip()
    assert re.fullmatch(form, printed)
    device = open_key_file(tmp_path / "keys/me.key")
    assert device.did == parse_did(printed)
    assert subject_signed(device.did, prove(device.did, device.key, b"message"), b"message")
    assert stat.S_IMODE((tmp_path / "keys/me.key").stat().st_mode) == 0o600


def test_what_is_shown_is_all_but_the_secret(tmp_path: Path) -> None:
    (tmp_path / "pass").write_text("open sesame\nsecond line\n")
    (tmp_path / "pass").chmod(0o600)
    printed = ok("did", "create", "--passphrase-file", "pass", "--out", "me.key", folder=tmp_path).strip()
    device = open_key_file(tmp_path / "me.key", "open sesame")
    shown = dict(line.split("  ", 1) for line in ok("did", "show", "me.key", folder=tmp_path).splitlines())
    assert {name: value.strip() for name, value in shown.items()} == {
        "did": printed,
        "algorithm": "ed25519",
        "public key": device.key.public.raw.hex(),
        "multikey": printed.removeprefix("did:key:"),
        "fingerprint": device.did.fingerprint,
        "sealed": "by a passphrase",
    }
    cost = json.loads((tmp_path / "me.key").read_text())["sealed"]["cost"]
    assert cost == {"rounds": 3, "memory_bytes": 256 * 1024 * 1024}


def test_a_key_is_never_written_over(tmp_path: Path) -> None:
    ok("did", "create", "--no-passphrase", "--out", "me.key", folder=tmp_path)
    before = (tmp_path / "me.key").read_bytes()
    said = refused("did", "create", "--no-passphrase", "--out", "me.key", folder=tmp_path)
    assert said == "ig3: me.key is there already: keys are never written over; choose another name\n"
    assert (tmp_path / "me.key").read_bytes() == before


def test_without_a_terminal_somebody_must_say_how_the_key_is_kept(tmp_path: Path) -> None:
    said = refused("did", "create", "--out", "me.key", folder=tmp_path)
    assert "no terminal to ask for a passphrase on: give --passphrase-file FILE, or --no-passphrase" in said
    assert not (tmp_path / "me.key").exists()


def test_files_that_others_can_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pass").write_text("open sesame\n")
    (tmp_path / "pass").chmod(0o644)
    said = refused("did", "create", "--passphrase-file", "pass", "--out", "me.key", folder=tmp_path)
    assert "chmod 600 pass" in said
    ok("did", "create", "--no-passphrase", "--out", "me.key", folder=tmp_path)
    (tmp_path / "me.key").chmod(0o640)
    assert "chmod 600 me.key" in refused("did", "show", "me.key", folder=tmp_path)


def test_an_empty_passphrase_file_seals_nothing(tmp_path: Path) -> None:
    (tmp_path / "pass").touch(mode=0o600)
    said = refused("did", "create", "--passphrase-file", "pass", "--out", "me.key", folder=tmp_path)
    assert "a passphrase has 1 to 1024 bytes, this has 0" in said
    assert not (tmp_path / "me.key").exists()


def test_what_is_no_key_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "me.key").touch(mode=0o600)
    assert "me.key is no key file, or damaged" in refused("did", "show", "me.key", folder=tmp_path)
    assert "none.key does not exist" in refused("did", "show", "none.key", folder=tmp_path)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--chain", "eip155:1"), "--chain belongs to --method pkh"),
        (("--no-passphrase", "--passphrase-file", "pass"), "not both"),
        (("--algorithm", "rsa"), "'rsa' is not one of"),
        (("--method", "web"), "'web' is not one of"),
        (("--passphrase", "open sesame"), "No such option '--passphrase'|No such option: --passphrase"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_flags_that_make_no_sense_are_refused(tmp_path: Path, options: tuple[str, ...], reason: str) -> None:
    out = tmp_path / "me.key"
    done = CliRunner().invoke(root, ["did", "create", *options, "--out", str(out)], prog_name="ig3")
    assert done.exit_code == 2
    assert re.search(reason, done.stderr)
    assert not out.exists()


def test_a_chain_of_another_kind_is_refused(tmp_path: Path) -> None:
    options = ("--method", "pkh", "--chain", "eip155:1", "--no-passphrase", "--out", "me.key")
    assert "names no chain of such an account" in refused("did", "create", *options, folder=tmp_path)


class Typist:
    """Somebody at a terminal of their own, at which a command asks."""

    def __init__(self, command: tuple[str, ...], folder: Path) -> None:
        self.screen, terminal = pty.openpty()
        env = {"TERM": "dumb"}
        self.process = subprocess.Popen(
            command, cwd=folder, env=env, stdin=terminal, stderr=terminal, stdout=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        os.close(terminal)
        self.seen = ""

    def answer(self, question: str, text: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        start = len(self.seen)
        while question not in self.seen[start:]:
            ready, _, _ = select.select([self.screen], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"never asked for {question!r}: {self.seen!r}"
            self.seen += os.read(self.screen, 4096).decode()
        os.write(self.screen, f"{text}\n".encode())

    def finish(self) -> str:
        """Everything until the end; returns what went to standard output."""
        printed, _ = self.process.communicate(timeout=PATIENCE_S)
        try:
            while chunk := os.read(self.screen, 4096):
                self.seen += chunk.decode()
        except OSError:
            # What Linux says when the other end of a terminal is closed.
            pass
        os.close(self.screen)
        return printed


def test_a_passphrase_is_asked_for_twice_and_not_shown(tmp_path: Path) -> None:
    typist = Typist((*IG3, "did", "create", "--out", "me.key"), tmp_path)
    typist.answer("Passphrase: ", "open sesame")
    typist.answer("Repeat for confirmation: ", "open sesam")
    typist.answer("Passphrase: ", "open sesame")
    typist.answer("Repeat for confirmation: ", "open sesame")
    printed = typist.finish().strip()
    assert typist.process.returncode == 0
    assert "sesam" not in typist.seen
    assert str(open_key_file(tmp_path / "me.key", "open sesame").did) == printed


OPEN_ONE = """
import sys
from pathlib import Path
from mesh.commands.passphrases import open_key
print(open_key(Path("me.key")).did)
"""


def test_a_command_that_needs_a_sealed_key_asks_once(tmp_path: Path) -> None:
    (tmp_path / "pass").write_text("open sesame\r\n")
    (tmp_path / "pass").chmod(0o600)
    made = ok("did", "create", "--passphrase-file", "pass", "--out", "me.key", folder=tmp_path)
    typist = Typist((sys.executable, "-c", OPEN_ONE), tmp_path)
    typist.answer("Passphrase of me.key: ", "open sesame")
    assert typist.finish() == made
    assert "sesam" not in typist.seen
    assert str(open_key(tmp_path / "me.key", tmp_path / "pass").did) == made.strip()


def test_a_command_that_needs_a_sealed_key_asks_nobody_without_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pass").write_text("open sesame")
    (tmp_path / "pass").chmod(0o600)
    ok("did", "create", "--passphrase-file", "pass", "--out", "me.key", folder=tmp_path)
    ok("did", "create", "--no-passphrase", "--out", "open.key", folder=tmp_path)
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        assert open_key(tmp_path / "open.key").did.method == "key"
        with pytest.raises(WrongPassphrase, match="no terminal to ask on: give --passphrase-file FILE"):
            open_key(tmp_path / "me.key")


def test_other_commands_can_be_put_beside() -> None:
    assert isinstance(did_group, click.Group)
    assert {"create", "show"} <= set(did_group.commands)
