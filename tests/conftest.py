"""Fixtures that every suite may use."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.processes.logs import OURS
from tests.nats_server import NatsServer

if "IG3_PEAQ_METADATA" in os.environ:
    # A file for the tests (see tests/peaq_metadata.py). To ig3 a name like this would be a setting that nobody knows.
    os.environ["PEAQ_METADATA"] = os.environ.pop("IG3_PEAQ_METADATA")


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """Levels as they were: a command that runs in this process says how much it logs, and others want to read it."""
    levels = {name: logging.getLogger(name).level for name in (None, *OURS)}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A fresh real server with JetStream, for one test."""
    with NatsServer(tmp_path / "nats") as server:
        yield server


@pytest.fixture(scope="module")
def module_nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A real server with JetStream that the tests of one module share: each uses subjects of its own."""
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server
