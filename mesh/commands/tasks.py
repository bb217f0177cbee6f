"""``ig3 tasks``: what is running and what has run; submit, show and cancel tasks."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec
from msgspec import Struct

from mesh.bus.answer import AnswerText, Reader, follow
from mesh.client.client import open_client
from mesh.client.options import options_of
from mesh.config.options import only, settings_options
from mesh.config.quantities import parse_duration
from mesh.config.settings import MeshSettings
from mesh.errors import SettingsError, TaskRefused
from mesh.inspection.announced_models import announced_models, choose_model
from mesh.inspection.operator_bus import run_on_bus, run_quietly
from mesh.inspection.tables import Column, print_table, show_duration, show_time
from mesh.inspection.task_records import LAST, Standing, latest, look_up, standing
from mesh.processes.terminal import terminal
from streams.events import TaskChunk
from streams.subjects import SERVICE_CLASSES, ServiceClass
from streams.tasks.task import TaskState
from streams.tasks.task_id import parse_task_id
from streams.tasks.vectors import numbers_of
from streams.tokens import token

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from mesh.bus.answer import Step
    from mesh.bus.service_bus import Bus
    from mesh.client.client import Client
    from mesh.inspection.task_records import Submitted

_PLACE: Final = only(MeshSettings, "nats", "data_dir")
_USER: Final = only(MeshSettings, "nats", "data_dir", "account")
_LOOK_BACK: Final = 5000
"""How many of the latest tasks are looked at for those that match."""
_AT_ONCE: Final = 32
_STYLES: Final = {"completed": "green", "failed": "red", "dead": "red", "cancelled": "yellow", "running": "cyan"}
_EXAMPLES: Final = """\b
Examples:
  ig3 tasks                              # the latest tasks of all accounts
  ig3 tasks list --running               # those that have not ended
  ig3 tasks submit "Why is the sky blue?" --urgency batch
  ig3 tasks show last --follow           # its answer, so far and on
  ig3 tasks cancel 0199a5...
"""


class TaskLine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One task as ``--json`` prints it."""

    task: str
    account: str
    urgency: ServiceClass
    submitted_at: datetime
    state: str
    model: str | None = None
    node: str = ""
    detail: str = ""
    completion_tokens: int | None = None
    duration_s: float | None = None


