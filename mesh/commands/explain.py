"""``ig3 explain``: why a task went where it went, how fast it was, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from mesh.config.options import only, settings_options
from mesh.config.settings import MeshSettings
from mesh.inspection.operator_bus import run_on_bus
from mesh.inspection.task_records import LAST, ended, history, look_up
from mesh.inspection.task_story import tell
from mesh.processes.terminal import terminal

if TYPE_CHECKING:
    from mesh.bus.service_bus import Bus
    from mesh.inspection.task_records import Submitted
    from mesh.inspection.task_story import Line
    from mesh.processes.terminal import Terminal

_EXAMPLES: Final = """\b
Examples:
  ig3 explain last         # the latest task; `last` may be left out
  ig3 explain 0199a5...    # `ig3 tasks` and the header x-ig3-task have the id
"""


@click.command(epilog=_EXAMPLES)
@click.argument("task", metavar="[[ACCOUNT/]ID|last]", default=LAST)
@settings_options(mesh=only(MeshSettings, "nats", "data_dir"))
def explain(mesh: MeshSettings, task: str) -> None:
    """Show why a task went where it went.

    Tells the story of a task from what is stored: when it was submitted, how long it waited and why, which nodes were
    considered with their scores or the reason why not, the time to its first token, its speed, and its end.
    """

    async def work(bus: Bus) -> None:
        submitted = await look_up(bus, task)
        story = tell(submitted, await history(bus, submitted.key), await ended(bus, submitted.key))
        _print(terminal(), submitted, story)

    run_on_bus(mesh, "explain", work)


def _print(screen: Terminal, submitted: Submitted, story: list[Line]) -> None:
    model = "" if submitted.event is None else f", model {submitted.event.model}"
    screen.out.print(f"Task {submitted.key.task}", style="bold", markup=False)
    at = submitted.at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    screen.out.print(f"account {submitted.key.account}{model}, {at}", style="dim", markup=False)
    for line in story:
        begin = " " * 12 if line.after is None else f"{f'+{line.after.total_seconds():.3f} s':>11} "
        screen.out.print(f"{begin} {line.text}", style=line.style, markup=False)
