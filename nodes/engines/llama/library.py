"""The binding ``llama-cpp-python`` as a library of functions: how it is found, and where its complaints go."""

from __future__ import annotations

import atexit
import ctypes
import logging
import sys
from collections import deque
from functools import cache
from importlib import import_module
from io import TextIOWrapper
from typing import Any, Final

from nodes.errors import EngineUnavailable

_log = logging.getLogger(__name__)

_GPU: Final = 1
"""``GGML_BACKEND_DEVICE_TYPE_GPU``."""

_WARNING: Final = 2
_ERROR: Final = 3
_COMPLAINTS: Final = 4


def import_binding(module: str) -> Any:
    """Import a module of the binding.

    Raises:
        EngineUnavailable: it is not installed, or its shared library does not fit this machine.
    """
    try:
        imported = import_module(module)
    except (ImportError, OSError, RuntimeError) as e:
        raise EngineUnavailable(
            f"engine llama-cpp-python is not usable here ({e}): `make llamacpp` compiles and installs it"
        ) from e
    _close_its_files_at_exit()
    return imported


@cache
def _close_its_files_at_exit() -> None:
    """Close what the binding opens of the null device as soon as it is imported, and never closes."""
    module = sys.modules.get("llama_cpp._utils")
    for kept in () if module is None else vars(module).values():
        if isinstance(kept, TextIOWrapper):
            atexit.register(kept.close)


def has_gpu() -> bool:
    """Say whether this build of llama.cpp sees a GPU with a memory of its own.

    Not ``llama_supports_gpu_offload``: that says yes as soon as the build can use other machines (RPC).
    """
    find_device = import_binding("llama_cpp._ggml").libggml.ggml_backend_dev_by_type
    find_device.argtypes, find_device.restype = [ctypes.c_int], ctypes.c_void_p
    return find_device(_GPU) is not None


_callback: Any = None
"""The C library calls this for ever, so it must stay alive as long as the process."""


def quieten(api: Any) -> deque[str]:
    """Send llama.cpp's log to ours, warnings as debug; return where the latest errors are kept."""
    global _callback
    complaints: deque[str] = deque(maxlen=_COMPLAINTS)

    @api.llama_log_callback
    def take(level: int, text: bytes, _: object) -> None:
        line = text.decode("utf-8", "replace").strip()
        if level == _ERROR:
            complaints.append(line)
            _log.error("%s", line)
        elif level == _WARNING:
            _log.debug("%s", line)

    _callback = take
    api.llama_log_set(take, ctypes.c_void_p(0))
    return complaints
