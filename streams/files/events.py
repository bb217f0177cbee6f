"""The part of the event catalogue that FILES holds, and the parts of a file that FILE_PARTS holds."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from streams.event import Event
from streams.models.store import Sha256
from streams.tasks.chat import Count
from streams.wire import Wire

FilePurpose = Literal["assistants", "batch", "batch_output", "user_data"]
"""What a file is for; the words are OpenAI's. ``batch_output`` is written by the mesh alone."""

PART_BYTES = 256 * 1024
"""Most bytes in one part of a file: with its envelope well below the broker's largest message, 1 MB."""


class FileStored(Event, frozen=True, kw_only=True, tag="file.stored.v1"):
    """A file is whole: all its parts are in FILE_PARTS."""

    at_ms: int
    name: Annotated[str, Meta(min_length=1, max_length=512)]
    purpose: FilePurpose
    size_bytes: Count
    sha256: Sha256
    """Of all its bytes, in hex."""
    expires_at_ms: int | None = None
    """From then on it is as if it were deleted; None: it stays."""


class FileDeleted(Event, frozen=True, kw_only=True, tag="file.deleted.v1"):
    """Its owner wants it no more; its parts are deleted."""

    at_ms: int


FileEvent = FileStored | FileDeleted
"""All that FILES may hold."""


class FilePart(Wire, frozen=True, kw_only=True, tag="file.part.v1"):
    """Some bytes of a file. The file is its parts by number; numbers may be left out."""

    data: Annotated[bytes, Meta(max_length=PART_BYTES)]


class StoredFile(Struct, frozen=True, kw_only=True):
    """A file as its events say."""

    id: str
    event: FileStored

    def has_expired(self, now_ms: int) -> bool:
        """Whether its time is over."""
        return self.event.expires_at_ms is not None and self.event.expires_at_ms <= now_ms
