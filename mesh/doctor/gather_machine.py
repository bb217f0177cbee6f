"""What this machine shows to everybody on it: command lines, variables, and which nats-server is installed."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mesh.broker.files import find_binary
from mesh.doctor.facts import ProcessFact
from mesh.errors import BrokerFailed
from mesh.redaction import holds_secret, holds_secret_of_ours

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mesh.config.fields import SettingField

_VERSION: Final = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")
_OUR_PROGRAMS: Final = ("ig3", "nats-server", "mesh.cli")
_PATIENCE_S: Final = 10


def telling_processes(proc: Path = Path("/proc")) -> tuple[ProcessFact, ...]:
    """Processes whose command line shows a secret of a mesh; empty where the system does not say."""
    found: list[ProcessFact] = []
    for folder in proc.glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue
        is_ours = any(program in line for program in _OUR_PROGRAMS)
        if holds_secret_of_ours(line) or (is_ours and holds_secret(line)):
            found.append(ProcessFact(pid=int(folder.name), name=Path(line.partition(" ")[0]).name))
    return tuple(sorted(found, key=lambda process: process.pid))


def telling_variables(env: Mapping[str, str], fields: Iterable[SettingField]) -> tuple[str, ...]:
    """Variables for this project that hold a secret. What nats-server reads is not looked at: that is the way to it."""
    secret = {field.variable for field in fields if field.secret}
    named = (name for name, text in env.items() if text and (name in secret or holds_secret(text)))
    return tuple(sorted(name for name in named if name.startswith("IG3_") and not name.startswith("IG3_BROKER_")))


def server_version() -> tuple[int, ...] | None:
    """The version of the nats-server that this installation starts; None if there is none."""
    try:
        binary = find_binary()
    except BrokerFailed:
        return None
    try:
        said = subprocess.run(  # noqa: S603 - our own binary, no argument from outside
            [str(binary), "--version"], capture_output=True, text=True, check=False, timeout=_PATIENCE_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(said.stdout)
    return None if found is None else tuple(int(part) for part in found.groups())


def is_running(pid: int) -> bool:
    """Whether a process is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
