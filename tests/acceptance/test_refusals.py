"""What cannot work is refused with one line that says why and what to do, and leaves nothing running.

A second mesh on the same folder, and one beside it in a folder of its own: tests/integration/test_up.py.
"""

import asyncio
import errno
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.running_mesh import NONE, Place, RunningMesh, running_parts

SYNTHETIC_UP = ("up", "--engine", "synthetic")


@pytest.fixture
def shell(tmp_path: Path) -> Place:
    return Place(folder=tmp_path)


def refused(place: Place, *arguments: str, status: int = 1, variables: Mapping[str, str] = NONE) -> str:
    """Run `ig3`, which must fail; returns its last line."""
    done = place.ig3(*arguments, **variables)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def processes_of(place: Place) -> list[str]:
    """Everything that runs with this mesh's folder in its environment."""
    mark = f"IG3_DATA_DIR={place.data_dir}".encode()
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found


def test_a_port_for_http_that_is_taken(synthetic: RunningMesh, shell: Place) -> None:
    told = refused(shell, *SYNTHETIC_UP, "--http", synthetic.place.http)
    assert told.startswith(f"ig3: gateway did not start: {synthetic.place.http} is taken by ")
    assert "choose another address with --http" in told
    assert processes_of(shell) == []


def test_a_port_for_nats_that_is_taken(synthetic: RunningMesh, shell: Place) -> None:
    told = refused(shell, *SYNTHETIC_UP, "--nats", synthetic.place.nats)
    assert told.startswith(f"ig3: broker did not start: {synthetic.place.nats} is in use by nats-server (pid ")
    assert "choose another port with --nats" in told
    assert processes_of(shell) == []


def test_a_second_broker_on_the_same_folder(synthetic: RunningMesh) -> None:
    told = refused(synthetic.place, "broker", "--nats", "127.0.0.1:0")
    assert told.startswith(f"ig3: the data folder {synthetic.place.data_dir} is in use by the broker with pid ")


@pytest.mark.parametrize("part", ["dispatcher", "gateway", "identity", "streams check"])
def test_a_part_without_the_credentials_of_a_mesh(shell: Place, part: str) -> None:
    assert "does not exist: start the broker once on this data folder" in refused(shell, *part.split())


async def test_a_part_that_the_bus_does_not_let_in(synthetic: RunningMesh, tmp_path: Path) -> None:
    """Both keep trying for some seconds, so they do it at the same time."""
    with running_parts(tmp_path) as parts:
        place = parts.place
    away, locked = await asyncio.gather(
        asyncio.to_thread(refused, place, "dispatcher"),
        asyncio.to_thread(refused, place, "dispatcher", "--nats", synthetic.place.nats),
    )
    assert away.startswith(f"ig3: cannot reach the bus at nats://{place.nats}: ")
    assert os.strerror(errno.ECONNREFUSED) in away
    assert locked.startswith(f"ig3: cannot reach the bus at nats://{synthetic.place.nats}: ")
    assert "Authorization Violation" in locked


@pytest.mark.parametrize(
    ("arguments", "variables", "told"),
    [
        (("--http", "x"), {}, "'x' is not an address: write HOST:PORT"),
        (("--nodes", "many"), {}, "nodes = 'many' (from flag --nodes) cannot be used: write a whole number"),
        (("--model", "/no/such.gguf"), {"IG3_DRAIN": "1 day"}, "drain = '1 day' (from IG3_DRAIN) cannot be used"),
        ((), {"IG3_SLOTZ": "3"}, "unknown setting IG3_SLOTZ in the environment: did you mean IG3_SLOTS?"),
        ((), {"IG3_CONFIG": "nowhere.toml"}, "cannot read the settings file nowhere.toml"),
    ],
)
def test_a_setting_that_cannot_be_used(
    shell: Place, arguments: tuple[str, ...], variables: dict[str, str], told: str
) -> None:
    assert told in refused(shell, "up", *arguments, variables=variables)
    assert not shell.data_dir.exists()


def test_a_settings_file_with_a_mistake(shell: Place) -> None:
    shell.folder.joinpath("ig3.toml").write_text("[gateway]\nhtpp = '127.0.0.1:0'\n")
    assert refused(shell, "up").startswith("ig3: unknown setting htpp in ig3.toml [gateway]: did you mean http?")
    shell.folder.joinpath("ig3.toml").write_text("[gateway\n")
    assert "is not TOML" in refused(shell, "up")


def test_an_option_that_does_not_exist_is_a_usage_error(shell: Place) -> None:
    assert "No such option '--htp'" in refused(shell, "up", "--htp", "x", status=2)
    assert "'gpt' is not one of" in refused(shell, "up", "--engine", "gpt", status=2)
