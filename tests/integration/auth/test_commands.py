"""`ig3 account` and `ig3 keys`, as an operator types them, and what a gateway makes of it."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from mesh.access.session_keys import FILE
from tests.http_gateway import HttpGateway, serve_http, until
from tests.mesh_in_process import InProcessMesh
from tests.operator_shell import ig3

IG3 = Path(sys.executable).with_name("ig3")
EVM = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
LIMIT_S = 50.0
"""A process that does not start for so long hangs."""


async def said(mesh: InProcessMesh, *arguments: str) -> str:
    done = await ig3(mesh, *arguments)
    assert done.status == 0, done.stderr
    return done.stdout.strip()


async def told(mesh: InProcessMesh, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (await said(mesh, *arguments, "--json")).splitlines()]


async def refused(mesh: InProcessMesh, *arguments: str) -> str:
    done = await ig3(mesh, *arguments)
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr.startswith("ig3: ")
    return done.stderr


async def status(gateway: HttpGateway, key: str) -> int:
    return (await gateway.get("/v1/models", Authorization=f"Bearer {key}")).status


async def is_refused(gateway: HttpGateway, key: str) -> bool:
    return await status(gateway, key) == 401


async def test_accounts_are_opened_filled_shown_and_closed(mesh: InProcessMesh) -> None:
    owner = f"did:pkh:eip155:1:{EVM}"
    opened = await said(mesh, "account", "open", "acme", "--owner", f"did:peaq:{EVM}")
    assert opened == f"account acme is open, owned by {owner}"
    key = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
    assert (
        await said(mesh, "account", "member", "add", "acme", key, "--role", "viewer")
        == f"{key} is viewer of account acme"
    )
    [account] = await told(mesh, "account", "show", "acme")
    assert [(member["did"], member["role"]) for member in account["members"]] == [(owner, "owner"), (key, "viewer")]
    assert (account["state"], account["opened_by"]) == ("open", "operator")
    await said(mesh, "account", "member", "remove", "acme", owner.lower().replace("eip155:1", "eip155:3338"))
    assert await said(mesh, "account", "close", "acme", "--reason", "a test") == "account acme is closed"
    assert "acme" not in await said(mesh, "account")
    shown = await said(mesh, "account", "show", "acme")
    assert ("closed: a test" in shown, owner in shown, key in shown) == (True, False, True)


async def test_what_makes_no_sense_is_one_line_that_says_what_to_do(mesh: InProcessMesh) -> None:
    assert "ig3 account list" in await refused(mesh, "account", "member", "add", "acme", "did:peaq:" + EVM)
    assert "ig3 keys list" in await refused(mesh, "keys", "revoke", "nothing", "--reason", "no")


async def test_a_key_is_shown_once_works_until_it_is_revoked_and_no_list_has_it(mesh: InProcessMesh) -> None:
    await said(mesh, "account", "open", "acme")
    done = await ig3(
        mesh,
        *("keys", "issue", "--of", "acme", "--name", "laptop", "--right", "read", "--model", "m", "--expires", "30d"),
    )
    key = done.stdout.strip()
    assert (done.status, "only now" in done.stderr) == (0, True)
    key_id, secret = key.split("_")[1:]
    async with serve_http(mesh.bus, auth="required") as gateway:
        assert await status(gateway, key) == 200
        [line] = await told(mesh, "keys", "list", "--of", "acme")
        assert (line["key_id"], line["name"], line["rights"], line["models"]) == (key_id, "laptop", ["read"], ["m"])
        assert (line["state"], line["expires_at"] > line["issued_at"]) == ("good", True)
        assert await said(mesh, "keys", "revoke", key_id, "--reason", "a test") == f"key {key_id} is revoked"
        # Nothing tells the gateway but the stream.
        await until(lambda: is_refused(gateway, key))
        assert key_id not in await said(mesh, "keys")
        everything = await said(mesh, "keys", "list", "--all") + await said(mesh, "events", "replay", "ACCESS")
        assert "revoked" in everything
        assert secret not in everything


async def test_a_rotation_of_the_keys_of_sessions_is_told(mesh: InProcessMesh) -> None:
    assert "sessions go on" in await said(mesh, "account", "rotate-sessions")
    assert "all sessions have ended" in await said(mesh, "account", "rotate-sessions", "--end-all")
    assert (mesh.folder / FILE).stat().st_mode & 0o777 == 0o600


async def test_a_gateway_that_would_let_everybody_in_from_everywhere_does_not_start(mesh: InProcessMesh) -> None:
    # A process of its own: if it did start, it would serve.
    place = {"IG3_NATS": mesh.server.url.removeprefix("nats://"), "IG3_DATA_DIR": str(mesh.folder)}
    command = [str(IG3), "gateway", "--http", "0.0.0.0:0"]
    done = await asyncio.to_thread(subprocess.run, command, env=place, capture_output=True, text=True, timeout=LIMIT_S)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--auth required" in done.stderr
