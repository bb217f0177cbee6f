"""`ig3 chat`: one answer that pipes well, and a conversation at a terminal."""

import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.processes import PATIENCE_S
from tests.running_mesh import IG3, SMALL_MODEL, RunningMesh

pytestmark = pytest.mark.timeout(240)

PROMPT = "> \x1b[0m"
"""What stands before the cursor when a line may be typed, in colour."""


def test_a_question_prints_its_answer_and_nothing_else(smollm: RunningMesh) -> None:
    done = smollm.place.ig3("chat", "Why is the sky blue?", "--max-tokens", "12", "--temperature", "0")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") >= 1
    assert len(done.stdout.split()) > 3


def test_without_a_word_the_model_of_the_mesh_answers(synthetic: RunningMesh) -> None:
    assert synthetic.model != SMALL_MODEL
    assert len(synthetic.place.ok("chat", "--max-tokens", "7", "hello").split()) == 7


def test_standard_input_is_part_of_the_question(synthetic: RunningMesh) -> None:
    asked = subprocess.run(
        [IG3, "chat", "--max-tokens", "3", "Say what this is:", "-"],
        input="some text\n",
        env=synthetic.place.variables,
        cwd=synthetic.place.folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert (asked.returncode, asked.stderr) == (0, "")
    replayed = synthetic.place.ok("events", "replay", "TASKS")
    assert '"Say what this is:\\n\\nsome text"' in replayed


def test_a_system_message_goes_first(synthetic: RunningMesh) -> None:
    synthetic.place.ok("chat", "--max-tokens", "1", "--system", "Be brief.", "Who are you, exactly?")
    assert (
        '"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Who are you, exactly?"}]'
        in synthetic.place.ok("events", "replay", "TASKS")
    )


def test_a_model_that_nobody_has_is_one_line_and_status_1(synthetic: RunningMesh) -> None:
    done = synthetic.place.ig3("chat", "-m", "no-such-model", "hello")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == ["ig3: The model 'no-such-model' does not exist on this mesh."]


def test_a_mesh_that_is_not_there_is_one_line_and_status_1(synthetic: RunningMesh) -> None:
    done = synthetic.place.ig3("chat", "hello", IG3_NATS="127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith("ig3: cannot reach the bus at nats://127.0.0.1:1")
    assert "Traceback" not in done.stderr


def test_ctrl_c_cancels_the_one_answer(synthetic: RunningMesh) -> None:
    asking = subprocess.Popen(
        [IG3, "chat", "--max-tokens", "5000", "a very long story"],
        env=synthetic.place.variables,
        cwd=synthetic.place.folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert asking.stdout is not None
    assert asking.stdout.read(20)
    asking.send_signal(signal.SIGINT)
    asking.communicate(timeout=PATIENCE_S)
    assert asking.returncode == 130
    assert "cancelled by Ctrl-C" in synthetic.place.ok("tasks", "list", "-n", "1")


class AtTerminal:
    """`ig3 chat` with a person at the keyboard."""

    def __init__(self, mesh: RunningMesh, *arguments: str, **variables: str) -> None:
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(mesh.place.folder)
                os.execve(IG3, [str(IG3), *arguments], {**mesh.place.variables, "TERM": "xterm", **variables})
            finally:
                # Else this copy of the test process would go on as a second one.
                os._exit(127)
        self.seen = ""

    def type(self, text: str) -> None:
        """Type, and begin to look for what comes now."""
        self.seen = ""
        os.write(self._terminal, text.encode())

    def sees(self, text: str) -> str:
        """Wait until `text` is on the screen; returns all since the last line typed."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.seen:
            assert time.monotonic() < deadline, f"{text!r} does not come; on the screen is:\n{self.seen}"
            if select.select([self._terminal], [], [], 0.5)[0]:
                self.seen += os.read(self._terminal, 65_536).decode(errors="replace")
        return self.seen

    def status(self) -> int:
        """Its exit status, once it has ended."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def person(synthetic: RunningMesh) -> Iterator[AtTerminal]:
    person = AtTerminal(synthetic, "chat", "--max-tokens", "60")
    person.sees(PROMPT)
    yield person
    os.close(person._terminal)


def test_a_conversation(synthetic: RunningMesh, person: AtTerminal) -> None:
    person.type("first question\n")
    assert len(person.sees("60 tokens in").split()) > 60
    person.sees(PROMPT)
    for line, answer in (
        ("/help", "/system"),
        ("second question", "60 tokens in"),
        ("/new", "a new conversation"),
        ("third question", "60 tokens in"),
    ):
        person.type(f"{line}\n")
        assert answer in person.sees(PROMPT)
    person.type("\x04")
    assert person.status() == 0
    asked = synthetic.place.ok("events", "replay", "TASKS").splitlines()[-3:]
    assert [line.count('"role":"user"') for line in asked] == [1, 2, 1]
    assert [line.count('"role":"assistant"') for line in asked] == [0, 1, 0]


def test_ctrl_c_cancels_the_answer_and_not_the_conversation(synthetic: RunningMesh) -> None:
    person = AtTerminal(synthetic, "chat", "--max-tokens", "5000")
    person.sees(PROMPT)
    for question in ("a question", "another one"):
        person.type(f"{question}\n")
        # One of the words comes with every answer's first cycle; the question is echoed before.
        person.sees("ocean")
        person.type("\x03")
        assert "cancelled" in person.sees(PROMPT)
    person.type("/quit\n")
    assert person.status() == 0
    os.close(person._terminal)


def test_a_model_that_nobody_has_ends_no_conversation(person: AtTerminal) -> None:
    for line, answer in (
        ("/model no-such-model", "no-such-model"),
        ("hello", "does not exist on this mesh"),
        ("/model synthetic", "synthetic"),
        ("hello", "60 tokens in"),
    ):
        person.type(f"{line}\n")
        assert answer in person.sees(PROMPT).removeprefix(line)


def test_no_color_means_none(synthetic: RunningMesh) -> None:
    for arguments, variables in ((("--no-color", "chat"), {}), (("chat",), {"NO_COLOR": "1"})):
        person = AtTerminal(synthetic, *arguments, **variables)
        shown = person.sees("> ")
        person.type("/help\n")
        shown += person.sees("> ")
        person.type("/quit\n")
        assert person.status() == 0
        assert "\x1b[1" not in shown
        assert "\x1b[2" not in shown
