"""What `make llamacpp` says while it compiles for minutes, with stand-ins for the compiler and for pip."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PIP = """#!/bin/sh
# Compiles two of three steps, waits for the test, and leaves a wheel, or fails.
echo "  [1/3] g++ one"
echo "  [2/3] g++ two"
while [ ! -e "$GO_ON" ]; do sleep 0.05; done
[ -z "$FAILS" ] || { echo "no such header" >&2; exit 1; }
while [ "$1" != "--wheel-dir" ]; do shift; done
touch "$2/llama_cpp_python-1-py3-none-any.whl"
"""


class Building(NamedTuple):
    """A run of the script in a checkout of its own."""

    folder: Path
    process: subprocess.Popen[str]

    def finish(self) -> tuple[str, str]:
        """See a line of progress, let the compiler end, and return all that is said after it."""
        output = self.process.stdout
        assert output is not None
        assert output.readline().startswith("Compiling llama-cpp-python 1, once")
        # The first step alone may be seen, and told, before it.
        progress = next(line for line in output if "2 of 3" in line)
        assert re.fullmatch(r"  compiling, \d:\d\d, 2 of 3 steps\n", progress)
        (self.folder / "go-on").touch()
        return self.process.communicate(timeout=30)


@pytest.fixture
def building(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Building]:
    for folder in ("scripts", "requirements", "venv/bin"):
        (tmp_path / folder).mkdir(parents=True)
    script = shutil.copy2(ROOT / "scripts/build-llamacpp", tmp_path / "scripts")
    (tmp_path / "requirements/llamacpp.lock").write_text("llama-cpp-python==1 \\\n")
    for name, text in (("pip", PIP), ("uv", "#!/bin/sh\n")):
        tool = tmp_path / "venv/bin" / name
        tool.write_text(text)
        tool.chmod(0o755)
    variables = {
        **{"XDG_CACHE_HOME": str(tmp_path / "cache"), "IG3_TELL_S": "0"},
        **{"GO_ON": str(tmp_path / "go-on"), "FAILS": getattr(request, "param", "")},
    }
    with subprocess.Popen(
        [script, tmp_path / "venv"],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield Building(tmp_path, process)


def test_it_says_how_far_it_is_and_how_long_it_took(building: Building) -> None:
    out, _ = building.finish()
    assert building.process.returncode == 0
    assert re.fullmatch(r"Compiled llama-cpp-python in \d:\d\d\.", out.splitlines()[-1])


@pytest.mark.parametrize("building", ["yes"], indirect=True)
def test_a_compiler_that_fails_shows_its_last_words_and_fails(building: Building) -> None:
    _, err = building.finish()
    assert building.process.returncode == 1
    assert "no such header" in err
    assert "llama-cpp-python did not compile" in err
