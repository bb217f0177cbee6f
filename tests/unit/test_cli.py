"""The frame of `ig3`: help, errors and colours, without loading what is not used."""

import json
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest

from mesh.cli import SECTIONS, Commands, root
from mesh.config.docs import configuration_page
from mesh.config.sources import installed_sections
from mesh.processes.terminal import Terminal

ROOT = Path(__file__).parents[2]
HEAVY = ("aiohttp", "nats", "opentelemetry", "rich", "uvloop", "xllamacpp", "nodes", "gateway")


def run(*arguments: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "mesh.cli", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=50)


def loaded_commands() -> dict[str, click.Command]:
    group = root
    assert isinstance(group, Commands)
    context = click.Context(group)
    commands = {name: group.get_command(context, name) for name in group.list_commands(context)}
    return {name: command for name, command in commands.items() if command is not None}


def test_help_lists_every_installed_command(tmp_path: Path) -> None:
    done = run("--help", folder=tmp_path)
    assert done.returncode == 0
    for name in entry_points(group="ig3.commands").names:
        assert re.search(rf"^  {name}  +\w", done.stdout, re.MULTILINE), f"{name} is missing"


def test_the_help_says_of_each_command_what_the_command_says_of_itself() -> None:
    said = {name: summary for _, commands in SECTIONS for name, summary in commands}
    own = {name: (command.help or "").partition("\n")[0] for name, command in loaded_commands().items()}
    assert {name: said.get(name) for name in own} == own


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from mesh.cli import root\n"
        "assert CliRunner().invoke(root, ['--help']).exit_code == 0\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert set(loaded.stdout.split()).isdisjoint(HEAVY)


def test_an_unknown_command_is_refused(tmp_path: Path) -> None:
    done = run("fly", folder=tmp_path)
    assert done.returncode == 2
    assert "No such command 'fly'" in done.stderr


def test_an_error_of_ours_is_one_line_without_a_traceback(tmp_path: Path) -> None:
    done = run("config", "show", folder=tmp_path, IG3_DURABILITY="eternal")
    assert done.returncode == 1
    assert done.stderr == (
        "ig3: durability = 'eternal' (from IG3_DURABILITY) cannot be used: write one of power, process\n"
    )


def test_config_show_prints_values_and_origins(tmp_path: Path) -> None:
    (tmp_path / "ig3.toml").write_text("[mesh]\nretention = '2h'\n")
    done = run("config", "show", "--json", folder=tmp_path, IG3_NATS="127.0.0.1:9")
    rows = {row["key"]: row for row in json.loads(done.stdout)}
    assert (rows["nats"]["value"], rows["nats"]["origin"]) == ("127.0.0.1:9", "IG3_NATS")
    assert (rows["retention"]["value"], rows["retention"]["origin"]) == ("2h", "ig3.toml [mesh]")
    assert (rows["durability"]["value"], rows["durability"]["origin"]) == ("power", "default")


def test_config_show_reads_the_file_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text("[mesh]\naccount = 'me'\n")
    done = run("--config", "my.toml", "config", "show", folder=tmp_path)
    assert re.search(r"^  account +me +my\.toml \[mesh\]$", done.stdout, re.MULTILINE)


def test_broker_env_only_makes_what_an_operator_needs_and_starts_nothing(tmp_path: Path) -> None:
    done = run("broker", "--env-only", "--data-dir", "data", folder=tmp_path)
    assert done.stdout.strip() == "data/nats.env"
    made = {str(path.relative_to(tmp_path / "data")) for path in (tmp_path / "data").rglob("*") if path.is_file()}
    assert made == {"nats.env", "credentials/sessions.json", *(f"credentials/{name}.nk" for name in USERS)}


USERS = ("edge-service", "core-service", "system", "identity", "user", "issuer", "sealed")


def test_the_committed_configuration_page_is_what_the_code_says() -> None:
    committed = (ROOT / "docs" / "configuration.md").read_text()
    assert committed == configuration_page(installed_sections()), "run: ig3 docs config > docs/configuration.md"


@pytest.mark.parametrize(
    ("options", "variable", "codes"),
    [((), "", True), (("--no-color",), "", False), ((), "1", False)],
    ids=["on", "flag", "NO_COLOR"],
)
def test_colours_switch_off(tmp_path: Path, options: tuple[str, ...], variable: str, codes: bool) -> None:
    # FORCE_COLOR stands for a terminal that is really there.
    done = run(*options, "config", "show", folder=tmp_path, FORCE_COLOR="1", TERM="xterm-256color", NO_COLOR=variable)
    assert done.returncode == 0
    assert ("\x1b[" in done.stdout) is codes


def test_what_goes_into_a_pipe_has_no_colours(tmp_path: Path) -> None:
    assert "\x1b[" not in run("config", "show", folder=tmp_path, TERM="xterm-256color").stdout


def test_without_a_terminal_a_bar_is_one_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal().progress("Loading the model") as show:
        show(0.5)
    assert capsys.readouterr().err == "Loading the model ...\n"


def test_text_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    text = "did:key:z6Mk [bold]:smile:[/bold]"
    Terminal().out.print(text, markup=False)
    Terminal().err.print(text, markup=False)
    assert capsys.readouterr() == (f"{text}\n", f"{text}\n")
