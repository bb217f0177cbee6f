"""``ig3 events``: what is stored, as one JSON object per line, as it happens or from any point in the past."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec
from msgspec import Struct

from mesh.commands.verify import verify_events
from mesh.config.options import only, settings_options
from mesh.config.quantities import parse_duration
from mesh.config.settings import MeshSettings
from mesh.errors import SettingsError
from mesh.history.ordered import FROM_FIRST, FROM_NOW, OrderedReader, Start
from mesh.inspection.operator_bus import run_on_bus
from mesh.inspection.stored_event import event_line
from mesh.sites.plan import streams_here
from streams.events import TaskChunk
from streams.sites import subject_at_home
from streams.tasks.task_id import bucket_of, parse_task_id
from streams.tokens import token
from streams.topology import StreamSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from mesh.bus.service_bus import Bus
    from mesh.history.stream_facts import Recorded
    from mesh.inspection.stored_event import EventLine

_PLACE: Final = only(MeshSettings, "nats", "data_dir")
_WAIT_S: Final = 5.0
_EXAMPLES: Final = """\b
Examples:
  ig3 events tail                                  # everything, as it happens
  ig3 events tail --account local --no-chunks      # the life of tasks, without their text
  ig3 events replay ENDED --since 1h               # how the tasks of the last hour ended
  ig3 events replay --task 0199a5...               # all that is stored about one task
  ig3 events replay TASKS --after 1000 --follow    # from a sequence, and on
  ig3 events replay SITE_berlin_ENDED              # how the tasks of an edge site ended
  ig3 events verify                                # is all that is believed what the log says?
