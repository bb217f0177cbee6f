"""The rules of the house that no linter knows: sizes, module names, and golden files that stay as they were written."""

import ast
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = [ROOT / name for name in ("streams", "mesh", "nodes", "gateway", "benchmarks", "tests")]
FILE_LINES = 400
FUNCTION_LINES = 60
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "base", "misc"}


def modules() -> list[Path]:
    return sorted(path for folder in CODE for path in folder.rglob("*.py"))


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def too_long_functions(source: str) -> list[str]:
    sized = ((node.name, (node.end_lineno or node.lineno) - node.lineno + 1) for node in functions(ast.parse(source)))
    return [f"{name}: {lines} lines" for name, lines in sized if lines > FUNCTION_LINES]


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def edited_since_first_written(repository: Path, under: str) -> set[str]:
    """Files that a commit, the index or the work tree changed, moved or removed after they were first committed."""
    rewrites = ("--diff-filter=MDT", "--no-renames", "--name-only")
    committed = git(repository, "log", "-m", "--format=", *rewrites, "--", under)
    pending = git(repository, "diff", *rewrites, "HEAD", "--", under)
    return {*committed.split(), *pending.split()}


def test_there_is_code_to_check() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in modules()} >= {"streams", "mesh", "nodes", "gateway", "tests"}


def test_no_file_is_longer_than_the_ceiling() -> None:
    sized = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules()}
    assert {name: lines for name, lines in sized.items() if lines > FILE_LINES} == {}


def test_no_function_is_longer_than_the_ceiling() -> None:
    found = {str(path.relative_to(ROOT)): too_long_functions(path.read_text()) for path in modules()}
    assert {name: long for name, long in found.items() if long} == {}


def test_a_function_over_the_ceiling_is_found() -> None:
    assert too_long_functions("async def endless():\n" + "    pass\n" * FUNCTION_LINES) == ["endless: 61 lines"]
    assert too_long_functions("def just_so():\n" + "    pass\n" * (FUNCTION_LINES - 1)) == []


def test_every_module_is_named_after_what_it_holds() -> None:
    named = {
        str(path.relative_to(ROOT)) for path in modules() if {path.stem, path.parent.name} & NAMES_THAT_SAY_NOTHING
    }
    assert named == set()


def test_every_test_lies_in_a_suite_that_runs() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    suites = {ROOT / suite for suite in options["testpaths"]}
    assert [path for path in (ROOT / "tests").rglob("test_*.py") if not suites & set(path.parents)] == []


def test_golden_files_are_as_they_were_first_committed() -> None:
    assert edited_since_first_written(ROOT, "tests/golden") == set()


@pytest.mark.parametrize("committed", [True, False], ids=["committed", "in the work tree"])
@pytest.mark.parametrize("rewrite", ["edit", "remove", "move"])
def test_a_rewritten_golden_file_is_found(tmp_path: Path, rewrite: str, committed: bool) -> None:
    golden = tmp_path / "tests/golden/event.v1.msgpack"
    golden.parent.mkdir(parents=True)
    golden.write_bytes(b"\x80")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    golden.with_name("event.v2.msgpack").write_bytes(b"\x81")
    git(tmp_path, "add", ".")
    assert edited_since_first_written(tmp_path, "tests/golden") == set()

    match rewrite:
        case "edit":
            golden.write_bytes(b"\x90")
        case "remove":
            golden.unlink()
        case _:
            golden.rename(golden.with_name("event.v0.msgpack"))
    if committed:
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "--quiet", "-m", "rewritten")

    assert edited_since_first_written(tmp_path, "tests/golden") == {"tests/golden/event.v1.msgpack"}
