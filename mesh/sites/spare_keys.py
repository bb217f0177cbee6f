"""Keys for sites that are still to come, made before the hub's broker starts.

The broker must know whom it lets in without asking the identity service (``auth_users``), and nats-server 2.15 refuses
to read that list again while it runs. So a hub names the keys of its next sites at its start, and a site that is added
gets one of them: nobody can connect by a key before it has a user with rights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec import Struct

from mesh.broker.nkey import new_seed, public_key_of
from mesh.errors import CredentialsError, SiteError
from mesh.secret_file import read_secret, replace_secret

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SPARES: Final = 16
"""How many sites can be added before the hub's broker has to start again."""

_FILE: Final = "site-keys.json"


class SeedPair(NamedTuple):
    """The seeds of one site's two links."""

    edge: str
    core: str


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    known: tuple[str, ...]
    """Public keys that the broker has been told of, those of spares among them."""
    spares: tuple[SeedPair, ...]

    def __repr__(self) -> str:
        """Show no seed: values end up in logs."""
        return f"_File({len(self.known)} keys, {len(self.spares)} spares)"


def refill(data_dir: Path, in_use: Iterable[str]) -> None:
    """Make new spares in the place of those that were given away. Only before a broker starts.

    Args:
        data_dir: the hub's.
        in_use: public keys of the sites that there are.

    Raises:
        CredentialsError: if the file cannot be used, or others can read it.
        SiteError: if it is damaged.
    """
    held = _read(data_dir)
    spares = () if held is None else held.spares
    spares += tuple(SeedPair(new_seed(), new_seed()) for _ in range(SPARES - len(spares)))
    known = {*in_use, *(public_key_of(seed) for pair in spares for seed in pair)}
    _write(data_dir, _File(known=tuple(sorted(known)), spares=spares))


def known_keys(data_dir: Path, in_use: Iterable[str]) -> tuple[str, ...]:
    """Return the keys that the hub's broker does not ask about; the same until ``refill``.

    Raises:
        CredentialsError: if the file cannot be used, or others can read it.
        SiteError: if it is damaged.
    """
    held = _read(data_dir)
    if held is None:
        refill(data_dir, in_use)
        return known_keys(data_dir, in_use)
    return held.known


def take_pair(data_dir: Path) -> SeedPair:
    """Return the seeds for a new site; nobody else gets them.

    Raises:
        CredentialsError: if the file cannot be used, or others can read it.
        SiteError: if it is damaged, or there are none left.
    """
    held = _read(data_dir)
    if held is None:
        refill(data_dir, ())
        return take_pair(data_dir)
    if not held.spares:
        raise SiteError(f"{SPARES} sites were added since the hub's broker started: start it again, then add this one")
    first, *others = held.spares
    _write(data_dir, msgspec.structs.replace(held, spares=tuple(others)))
    return first


def _path(data_dir: Path) -> Path:
    return data_dir / "credentials" / _FILE


def _read(data_dir: Path) -> _File | None:
    path = _path(data_dir)
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(read_secret(path), type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SiteError(f"{path} is damaged: delete it, and start the hub's broker again") from error


def _write(data_dir: Path, held: _File) -> None:
    path = _path(data_dir)
    try:
        replace_secret(path, msgspec.json.encode(held) + b"\n")
    except OSError as error:
        raise CredentialsError(f"cannot write {path}: {error.strerror}") from error
