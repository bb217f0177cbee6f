"""Which format the streams of a mesh are in: an older program must not touch what a newer one has written.

The version stands in the metadata of every stream. It is raised when an older program would misread what it finds: an
event that is merely new has a version of its own and is told from noise by itself (``streams.codec``).
"""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from mesh.errors import BusError, StoreTooNew
from streams.topology import TASKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mesh.bus.link import Link

STORE_VERSION: Final = 1
"""The format that this program writes, and the newest that it reads."""

METADATA_KEY: Final = "ig3.store-version"
_TIMEOUT: Final = timedelta(seconds=2)
_BROKERS_OWN: Final = "_nats."


def own_metadata(config: Mapping[str, Any]) -> dict[str, str]:
    """Return a stream's metadata without what the broker adds itself."""
    metadata: dict[str, str] = config.get("metadata") or {}
    return {key: value for key, value in metadata.items() if not key.startswith(_BROKERS_OWN)}


def refuse_newer_stream(name: str, config: Mapping[str, Any]) -> None:
    """See that a stream, as the broker describes it, is of a version that this program knows.

    Raises:
        StoreTooNew: if it is not.
    """
    written = own_metadata(config).get(METADATA_KEY, "0")
    if not written.isdecimal() or int(written) > STORE_VERSION:
        raise StoreTooNew(
            f"the store was written by a newer version (stream {name} is in format {written}, this program knows up to "
            f"{STORE_VERSION}): start the newer version, or use another data folder. Nothing was changed"
        )


async def refuse_newer_store(edge: Link) -> None:
    """See that the mesh behind a connection is of a version that this program knows, if anybody can say.

    Raises:
        StoreTooNew: if it is not.
    """
    with contextlib.suppress(BusError):
        answer = await edge.request(f"$JS.API.STREAM.INFO.{TASKS}", b"", timeout=_TIMEOUT)
        refuse_newer_stream(TASKS, json.loads(answer.data).get("config") or {})
