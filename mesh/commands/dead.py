"""``ig3 dead``: tasks that came to nothing too often; look at them, have them tried again, let them go."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Final

import click
import msgspec
from msgspec import Struct

from mesh.bus.answer import AnswerText, Reader
from mesh.config.options import only, settings_options
from mesh.config.settings import MeshSettings
from mesh.errors import DeadLetterError, TaskRefused
from mesh.inspection.dead_letters import drop, letter, letters, redrive
from mesh.inspection.operator_bus import run_on_bus
from mesh.inspection.tables import Column, print_table, show_time
from mesh.inspection.task_records import ended, find
from mesh.processes.terminal import terminal
from streams.errors import InvalidTaskId
from streams.events import AttemptFailure, DeadDropped, DeadRedriven, TaskDead
from streams.tasks.chat import Message
from streams.tokens import token

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mesh.bus.service_bus import Bus
    from mesh.inspection.dead_letters import DeadLetter

_PLACE: Final = only(MeshSettings, "nats", "data_dir")
_STYLES: Final = {"waiting": "red", "redriven": "green", "dropped": "dim"}
_EXAMPLES: Final = """\b
Examples:
  ig3 dead                               # those that nobody has decided about
  ig3 dead show 0199a5...                # what it asked, and how each attempt ended
  ig3 dead redrive 0199a5...             # try it anew; prints the id of the new task
  ig3 dead drop 0199a5... --reason "the prompt kills the engine"
  ig3 dead list --all --json             # also those that were decided about, for programs
"""


class DeadLine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One dead task as ``--json`` prints it."""

    task: str
    account: str
    model: str
    died_at: datetime
    state: str
    code: str
    message: str
    redriven_as: str = ""
    dropped_because: str = ""


class DeadReport(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All about one dead task, as ``show --json`` prints it."""

    letter: DeadLine
    failures: tuple[AttemptFailure, ...]
    messages: tuple[Message, ...] | None = None
    """None where what was asked is no longer kept."""
    prompt: str = ""
    """A raw one."""
    texts: tuple[str, ...] = ()
    """Those that were to become vectors."""
    text: str = ""
    """What was written before it died."""


@click.group(invoke_without_command=True, epilog=_EXAMPLES)
@click.pass_context
def dead(ctx: click.Context) -> None:
    """List dead tasks, and have them tried again.

    A task is dead when too many attempts came to nothing: it kills its nodes, or no node can do it.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_dead)


@dead.command(name="list", epilog=_EXAMPLES)
@click.option("--of", "account", metavar="ACCOUNT", help="Only tasks of this account.")
@click.option("--all", "-a", "everything", is_flag=True, help="Also those that were redriven or dropped.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for programs.")
@settings_options(mesh=_PLACE)
def list_dead(mesh: MeshSettings, account: str | None = None, everything: bool = False, as_json: bool = False) -> None:
    """List the dead tasks that wait for a decision, the oldest first."""
    found: list[DeadLetter] = []

    async def work(bus: Bus) -> None:
        found.extend(await letters(bus, account=None if account is None else token(account)))

    run_on_bus(mesh, "dead", work)
    shown = [_line(one) for one in found if everything or one.decided is None]
    if as_json:
        for line in shown:
            click.echo(msgspec.json.encode(line))
    else:
        _print_lines(shown)


@dead.command(epilog=_EXAMPLES)
@click.argument("task", metavar="[ACCOUNT/]ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for programs.")
@settings_options(mesh=_PLACE)
def show(mesh: MeshSettings, task: str, as_json: bool) -> None:
    """Show one dead task: what it asked, how each attempt ended, and the text so far.

    `ig3 explain` tells its whole story, with times.
    """
    reports: list[DeadReport] = []

    async def work(bus: Bus) -> None:
        reports.append(await _report(bus, await letter(bus, task)))

    run_on_bus(mesh, "dead", work)
    if as_json:
        click.echo(msgspec.json.encode(reports[0]))
    else:
        _print_report(reports[0])


@dead.command(name="redrive", epilog=_EXAMPLES)
@click.argument("ids", metavar="[ACCOUNT/]ID...", nargs=-1, required=True)
@click.option("--again", is_flag=True, help="Also those that were redriven or dropped before.")
@settings_options(mesh=_PLACE)
def redrive_dead(mesh: MeshSettings, ids: tuple[str, ...], again: bool) -> None:
    """Have dead tasks tried anew, and print the ids of the new tasks.

    Each is submitted again under a new id, with the same content, urgency and time.
    """

    async def one(bus: Bus, task: str) -> None:
        click.echo((await redrive(bus, task, again=again)).task)

    _each(mesh, ids, one)


