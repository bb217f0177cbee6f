"""The command ``ig3``: finds commands by entry points and loads one only when it is used."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import Final

import click

from mesh.processes.terminal import Invocation
from mesh.redaction import hide_secrets

SECTIONS: Final[tuple[tuple[str, tuple[tuple[str, str], ...]], ...]] = (
    (
        "Run a mesh",
        (("up", "Run a whole mesh here: broker, identity, dispatcher, ledger, retrieval, gateway and nodes."),),
    ),
    (
        "Run one part of a mesh",
        (
            ("broker", "Run the NATS server with the streams of the mesh."),
            ("identity", "Decide who may connect to the bus, and cut off who may not any more."),
            ("dispatcher", "Place tasks on nodes and see each of them to its one end."),
            ("ledger", "Keep the books: what is held, charged and earned; and show what they say."),
            ("retrieval", "Take files into vector stores, and search them."),
            ("gateway", "Serve the OpenAI API, the websocket and the live page."),
            ("node", "Run a model on this machine and answer tasks."),
        ),
    ),
    (
        "Use a mesh",
        (
            ("chat", "Talk to a model in the terminal."),
            ("embed", "Turn texts into vectors."),
            ("rag", "Take files in, and find passages in them."),
            ("tasks", "List, show and cancel tasks."),
            ("explain", "Show why a task went where it went."),
            ("dead", "List dead tasks, and have them tried again."),
        ),
    ),
    ("Say who is who", (("did", "Make keys and DIDs for devices and users, and check them as the mesh does."),)),
    (
        "Decide who takes part",
        (
            ("devices", "List devices, and decide which of them may take part."),
            ("groups", "List shard groups, and end one."),
        ),
    ),
    (
        "Who may use a mesh",
        (
            ("account", "Open and close accounts, and say who belongs to them."),
            ("keys", "Issue, list and revoke API keys."),
        ),
    ),
    (
        "What it costs",
        (
            ("prices", "Say what tokens cost. As long as there is no list, all is free, and only metered."),
            ("plan", "Say how accounts pay. An account without a plan is prepaid."),
            ("rewards", "Give devices what a week gives them, by rules that are data."),
            ("payouts", "Pay out what nodes have earned: to a file, a webhook, or in a token."),
        ),
    ),
    (
        "Look inside",
        (
            ("events", "Follow the events of the mesh, or replay stored ones."),
            ("streams", "Compare the broker's streams with what they should be."),
            ("sites", "Add and join edge sites, and show how far the hub has got."),
            ("models", "Keep model files in the mesh, from where nodes fetch them."),
            ("simulate", "Compare policies of placement in virtual time, with the scheduler as it runs in the mesh."),
            ("config", "Show the settings that hold and where each comes from."),
            ("doctor", "Look whether this installation is safe, and say what to do."),
            ("docs", "Write the documents that are made from the code."),
        ),
    ),
)
"""What ``ig3 --help`` says, so that it need not load the commands; a test compares it with the commands' own help."""

_EXAMPLES: Final = """\b
Examples:
  ig3 up                             # a whole mesh on this machine, with a small model
  ig3 chat "Why is the sky blue?"    # ask it, from another terminal
  ig3 explain last                   # why the answer came from where it came
"""

_OUR_PACKAGES: Final = frozenset({"streams", "mesh", "nodes", "gateway"})


class Commands(click.Group):
    """A group whose commands are the entry points ``ig3.commands``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the help, then those it does not know."""
        del ctx
        installed = set(metadata.entry_points(group="ig3.commands").names)
        known = [name for _, commands in SECTIONS for name, _ in commands]
        return [*(name for name in known if name in installed), *sorted(installed.difference(known))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command."""
        del ctx
        for point in metadata.entry_points(group="ig3.commands", name=cmd_name):
            loaded: object = point.load()
            return loaded if isinstance(loaded, click.Command) else None
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by what one wants to do, without loading them."""
        installed = self.list_commands(ctx)
        for title, commands in SECTIONS:
            rows = [(name, summary) for name, summary in commands if name in installed]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
        self._format_others(ctx, formatter, installed)

    def _format_others(self, ctx: click.Context, formatter: click.HelpFormatter, installed: list[str]) -> None:
        known = {name for _, commands in SECTIONS for name, _ in commands}
        others = [(name, self.get_command(ctx, name)) for name in installed if name not in known]
        if others:
            with formatter.section("Others"):
                formatter.write_dl([(name, one.get_short_help_str() if one else "") for name, one in others])


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EXAMPLES,
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Settings file (TOML).  [IG3_CONFIG; default ig3.toml if it exists]",
)
@click.option("--no-color", is_flag=True, help="Write without colours; NO_COLOR does the same.")
@click.version_option(package_name="ig3-edge-network", prog_name="ig3")
@click.pass_context
def root(ctx: click.Context, config: Path | None, no_color: bool) -> None:
    """Run, use and inspect an iG3 mesh: language models on your own machines, over NATS.

    Start with `ig3 up`. Settings are given by flags, by variables IG3_*, or in a TOML file, in this order; `ig3 config
    show` prints what holds.
    """
    ctx.obj = Invocation(config=config, colour=not no_color)


def main() -> None:
    """Run ``ig3``. An error of our own becomes one line that says what to do, and exit status 1."""
    try:
        root(prog_name="ig3")
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in _OUR_PACKAGES:
            raise
        click.echo(f"ig3: {hide_secrets(str(error))}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
