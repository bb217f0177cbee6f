"""What `ig3 account` and `ig3 keys` refuse before they ask the bus."""

import pytest
from click.testing import CliRunner

from mesh.cli import root
from mesh.processes.terminal import Invocation


def problem(*arguments: str) -> str:
    result = CliRunner().invoke(root, arguments, obj=Invocation(config=None, colour=False))
    assert result.exit_code != 0
    return f"{result.exception} {result.output}"


@pytest.mark.parametrize("expires", ["soon", "30", "99999999999999d", "40000d", ""])
def test_a_duration_that_is_none_or_without_end_is_refused(expires: str) -> None:
    assert "--expires" in problem("keys", "issue", "--name", "n", "--expires", expires)


@pytest.mark.parametrize("did", ["ada@example.org", "did:web:example.org", "did:peaq:12", "0x12"])
def test_whoever_is_no_did_that_can_sign_is_refused(did: str) -> None:
    for command in (("open", "acme", "--owner"), ("member", "add", "acme"), ("member", "remove", "acme")):
        assert did in problem("account", *command, did)


@pytest.mark.parametrize(
    "arguments",
    [
        ("account", "close", "acme"),
        ("keys", "revoke", "k"),
        ("keys", "issue"),
        ("keys", "issue", "--name", "n", "--right", "root"),
        ("account", "member", "add", "acme", "did:key:z6Mk", "--role", "king"),
    ],
    ids=" ".join,
)
def test_what_is_missing_or_unknown_is_named(arguments: tuple[str, ...]) -> None:
    assert "Error: " in problem(*arguments)
