"""Tables for people, with colours on a terminal, and aligned plain lines for everything else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mesh.processes.terminal import Terminal

Cell = str | tuple[str, str]
"""What stands in a cell, and perhaps its colour."""

_STEP = 1024


class Column(NamedTuple):
    """One column of a table."""

    title: str
    right: bool = False


def print_table(screen: Terminal, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
    """Print rows under titles. Nothing is left out: on a terminal, what is too wide goes on in the next line."""
    if screen.out.is_terminal:
        _print_coloured(screen, columns, rows)
    else:
        _print_plain(screen, columns, rows)


def _print_coloured(screen: Terminal, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else Text(cell[0], style=cell[1]) for cell in row))
    screen.out.print(table, soft_wrap=False)


def _print_plain(screen: Terminal, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
    # A line is as long as it must be: whoever reads it by a program cuts it better.
    texts = [[column.title for column in columns], *([_text(cell) for cell in row] for row in rows)]
    widths = [max(map(len, cells)) for cells in zip(*texts, strict=True)]
    for row in texts:
        padded = (_pad(*item) for item in zip(row, widths, columns, strict=True))
        screen.out.print("  ".join(padded).rstrip(), markup=False)


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell[0]


def _pad(text: str, width: int, column: Column) -> str:
    return text.rjust(width) if column.right else text.ljust(width)


def show_size(count: int) -> str:
    """Write a number of bytes for people."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < _STEP:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= _STEP
    return f"{size:.1f} GiB"


def show_time(at: datetime | None) -> str:
    """Write a time as this machine's clock shows it; today's without the date."""
    if at is None:
        return ""
    local = at.astimezone()
    is_today = local.date() == datetime.now(UTC).astimezone().date()
    return local.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M:%S")


def show_duration(duration: timedelta) -> str:
    """Write how long something took, in the unit that fits."""
    seconds = duration.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