@click.group(invoke_without_command=True, epilog=_EXAMPLES)
@click.pass_context
def tasks(ctx: click.Context) -> None:
    """List, show and cancel tasks."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_tasks)


@tasks.command(name="list")
@click.option("--limit", "-n", type=click.IntRange(min=1), default=20, show_default=True, help="How many at most.")
@click.option("--running", is_flag=True, help="Only those that have not ended.")
@click.option("--of", "account", metavar="ACCOUNT", help="Only tasks of this account.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for programs.")
@settings_options(mesh=_PLACE)
def list_tasks(
    mesh: MeshSettings,
    limit: int = 20,
    running: bool = False,
    account: str | None = None,
    as_json: bool = False,
) -> None:
    """List the latest tasks, the newest first."""
    found: list[Standing] = []

    async def work(bus: Bus) -> None:
        found.extend(await _select(bus, limit, running=running, account=account))

    run_on_bus(mesh, "tasks", work)
    if as_json:
        for one in found:
            click.echo(msgspec.json.encode(_line(one)))
    else:
        _print_tasks(found)


@tasks.command()
@click.argument("prompt")
@click.option("--model", "-m", metavar="ID", help="Who answers.  [default: a model of the mesh]")
@click.option("--max-tokens", type=click.IntRange(min=1), metavar="N", help="Longest answer.")
@click.option("--urgency", type=click.Choice(SERVICE_CLASSES), default="standard", show_default=True)
@click.option("--deadline", metavar="DURATION", help="Fail if it takes longer, such as 5m.")
@settings_options(mesh=_USER)
def submit(
    mesh: MeshSettings,
    prompt: str,
    model: str | None,
    max_tokens: int | None,
    urgency: ServiceClass,
    deadline: str | None,
) -> None:
    """Send a task and print its id, without waiting for its answer."""
    until = None if deadline is None else _duration(deadline)

    async def work(client: Client) -> None:
        chosen = model or choose_model(await announced_models(mesh))
        answer = await client.submit(chosen, prompt, max_tokens=max_tokens, urgency=urgency, deadline=until)
        click.echo(answer.task)

    _run_as_user(mesh, work)


@tasks.command()
@click.argument("task", metavar="[[ACCOUNT/]ID|last]", default=LAST)
@click.option("--follow", "-f", "on", is_flag=True, help="Go on until the answer is complete.")
@settings_options(mesh=_PLACE)
def show(mesh: MeshSettings, task: str, on: bool) -> None:
    """Print the answer of a task, as far as it is written.

    What has become of the task goes to standard error. `ig3 explain` tells its whole story.
    """
    ends: list[TaskState] = []

    async def work(bus: Bus) -> None:
        submitted = await look_up(bus, task)
        ends.append(await (_print_on(bus, submitted) if on else _print_so_far(bus, submitted)))

    run_on_bus(mesh, "tasks", work)
    _print_end(ends[0])


@tasks.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@settings_options(mesh=_USER)
def cancel(mesh: MeshSettings, ids: tuple[str, ...]) -> None:
    """Cancel tasks and say how each of them ended."""
    keys = [parse_task_id(task) for task in ids]
    outcomes: list[str] = []

    async def work(client: Client) -> None:
        for key in keys:
            outcome = (await client.cancel(key, reason="cancelled by ig3 tasks cancel")).outcome
            outcomes.append(outcome)
            click.echo(f"{key} {outcome}")

    _run_as_user(mesh, work)
    if "unknown" in outcomes:
        problem = f"account {mesh.account} has no such task: `ig3 tasks list` shows whose it is"
        raise TaskRefused(problem, code="task_not_found", status=404)


def _run_as_user(mesh: MeshSettings, work: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with await open_client(options_of(mesh)) as client:
            await work(client)

    run_quietly(mesh, main)


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise SettingsError(f"--deadline: {error}") from error


async def _select(bus: Bus, limit: int, *, running: bool, account: str | None) -> list[Standing]:
    found: list[Standing] = []
    page: list[Submitted] = []
    looked_at = 0
    async for submitted in latest(bus, account=None if account is None else token(account)):
        page.append(submitted)
        looked_at += 1
        if len(page) == min(limit, _AT_ONCE):
            found += await _standings(bus, page, running=running)
            page = []
        if len(found) >= limit or looked_at == _LOOK_BACK:
            break
    else:
        found += await _standings(bus, page, running=running)
    return found[:limit]


async def _standings(bus: Bus, page: list[Submitted], *, running: bool) -> list[Standing]:
    standings = await asyncio.gather(*(standing(bus, submitted) for submitted in page))
    return [one for one in standings if not (running and one.is_over)]


def _line(one: Standing) -> TaskLine:
    submitted = one.submitted
    return TaskLine(
        task=submitted.key.task,
        account=submitted.key.account,
        urgency=submitted.service_class,
        submitted_at=submitted.at,
        state=one.word,
        model=None if submitted.event is None else submitted.event.model,
        node=one.node,
        detail=one.detail,
        completion_tokens=one.tokens,
        duration_s=None if one.took is None else one.took.total_seconds(),
    )


def _print_tasks(found: list[Standing]) -> None:
    columns = (
        *(Column("TASK"), Column("SUBMITTED"), Column("ACCOUNT"), Column("URGENCY"), Column("MODEL"), Column("STATE")),
        *(Column("NODE"), Column("TOKENS", right=True), Column("TOOK", right=True), Column("WHY")),
    )
    rows = [
        (
            *(line.task, show_time(line.submitted_at), line.account, line.urgency, line.model or "(unreadable)"),
            (line.state, _STYLES.get(line.state, "")),
            *(line.node, "" if line.completion_tokens is None else str(line.completion_tokens)),
            *("" if one.took is None else show_duration(one.took), line.detail),
        )
        for one in found
        for line in [_line(one)]
    ]
    print_table(terminal(), columns, rows)
    if not found:
        terminal().err.print("No such task; `ig3 chat` makes one.", markup=False)


async def _print_so_far(bus: Bus, submitted: Submitted) -> TaskState:
    steps, text = await Reader(bus.source, submitted.key).catch_up(), AnswerText()
    text.take(steps)
    click.echo(str(text), nl=False)
    for call in text.tool_calls:
        click.echo(f"\n{call.name} {call.arguments}", nl=False)
    _print_vectors(text.vectors)
    return steps[-1].state if steps else TaskState()


async def _print_on(bus: Bus, submitted: Submitted) -> TaskState:
    await bus.follow()
    state = TaskState()
    async for steps in follow(bus.source, submitted.key):
        for step in steps:
            _print_step(step)
        state = steps[-1].state
    return state


def _print_step(step: Step) -> None:
    if isinstance(step.event, TaskChunk):
        click.echo(step.event.text, nl=False)
        for piece in step.event.tool_calls:
            begin = "" if piece.name is None else f"\n{piece.name} "
            click.echo(f"{begin}{piece.arguments}", nl=False)
        _print_vectors(() if step.event.vectors is None else step.event.vectors.parted())
    elif step.restarts:
        click.echo()
        terminal().err.print("the answer begins again: what stands above is void", style="yellow", markup=False)


def _print_vectors(vectors: Iterable[bytes]) -> None:
    """One line of JSON for each."""
    for vector in vectors:
        click.echo(msgspec.json.encode(numbers_of(vector)))


def _print_end(state: TaskState) -> None:
    click.echo()
    screen = terminal().err
    if state.outcome == "completed":
        usage = f", {state.usage.completion_tokens or state.tokens} tokens" if state.usage else ""
        screen.print(f"completed: {state.finish_reason}{usage}", style="dim", markup=False)
    elif state.outcome is None:
        reason = f": {state.reason}" if state.reason else ""
        screen.print(f"{state.phase}{reason}", style="cyan", markup=False)
    else:
        message = state.error.message if state.error else ""
        screen.print(f"{state.outcome}: {message}", style="red", markup=False)
        sys.exit(1)
