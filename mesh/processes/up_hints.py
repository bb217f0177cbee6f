"""What ``ig3 up`` tells to try once the mesh is ready."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mesh.config.settings import MeshSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mesh.processes.readiness import Ready

_NO_MODEL = "MODEL"


def hints(announced: Mapping[str, Ready], mesh: MeshSettings) -> list[tuple[str, str]]:
    """Return what to try, each with a title: a page, a line for curl, a command; how to get a key, if one needs it."""
    gateway = announced["gateway"]
    url, here = gateway.url, _settings_for_others(announced, mesh)
    models = sorted({model for ready in announced.values() for model in ready.models})
    body = {
        "model": models[0] if models else _NO_MODEL,
        "stream": True,
        "messages": [{"role": "user", "content": "Why is the sky blue?"}],
    }
    shown = ' -H "authorization: Bearer $KEY"' if gateway.needs_key else ""
    if gateway.needs_certificate:
        # Nobody here knows which certificate a client has.
        shown += ' --cert "$CERT" --key "$CERT_KEY"'
    kind = "-H 'content-type: application/json'"
    curl = f"curl -N {url}/v1/chat/completions{shown} {kind} \\\n    -d '{json.dumps(body)}'"
    key = [("key", f"KEY=$({here}{_program()} keys issue --name first) && echo $KEY")]
    return [
        ("page", f"{url}/"),
        *(key if gateway.needs_key else ()),
        ("curl", curl),
        ("chat", f"{here}{_program()} chat"),
    ]


def _program() -> str:
    """How another shell in the same folder calls this ``ig3``: by its name only where the shell would find it."""
    ours = Path(sys.executable).with_name("ig3")
    found = shutil.which("ig3")
    if found is not None and Path(found).resolve() == ours.resolve():
        return "ig3"
    return shlex.quote(str(ours.relative_to(Path.cwd()) if ours.is_relative_to(Path.cwd()) else ours))


def _settings_for_others(announced: Mapping[str, Ready], mesh: MeshSettings) -> str:
    """Variables that another shell needs to find this mesh, if it is not where a command looks by itself."""
    usual = MeshSettings()
    brokers = sorted(name for name in announced if name.startswith("broker"))
    nats = ",".join(announced[name].url.removeprefix("nats://") for name in brokers)
    needed = {
        "IG3_NATS": nats if nats != usual.nats else "",
        "IG3_DATA_DIR": str(mesh.data_dir) if mesh.data_dir != usual.data_dir else "",
        "IG3_NATS_CA": str(mesh.nats_ca or ""),
        "IG3_NATS_NAME": mesh.nats_name or "",
        "IG3_NATS_CLIENT_CERT": str(mesh.nats_client_cert or ""),
        "IG3_NATS_CLIENT_KEY": str(mesh.nats_client_key or ""),
    }
    return "".join(f"{name}={shlex.quote(text)} " for name, text in needed.items() if text)
