"""What the engines take from the machine they run on."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT: Final = Path("/")


def compute_threads(wanted: int | None) -> int:
    """Return ``wanted``, or one less than the cores this process may use.

    A core is left to the event loop and the host: compute threads that wait actively for a preempted one collapse to
    a tenth of their speed.
    """
    return wanted or max(1, len(os.sched_getaffinity(0)) - 1)


def resident_bytes() -> int:
    """Return this process's resident memory, mapped pages of the model file included."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def mapped_bytes() -> int:
    """Return what this process holds of files it has mapped: the kernel counts that among what may be dropped."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[2])
    return pages * resource.getpagesize()


def available_bytes(root: Path = _ROOT) -> int | None:
    """Return the memory that can be used without swapping, page cache that may be dropped included; None if not told.

    That is what the machine has, or what a limit on this process's control groups (of either version) leaves, if that
    is less: inside a container /proc/meminfo speaks of the whole machine.
    """
    return min((*_machine_has(root), *_limits_leave(root)), default=None)


def _machine_has(root: Path) -> Iterator[int]:
    for line in (root / "proc/meminfo").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            yield int(value.split()[0]) * 1024


class _Version(NamedTuple):
    """What a version of control groups calls the files of memory, and the page cache in ``memory.stat``."""

    limit: str
    usage: str
    page_cache: frozenset[str]


_V1: Final = _Version(
    "memory.limit_in_bytes", "memory.usage_in_bytes", frozenset({"total_inactive_file", "total_active_file"})
)
_V2: Final = _Version("memory.max", "memory.current", frozenset({"inactive_file", "active_file"}))


def _limits_leave(root: Path) -> Iterator[int]:
    """Yield what each limit on this process leaves; a limit of an outer group holds for the inner ones too."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux, or one without control groups
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            version, mount = _V2, root / "sys/fs/cgroup"
        elif "memory" in controllers.split(","):
            version, mount = _V1, root / "sys/fs/cgroup/memory"
        else:
            continue
        group = mount / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(mount):
                yield from _limit_leaves(folder, version)


def _limit_leaves(folder: Path, version: _Version) -> Iterator[int]:
    try:
        limit = (folder / version.limit).read_text(encoding="ascii").strip()
        usage = int((folder / version.usage).read_text(encoding="ascii"))
        stat = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:  # the root has no limit, and a container does not see the groups around its own
        return
    if limit.isdecimal():
        cached = sum(int(value) for name, value in map(str.split, stat) if name in version.page_cache)
        yield max(0, int(limit) - usage + cached)