"""


class Choice(Struct, frozen=True, kw_only=True):
    """Which events to show."""

    streams: tuple[str, ...] = ()
    account: str | None = None
    task: str | None = None
    chunks: bool = True


def _choosing(command: Callable[..., None]) -> Callable[..., None]:
    options = (
        click.argument("streams", nargs=-1, metavar="[STREAM]..."),
        click.option("--account", metavar="ACCOUNT", help="Only tasks of this account."),
        click.option("--task", metavar="ID", help="Only this task."),
        click.option("--chunks/--no-chunks", default=True, help="Whether to show the pieces of answers."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group(epilog=_EXAMPLES)
def events() -> None:
    """Follow the events of the mesh, or replay stored ones."""


events.add_command(verify_events)


@events.command()
@_choosing
@settings_options(mesh=_PLACE)
def tail(mesh: MeshSettings, **chosen: Any) -> None:
    """Print what is stored from now on, until Ctrl-C.

    One JSON object per line. STREAM is TASKS, RESULTS_0, ENDED, MODELS, DEVICES or BILLING; without one, all are
    followed. Nothing is left out when the connection breaks for a while.
    """
    choice = Choice(**chosen)
    run_on_bus(mesh, "events", lambda bus: _follow_all(bus, _readings(mesh, choice), choice, FROM_NOW))


@events.command()
@_choosing
@click.option("--after", type=click.IntRange(min=0), metavar="SEQUENCE", help="Begin behind this stream sequence.")
@click.option("--since", metavar="WHEN", help="Begin at a time: 10m ago, or 2026-11-23T12:00:00Z.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Print at most N events.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what is stored from then on, until Ctrl-C.")
@settings_options(mesh=_PLACE)
def replay(
    mesh: MeshSettings, after: int | None, since: str | None, limit: int | None, follow: bool, **chosen: Any
) -> None:
    """Print what is stored, from the first event or from a point.

    One JSON object per line. STREAM is TASKS, RESULTS_0, ENDED, MODELS, DEVICES or BILLING; without one, all are read,
    one after the other. With --follow they are mixed as they arrive.
    """
    if follow and limit is not None:
        raise SettingsError("--limit ends a replay, --follow never does: give one of them")
    choice = Choice(**chosen)
    start = _start(after, since)
    readings = _readings(mesh, choice)

    def work(bus: Bus) -> Coroutine[Any, Any, None]:
        if follow:
            return _follow_all(bus, readings, choice, start)
        return _replay_all(bus, readings, choice, start, limit)

    run_on_bus(mesh, "events", work)


def _start(after: int | None, since: str | None) -> Start:
    if after is not None and since is not None:
        raise SettingsError("--after and --since both say where to begin: give one of them")
    if since is not None:
        return Start(after_sequence=None, since=_when(since))
    return FROM_FIRST if after is None else Start(after_sequence=after)


def _when(text: str) -> datetime:
    try:
        return datetime.now(UTC) - parse_duration(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError as error:
        raise SettingsError(f"--since {text!r} is no time: write 10m, 2h or 2026-11-23T12:00:00Z") from error


class _Reading(Struct, frozen=True):
    """One stream to read, and which of its subjects."""

    spec: StreamSpec
    filters: tuple[str, ...]


def _readings(mesh: MeshSettings, choice: Choice) -> list[_Reading]:
    specs = {spec.name: spec for spec in streams_here(mesh)}
    unknown = [name for name in choice.streams if name not in specs]
    if unknown:
        raise SettingsError(f"there is no stream {unknown[0]}: there are {', '.join(specs)}")
    # What is only a state is shown where it is asked for by name.
    events = [spec for spec in specs.values() if not spec.newest_only]
    wanted = [specs[name] for name in choice.streams] or events
    account = "*" if choice.account is None else token(choice.account)
    task = "*" if choice.task is None else parse_task_id(choice.task)
    if (account, task) == ("*", "*"):
        return [_Reading(spec, ()) for spec in wanted]
    readings = [_Reading(spec, _filters(spec, account, task)) for spec in wanted]
    return [reading for reading in readings if reading.filters]


def _filters(spec: StreamSpec, account: str, task: str) -> tuple[str, ...]:
    """Narrow the subjects of a stream to an account and a task; empty where it holds neither."""
    shapes = {"tasks": (3, 4), "results": (2, 3), "ended": (2, 3)}
    found: list[str] = []
    for subject in spec.held:
        tokens = subject_at_home(subject).split(".")
        places = shapes.get(tokens[0])
        if places is None:
            continue
        bucket_at = places[0] - 1
        if task != "*" and tokens[bucket_at] not in {"*", bucket_of(parse_task_id(task))}:
            continue
        tokens[places[0]], tokens[places[1]] = account, task
        found.append(subject.removesuffix(subject_at_home(subject)) + ".".join(tokens))
    return tuple(found)


def _reader(bus: Bus, reading: _Reading, start: Start) -> OrderedReader:
    return OrderedReader(bus.links[reading.spec.account], reading.spec.name, start=start, filters=reading.filters)


async def _replay_all(bus: Bus, readings: list[_Reading], choice: Choice, start: Start, limit: int | None) -> None:
    printed = 0
    for reading in readings:
        async with _reader(bus, reading, start) as reader:
            while not reader.is_caught_up:
                for recorded in await reader.take(wait_s=_WAIT_S):
                    printed += _print(reading, recorded, choice)
                    if printed == limit:
                        return


async def _follow_all(bus: Bus, readings: list[_Reading], choice: Choice, start: Start) -> None:
    await asyncio.gather(*(_follow(bus, reading, choice, start) for reading in readings))


async def _follow(bus: Bus, reading: _Reading, choice: Choice, start: Start) -> None:
    async with _reader(bus, reading, start) as reader:
        while True:
            for recorded in await reader.take(wait_s=_WAIT_S):
                _print(reading, recorded, choice)


def _print(reading: _Reading, recorded: Recorded, choice: Choice) -> int:
    line = event_line(reading.spec.name, recorded)
    if not choice.chunks and _is_chunk(line):
        return 0
    click.echo(msgspec.json.encode(line))
    return 1


def _is_chunk(line: EventLine) -> bool:
    return isinstance(line.event, TaskChunk)
