"""Every command and every program in README.md, as a reader types them, on a mesh that `make up` started.

Ports and folder are those of a test; everything else is taken from the page as it stands. `make test` is left out: it
is what runs this.
"""

import os
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import descendants, is_running, wait_until
from tests.running_mesh import ROOT, SMALL_MODEL, Place, RunningMesh, running_up

pytestmark = pytest.mark.timeout(240)

README = ROOT / "README.md"
ELSEWHERE = {"make up": "the fixture `mesh`", "make test": "whoever runs this"}
"""Blocks that are run, but not by `test_a_block_works`."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block of code of the page."""

    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.language}: {self.code.splitlines()[0][:50]}"

    def at(self, place: Place) -> str:
        """The code for a mesh that listens elsewhere."""
        return self.code.replace("127.0.0.1:8080", place.http).replace("127.0.0.1:4222", place.nats)


def blocks() -> list[Block]:
    found = re.findall(r"^```(sh|python)\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    return [Block(language=language, code=code.rstrip("\n")) for language, code in found]


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    """What the first block starts."""
    # A small context ends every answer soon: the page bounds the length of some of them by nothing.
    bounded = {"IG3_CONTEXT": "256"}
    with running_up(tmp_path_factory.mktemp("readme"), command=("make", "up"), cwd=ROOT, variables=bounded) as running:
        yield running


def run(block: Block, place: Place, folder: Path) -> str:
    """Run a block as a reader in a checkout does; returns all that it wrote."""
    if block.language == "sh":
        command = ("bash", "-euo", "pipefail", "-c", block.at(place))
    else:
        program = folder / "program.py"
        program.write_text(block.at(place))
        command = (sys.executable, program)
    done = place.run(*command, cwd=ROOT)
    assert done.returncode == 0, f"{block.code}\nended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_the_page_has_the_blocks_that_are_run_elsewhere() -> None:
    assert {block.code for block in blocks()} >= set(ELSEWHERE)


@pytest.mark.parametrize("block", [block for block in blocks() if block.code not in ELSEWHERE], ids=str)
def test_a_block_works(mesh: RunningMesh, tmp_path: Path, block: Block) -> None:
    assert run(block, mesh.place, tmp_path).strip()


def test_what_make_up_printed_can_be_pasted(mesh: RunningMesh) -> None:
    hints = mesh.up.output.partition("The mesh is ready")[2]
    curl = re.search(r"^  curl  (.*?\n.*?)$", hints, re.MULTILINE)
    chat = re.search(r"^  chat  (.*)$", hints, re.MULTILINE)
    assert curl is not None
    assert chat is not None
    answer = mesh.place.run("bash", "-c", curl[1])
    assert answer.stdout.rstrip().endswith("data: [DONE]")
    said = mesh.place.run("bash", "-c", f"{chat[1]} --max-tokens 5 Hello", cwd=ROOT)
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip()


def test_the_page_names_the_model_and_the_files_that_there_are(mesh: RunningMesh) -> None:
    text = README.read_text()
    assert mesh.models == (SMALL_MODEL,)
    assert SMALL_MODEL in text
    linked = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if not target.startswith("http")]
    assert linked
    assert [target for target in linked if not (ROOT / target).exists()] == []


def test_every_example_is_run_by_a_test() -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests/acceptance").glob("test_*.py"))
    # websocket.js is what websocket.html loads.
    examples = [path.name for path in (ROOT / "examples").iterdir() if path.suffix in {".py", ".html"}]
    assert len(examples) >= 4
    assert [name for name in examples if name not in tests] == []


def test_ctrl_c_stops_what_make_up_started(mesh: RunningMesh) -> None:
    """The last one: the mesh of this module is gone after it."""
    family = descendants(mesh.up.pid)
    assert {"broker", "dispatcher", "gateway", "node", "nats-server"} <= set(family.values())
    os.killpg(mesh.up.pid, signal.SIGINT)
    mesh.up.process.wait()
    wait_until(lambda: not any(is_running(pid) for pid in family))
