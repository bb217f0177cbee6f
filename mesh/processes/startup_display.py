"""What ``ig3 up`` shows while processes start, and when one of them ends later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

if TYPE_CHECKING:
    from mesh.processes.child import ChildChange
    from mesh.processes.terminal import Terminal


class StartupDisplay:
    """One line per process with a spinner on a terminal; elsewhere one plain line per change."""

    def __init__(self, screen: Terminal) -> None:
        """Prepare; lines come with ``show``."""
        self._screen: Final = screen
        self._bars: Progress | None = None
        self._lines: dict[str, TaskID] = {}
        self._said: dict[str, str] = {}

    def open(self) -> None:
        """Begin to draw; without a terminal there is nothing to draw."""
        if not self._screen.err.is_terminal:
            return
        rest = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        columns = (
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.fields[name]}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=12, table_column=Column(min_width=12)),
            TimeElapsedColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.description}", markup=False, table_column=rest),
        )
        self._bars = Progress(*columns, console=self._screen.err, expand=True)
        self._bars.start()

    def close(self) -> None:
        """Leave the lines as they are; later changes are written below."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def show(self, change: ChildChange) -> None:
        """Show what happened to a process."""
        if self._bars is None:
            self._write(change)
        else:
            self._draw(self._bars, change)

    def _draw(self, bars: Progress, change: ChildChange) -> None:
        if change.name not in self._lines:
            self._lines[change.name] = bars.add_task("", total=None, name=change.name)
        line = self._lines[change.name]
        ready = change.state == "ready"
        bars.update(
            line,
            description=change.text or change.state,
            total=1.0 if ready or change.fraction is not None else None,
            completed=1.0 if ready else change.fraction or 0.0,
        )

    def _write(self, change: ChildChange) -> None:
        """Write a change once, without the many steps of a bar."""
        text = f"{change.state}: {change.text}" if change.text else change.state
        if change.state in {"stopping", "stopped"} and not change.text:
            return
        if self._said.get(change.name) == text:
            return
        self._said[change.name] = text
        style = "yellow" if change.state == "restarting" else ""
        self._screen.err.print(f"{change.name:<12} {text}", style=style, markup=False)
