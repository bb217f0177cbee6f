"""docs/architecture.md is a map of the tree: each folder of modules is on it, and nothing that is not there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text()
NAMED = {path.rstrip("/") for path in re.findall(r"`((?:streams|mesh|nodes|gateway)/[\w/.]+)`", PAGE)}
GENERATED = {"gateway/rpc/wire"}


def test_each_folder_of_modules_is_on_the_map() -> None:
    packages = ("streams", "mesh", "nodes", "gateway")
    folders = {str(init.parent.relative_to(ROOT)) for name in packages for init in (ROOT / name).rglob("__init__.py")}
    assert folders - NAMED == {*packages, *GENERATED}


def test_the_map_names_nothing_that_is_not_there() -> None:
    assert [path for path in sorted(NAMED) if not (ROOT / path).exists()] == []