@dead.command(name="drop", epilog=_EXAMPLES)
@click.argument("ids", metavar="[ACCOUNT/]ID...", nargs=-1, required=True)
@click.option("--reason", required=True, help="Why, for whoever looks later.")
@settings_options(mesh=_PLACE)
def drop_dead(mesh: MeshSettings, ids: tuple[str, ...], reason: str) -> None:
    """Let dead tasks go: they are no longer listed."""

    async def one(bus: Bus, task: str) -> None:
        click.echo(f"{(await drop(bus, task, reason=reason)).key.task} dropped")

    _each(mesh, ids, one)


def _each(mesh: MeshSettings, ids: tuple[str, ...], act: Callable[[Bus, str], Awaitable[None]]) -> None:
    """Act on every id: one that cannot be served is told, and does not keep the others from their turn."""
    problems: list[str] = []

    async def work(bus: Bus) -> None:
        for task in ids:
            try:
                await act(bus, task)
            except (DeadLetterError, InvalidTaskId) as error:
                problems.append(str(error))

    run_on_bus(mesh, "dead", work)
    if len(ids) == 1 and problems:
        raise DeadLetterError(problems[0])
    for problem in problems:
        click.echo(f"ig3: {problem}", err=True)
    if problems:
        sys.exit(1)


async def _report(bus: Bus, found: DeadLetter) -> DeadReport:
    end, text = await ended(bus, found.key), AnswerText()
    text.take(await Reader(bus.source, found.key).catch_up())
    try:
        asked = (await find(bus, found.key.task, account=found.key.account)).event
    except TaskRefused:
        asked = None
    return DeadReport(
        letter=_line(found),
        failures=end.event.failures if end is not None and isinstance(end.event, TaskDead) else (),
        messages=None if asked is None else asked.messages,
        prompt="" if asked is None else asked.prompt,
        texts=() if asked is None else asked.texts,
        text=str(text),
    )


def _line(found: DeadLetter) -> DeadLine:
    return DeadLine(
        task=found.key.task,
        account=found.key.account,
        model=found.kept.model,
        died_at=found.died_at,
        state=found.word,
        code=found.kept.error.code,
        message=found.kept.error.message,
        redriven_as=found.decided.task if isinstance(found.decided, DeadRedriven) else "",
        dropped_because=found.decided.reason if isinstance(found.decided, DeadDropped) else "",
    )


def _print_lines(lines: list[DeadLine]) -> None:
    columns = tuple(map(Column, ("TASK", "DIED", "ACCOUNT", "MODEL", "STATE", "WHY")))
    rows = [
        (
            *(line.task, show_time(line.died_at), line.account, line.model),
            (line.state, _STYLES.get(line.state, "")),
            line.redriven_as or line.dropped_because or line.message,
        )
        for line in lines
    ]
    print_table(terminal(), columns, rows)
    if not lines:
        terminal().err.print("No such task: nothing waits for a decision.", markup=False)


def _print_report(report: DeadReport) -> None:
    screen, line = terminal().out, report.letter
    screen.print(f"Task {line.task}", style="bold", markup=False)
    died = line.died_at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    screen.print(f"account {line.account}, model {line.model}, died {died}", style="dim", markup=False)
    fate = line.redriven_as or line.dropped_because
    screen.print(f"{line.state}{f': {fate}' if fate else ''}", style=_STYLES.get(line.state, ""), markup=False)
    screen.print(f"{line.code}: {line.message}", style="red", markup=False)
    for failure in report.failures:
        screen.print(f"  attempt {failure.attempt} on {failure.node}: {failure.code}: {failure.message}", markup=False)
    if report.messages is None:
        screen.print("What it asked is no longer kept.", style="yellow", markup=False)
    for message in report.messages or ():
        screen.print(f"{message.role}: {message.content}", markup=False)
    if report.prompt:
        screen.print(f"raw prompt: {report.prompt}", markup=False)
    for text in report.texts:
        screen.print(f"text: {text}", markup=False)
    screen.print(f"so far: {report.text}" if report.text else "nothing was written", style="dim", markup=False)
