"""What a command writes for people: colours and bars on a terminal, plain lines everywhere else.

Colours are off with ``--no-color``, with the variable ``NO_COLOR``, and where the output is no terminal.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from rich.console import Console


class Terminal:
    """Standard output and standard error of one command."""

    def __init__(self, *, colour: bool = True) -> None:
        """Write in colour where that is possible, unless ``colour`` is False."""
        from rich.console import Console

        system = "auto" if colour and not os.environ.get("NO_COLOR") else None
        # Without emoji=False rich makes a picture of the middle of `did:key:z6Mk...`, markup or not.
        self.out: Final[Console] = Console(color_system=system, highlight=False, soft_wrap=True, emoji=False)
        self.err: Final[Console] = Console(
            color_system=system, highlight=False, soft_wrap=True, emoji=False, stderr=True
        )

    @contextlib.contextmanager
    def progress(self, description: str) -> Generator[Callable[[float], None]]:
        """Show a bar on stderr while something takes long; call what it yields with the fraction done, 0 to 1.

        Where stderr is no terminal, one plain line says that it began.
        """
        if not self.err.is_terminal:
            self.err.print(f"{description} ...", markup=False)
            yield lambda _fraction: None
            return
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.err, transient=True) as bars:
            bar = bars.add_task(description, total=1.0)
            yield lambda fraction: bars.update(bar, completed=fraction)


class Invocation:
    """What the options before a command's name said: kept in click's context."""

    def __init__(self, *, config: Path | None = None, colour: bool = True) -> None:
        """Keep where the settings file is, and whether colours are wanted."""
        self.config = config
        self.colour = colour


def invocation() -> Invocation:
    """Return what was said before the command's name; the defaults outside of ``ig3``."""
    context = click.get_current_context(silent=True)
    found = context.find_object(Invocation) if context is not None else None
    return found or Invocation()


def terminal() -> Terminal:
    """Open the terminal of the running command."""
    return Terminal(colour=invocation().colour)
