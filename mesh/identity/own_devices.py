"""The devices whose keys lie in a data folder: whoever can read it may decide for them anyway."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mesh.errors import CredentialsError, IdentityError
from mesh.identity.key_file import DEVICE_KEYS, read_public_part

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)


def own_device_dids(data_dir: Path) -> frozenset[str]:
    """Return the DIDs of the key files below a data folder; a file that cannot be used is told and left out."""
    return frozenset(did for path in (data_dir / DEVICE_KEYS).glob("*.key") if (did := _did_of(path)) is not None)


def _did_of(path: Path) -> str | None:
    try:
        return read_public_part(path).did.text
    except (CredentialsError, IdentityError) as error:
        log.warning("a key of a device is left out: %s", error)
        return None
