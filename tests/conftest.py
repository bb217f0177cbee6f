"""Fixtures that every suite may use."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from mesh.processes.logs import OURS
from tests import patient_links
from tests.nats_server import NatsServer

if "IG3_PEAQ_METADATA" in os.environ:
    # A file for the tests (see tests/peaq_metadata.py). To ig3 a name like this would be a setting that nobody knows.
    os.environ["PEAQ_METADATA"] = os.environ.pop("IG3_PEAQ_METADATA")


# A busy machine is no failure, and the same code has the same result each time: who changed nothing breaks nothing.
# Rare examples are looked for with --hypothesis-profile=search, which tries others each time, and more; one that fails
# prints the blob that repeats it.
settings.register_profile(
    "ig3", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", settings.get_profile("ig3"), derandomize=False, max_examples=1000)
settings.load_profile("ig3")


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """Levels as they were: a command that runs in this process says how much it logs, and others want to read it."""
    levels = {name: logging.getLogger(name).level for name in (None, *OURS)}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def links() -> Iterator[None]:
    """What connects in a test's own process waits for its broker while this machine is slow."""
    with pytest.MonkeyPatch.context() as patch:
        patient_links.be_patient(patch)
        yield


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
