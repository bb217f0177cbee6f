"""The few functions of llama.cpp's RPC backend that the Python binding does not wrap.

They are looked up by ``libllama``'s own handle: the package carries every library twice, under two names, and a copy
that is loaded by path has a registry of its own that the engine never sees.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

from nodes.engines.llama.library import import_binding
from nodes.errors import EngineUnavailable

RPC_PORT: Final = 50052
"""Where an RPC server listens in its own network; where a leader's engine dials them it counts up from here."""

_CPU: Final = 0
_GPU: Final = 1


def import_rpc() -> None:
    """Load llama.cpp, and find out whether it has RPC.

    Raises:
        EngineUnavailable: if it is not installed, or this build has none.
    """
    _llama()


def serve_rpc(port: int, threads: int) -> None:
    """Serve this machine's GPU, or its processor where it has none, on loopback; one client after the other.

    Returns only if it cannot listen.

    Raises:
        EngineUnavailable: if this build of llama.cpp has no RPC.
    """
    llama = _llama()
    device = llama.ggml_backend_dev_by_type(_GPU) or llama.ggml_backend_dev_by_type(_CPU)
    devices = (ctypes.c_void_p * 1)(device)
    llama.ggml_backend_rpc_start_server(f"127.0.0.1:{port}".encode(), None, threads, 1, devices)


def add_rpc_server(port: int) -> None:
    """Make the server behind a loopback port one more device of this process, for every model loaded from now on.

    A server that does not answer, or goes away later, aborts the whole process.

    Raises:
        EngineUnavailable: if this build has no RPC, or the server has no device.
    """
    llama = _llama()
    registered = llama.ggml_backend_rpc_add_server(f"127.0.0.1:{port}".encode())
    if registered is None:
        raise EngineUnavailable("a member of the group offers no device")
    llama.ggml_backend_register(registered)


def _llama() -> Any:
    library = import_binding("llama_cpp.llama_cpp")._lib
    try:
        library.ggml_backend_rpc_start_server.argtypes = [
            *(ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p)
        ]
        library.ggml_backend_rpc_start_server.restype = None
        library.ggml_backend_rpc_add_server.argtypes = [ctypes.c_char_p]
        library.ggml_backend_rpc_add_server.restype = ctypes.c_void_p
    except AttributeError as error:
        raise EngineUnavailable("this build of llama.cpp has no RPC: `make llamacpp` compiles one that has") from error
    library.ggml_backend_register.argtypes = [ctypes.c_void_p]
    library.ggml_backend_register.restype = None
    library.ggml_backend_dev_by_type.argtypes = [ctypes.c_int]
    library.ggml_backend_dev_by_type.restype = ctypes.c_void_p
    return library
