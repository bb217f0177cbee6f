"""Rules about what lies on this machine: files, keys, secrets where others see them, and the room that is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mesh.doctor.finding import insecure, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mesh.doctor.facts import Facts, KeyFact
    from mesh.doctor.finding import Finding

_OTHERS: Final = 0o077
_LITTLE_ROOM: Final = 1024**3
_UNATTENDED: Final = "did:key:"


def judge_files(facts: Facts) -> Iterator[Finding]:
    """Files that nobody else may open."""
    shared = [file for file in facts.files if file.mode & _OTHERS]
    for file in shared:
        remedy = f"chmod {'700' if file.is_folder else '600'} {file.path}; then think of what was read as known"
        yield insecure(str(file.path), f"others can open it (mode {file.mode:04o})", remedy)
    if not shared:
        yield ok("data folder", f"{len(facts.files)} secret files and folders are their owner's alone")


def judge_keys(facts: Facts) -> Iterator[Finding]:
    """Keys of devices and people."""
    for key in facts.keys:
        yield _judge_key(key)


def _judge_key(key: KeyFact) -> Finding:
    item = f"key {key.path.name}"
    if key.is_sealed:
        return ok(item, f"sealed by a passphrase ({key.did})")
    if key.did.startswith(_UNATTENDED):
        return ok(item, f"not sealed, so that the node starts unattended; it is good for this mesh only ({key.did})")
    return warning(
        item,
        f"not sealed: whoever copies it owns the account {key.did} elsewhere too",
        "give the device a key of its own (`ig3 did create`), or seal this one by a passphrase",
    )


def judge_secrets(facts: Facts) -> Iterator[Finding]:
    """Secrets where others can see them."""
    found = False
    for process in facts.processes:
        found = True
        text = f"its command line shows a secret to everybody on this machine: {process.name}"
        yield insecure(f"process {process.pid}", text, "give secrets by files; replace this one")
    for name in facts.settings.secrets_in_variables:
        found = True
        text = "every process that is started from here inherits a secret"
        yield warning(f"variable {name}", text, "write it into the settings file (mode 600) instead")
    file = facts.settings.secrets_file
    if file is not None and file.mode & _OTHERS:
        found = True
        yield insecure(str(file.path), f"it holds a secret, and others can read it (mode {file.mode:04o})", "chmod 600")
    if not found:
        yield ok("secrets", "none in the environment, in a command line, or in a settings file that others can read")


def judge_disk(facts: Facts) -> Iterator[Finding]:
    """Room for what is stored."""
    free = f"{facts.disk.free_bytes / 1024**3:.1f} GiB free"
    if facts.disk.free_bytes < min(_LITTLE_ROOM, facts.disk.total_bytes // 10):
        yield warning("disk", free, "make room, or lower retention: without room no task is taken")
    else:
        yield ok("disk", free)


def judge_storage(facts: Facts) -> Iterator[Finding]:
    """What a power cut, or a thief, gets."""
    if facts.settings.durability == "power":
        yield ok("durability", "what is acknowledged survives a power cut")
    else:
        yield warning("durability", "a power cut loses minutes of acknowledged events", "set durability = power")
    encrypted = facts.settings.encrypt_store
    text = "not by the mesh; a disk that is encrypted does it too" if encrypted == "off" else encrypted
    yield ok("streams encrypted", text)
