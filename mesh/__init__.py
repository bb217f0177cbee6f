"""Everything that touches the bus: the broker, connections, publishing, consuming, the client, and the command `ig3`.

For applications: ``mesh.connect`` and ``mesh.connect_sync`` (see ``mesh.client.client``), with ``Message`` for
conversations, ``Tools`` and ``OutputFormat`` for what answers must be, and the errors they raise. They are loaded when
first used, so that `ig3 --help` stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mesh.client.client import connect
    from mesh.client.sync import connect_sync
    from mesh.errors import BusUnavailable, MeshError, TaskCancelledError, TaskFailedError, TaskRefused
    from streams.tasks.chat import Message, ToolCall
    from streams.tasks.tools import Function, OutputFormat, Tools

__all__ = [
    "BusUnavailable",
    "Function",
    "MeshError",
    "Message",
    "OutputFormat",
    "TaskCancelledError",
    "TaskFailedError",
    "TaskRefused",
    "ToolCall",
    "Tools",
    "connect",
    "connect_sync",
]

_HOMES: Final = {
    "connect": "mesh.client.client",
    "connect_sync": "mesh.client.sync",
    "Function": "streams.tasks.tools",
    "Message": "streams.tasks.chat",
    "OutputFormat": "streams.tasks.tools",
    "ToolCall": "streams.tasks.chat",
    "Tools": "streams.tasks.tools",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'mesh' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "mesh.errors")), name)
