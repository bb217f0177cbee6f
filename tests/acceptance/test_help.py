"""The help of every command there is, as a shell shows it."""

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from mesh.cli import root
from tests.running_mesh import Place


def commands() -> list[tuple[str, ...]]:
    """Every command and sub-command by its words; `()` is `ig3` itself."""
    found: list[tuple[str, ...]] = []

    def walk(command: click.Command, words: tuple[str, ...]) -> None:
        found.append(words)
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                below = command.get_command(context, name)
                assert below is not None
                walk(below, (*words, name))

    walk(root, ())
    return found


@pytest.fixture
def shell(tmp_path: Path) -> Place:
    return Place(folder=tmp_path)


def name_of(words: tuple[str, ...]) -> str:
    return " ".join(("ig3", *words))


def check(text: str, words: tuple[str, ...]) -> None:
    usage, purpose = text.split("\n\n")[:2]
    assert usage.startswith(f"Usage: {name_of(words)} ")
    assert purpose.strip()[0].isupper()
    assert "-h, --help" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("words", [words for words in commands() if len(words) < 2], ids=name_of)
def test_help_says_what_it_does_and_shows_examples(shell: Place, words: tuple[str, ...]) -> None:
    text = shell.ok(*words, "--help")
    check(text, words)
    examples = text.partition("Examples:\n")[2].splitlines()
    assert len(examples) >= 2
    assert all(re.search(r"\big3 ", line) for line in examples)


@pytest.mark.parametrize("words", [words for words in commands() if len(words) > 1], ids=name_of)
def test_help_of_what_is_below_says_what_it_does(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(root, [*words, "-h"], prog_name="ig3")
    assert done.exit_code == 0
    check(done.output, words)


def test_help_names_the_commands_that_one_needs_first(shell: Place) -> None:
    text = shell.ok("--help")
    assert re.search(r"Start with `ig3 up`", text)
    for words in commands():
        if len(words) == 1:
            assert re.search(rf"^  {words[0]} +\S", text, re.MULTILINE)


def test_a_command_that_does_not_exist_is_a_usage_error(shell: Place) -> None:
    done = shell.ig3("frobnicate")
    assert done.returncode == 2
    assert "No such command 'frobnicate'" in done.stderr
    assert "ig3 --help" in done.stderr


@pytest.mark.parametrize("switch", ["flag", "variable"])
def test_colours_switch_off(shell: Place, switch: str) -> None:
    forced = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    assert "\x1b[" in shell.ok("config", "show", **forced)
    if switch == "flag":
        plain = shell.ok("--no-color", "config", "show", **forced)
    else:
        plain = shell.ok("config", "show", NO_COLOR="1", **forced)
    assert "\x1b" not in plain
    assert "127.0.0.1:0" in plain
