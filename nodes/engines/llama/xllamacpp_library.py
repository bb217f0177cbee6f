"""The binding ``xllamacpp``: how it is found, and llama-server's engine opened where nobody else can reach it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nodes.errors import EngineUnavailable


def import_binding() -> Any:
    """Import it.

    Raises:
        EngineUnavailable: it is not installed.
    """
    try:
        return import_module("xllamacpp")
    except ImportError as e:
        raise EngineUnavailable(
            f"engine xllamacpp is not installed ({e}): run `make install`, or pip install 'ig3-edge-network[edge]'"
        ) from e


def has_gpu(binding: Any) -> bool:
    """Say whether this build of llama.cpp sees a GPU with a memory of its own."""
    gpu = binding.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_GPU
    return any(device["type"] == gpu for device in binding.get_device_info())


def open_server(binding: Any, params: Any, path: Path) -> Any:
    """Load the model at ``path``.

    Raises:
        EngineUnavailable: llama.cpp cannot.
    """
    # The binding always opens llama-server's HTTP interface too: no password, any origin. It gets a socket file in
    # a folder of our own that is gone before this function returns, so nobody can ever connect.
    with TemporaryDirectory(prefix="ig3-") as folder:
        params.model.path = str(path)
        params.hostnames = [str(Path(folder) / "closed.sock")]
        try:
            return binding.Server(params)
        except (RuntimeError, ValueError, MemoryError) as e:
            raise EngineUnavailable(f"llama.cpp could not load {path}; its own message above says why ({e})") from e
