"""What the live page is made of."""

import hashlib
import re
from pathlib import Path

from gateway.page.assets import CONTENT_TYPES, STATIC, content_security_policy, load

VENDOR = STATIC / "vendor"
ROW = re.compile(r"^\| `(?P<file>[^`]+)` \| (?P<package>\S+) \| [\d.]+ \| .* \| `(?P<digest>[0-9a-f]{64})` \|$", re.M)


def test_every_vendored_file_is_the_one_that_is_listed() -> None:
    listed = {row["file"]: row["digest"] for row in ROW.finditer((VENDOR / "VENDORED.md").read_text())}
    found = {path.name for path in VENDOR.iterdir() if path.is_file()} - {"VENDORED.md"}
    assert listed.keys() == found
    assert {name: hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() for name in found} == listed


def test_every_vendored_package_has_its_licence_beside_it() -> None:
    packages = {row["package"].rpartition("/")[2] for row in ROW.finditer((VENDOR / "VENDORED.md").read_text())}
    assert packages == {path.stem for path in (VENDOR / "licences").iterdir()}


def test_every_file_has_a_known_kind_and_is_served() -> None:
    files = {path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file()}
    assert files == load().keys()


def test_the_page_fetches_nothing_from_anywhere_else() -> None:
    own = [path for path in STATIC.rglob("*") if path.suffix in {".html", ".css", ".js"} and VENDOR not in path.parents]
    assert len(own) > 10
    for path in own:
        code = re.sub(r"^\s*//.*$", "", path.read_text(), flags=re.MULTILINE)
        addresses = set(re.findall(r"(?:https?:)?//[\w.]+", code))
        assert addresses <= {"http://www.w3.org"}, path


def test_every_import_leads_to_a_file_that_is_there() -> None:
    mapped = dict(re.findall(r'"([\w/]+)": "/page/([\w./-]+)"', (STATIC / "index.html").read_text()))
    assert mapped.keys() == {"preact", "preact/hooks", "htm", "uplot"}
    assert all((STATIC / target).is_file() for target in mapped.values())
    for path in STATIC.rglob("*.js"):
        for target in re.findall(r'^import .*?"([^"]+)";', path.read_text(), flags=re.MULTILINE):
            found = (path.parent / target).is_file() if target.startswith(".") else target in mapped
            assert found, f"{path.name} imports {target}"


def test_the_page_refers_to_files_that_are_there() -> None:
    page = (STATIC / "index.html").read_text()
    for name in re.findall(r'(?:href|src)="/page/([^"]+)"', page):
        assert (STATIC / name).is_file(), name


def test_no_module_of_the_page_outgrows_its_reader() -> None:
    sizes = {path.name: len(path.read_text().splitlines()) for path in STATIC.rglob("*.js")}
    assert {name: lines for name, lines in sizes.items() if lines > 200} == {}


def test_the_policy_allows_only_the_inline_scripts_that_the_page_has() -> None:
    policy = content_security_policy(b'<script type="importmap">{"a": 1}</script><script src="/x.js"></script>')
    directives = dict(part.split(" ", 1) for part in policy.split("; "))
    assert directives["default-src"] == "'none'"
    # The base64 digest of `{"a": 1}`, from a shell: printf '{"a": 1}' | openssl dgst -sha256 -binary | base64
    assert directives["script-src"] == "'self' 'sha256-+dhgKMbg1k4iUYb5astpM4ssWXZN95FiEH9cS7NNExA='"
    assert "unsafe" not in policy


def test_only_known_kinds_of_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("1")
    (tmp_path / "notes.bak").write_text("2")
    assert load(tmp_path).keys() == {"a.js"}
    assert ".bak" not in CONTENT_TYPES
