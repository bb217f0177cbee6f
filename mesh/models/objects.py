"""How a model lies in the Object Store: NATS's own layout (ADR-20 of its architecture), so that its tools can read it.

The chunks of an object all have one subject. Where they lie in the stream is kept with what the object says of itself,
as runs of sequences: so any chunk can be had by one direct get, and many side by side.
"""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from mesh.bus.store_version import METADATA_KEY, STORE_VERSION
from mesh.errors import ModelStoreError
from streams.models.store import StoredModel

BUCKET: Final = "models"
STREAM: Final = f"OBJ_{BUCKET}"
META_ALL: Final = f"$O.{BUCKET}.M.>"
ROLLUP: Final = ("Nats-Rollup", "sub")

_OURS: Final = "ig3-model"
_RUNS: Final = "ig3-runs"


class Run(Struct, frozen=True, array_like=True):
    """Chunks that follow each other in the stream without a gap."""

    first_sequence: int
    count: int


class StoredObject(Struct, frozen=True, kw_only=True):
    """A model and where its chunks are."""

    model: StoredModel
    nuid: str
    runs: tuple[Run, ...]

    def sequence_of(self, number: int) -> int:
        """Return where a chunk lies, counted from 0.

        Raises:
            IndexError: if there is no such chunk.
        """
        for run in self.runs:
            if number < run.count:
                return run.first_sequence + number
            number -= run.count
        raise IndexError("no such chunk")


def nuid_of(name: str, sha256: str) -> str:
    """Name the chunks of a file: the same for the same file, so that a push that broke off can go on."""
    return hashlib.sha256(f"{name}\n{sha256}".encode()).hexdigest()[:32]


def chunk_subject(nuid: str) -> str:
    """Where the chunks of an object are."""
    return f"$O.{BUCKET}.C.{nuid}"


def meta_subject(name: str) -> str:
    """Where it stands what an object is."""
    return f"$O.{BUCKET}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"


def runs_of(sequences: list[int]) -> tuple[Run, ...]:
    """Put sequences together that follow each other."""
    runs: list[Run] = []
    for sequence in sequences:
        last = runs[-1] if runs else None
        if last is not None and last.first_sequence + last.count == sequence:
            runs[-1] = Run(last.first_sequence, last.count + 1)
        else:
            runs.append(Run(sequence, 1))
    return tuple(runs)


def encode_object(stored: StoredObject) -> bytes:
    """Write what ``nats object info`` reads, and what is ours in its metadata."""
    model = stored.model
    info = {
        **_named(model.name, stored.nuid),
        "size": model.size_bytes,
        "chunks": model.chunks,
        "digest": f"SHA-256={base64.urlsafe_b64encode(bytes.fromhex(model.sha256)).decode()}",
        "options": {"max_chunk_size": model.chunk_bytes},
        "metadata": {
            _OURS: msgspec.json.encode(model).decode(),
            _RUNS: msgspec.json.encode(stored.runs).decode(),
        },
    }
    return json.dumps(info).encode()


def encode_removed(name: str) -> bytes:
    """Write that there is no such object any more."""
    return json.dumps({**_named(name, ""), "size": 0, "chunks": 0, "deleted": True}).encode()


def decode_object(data: bytes) -> StoredObject | None:
    """Read what stands under a name; None: it was removed.

    Raises:
        ModelStoreError: if somebody else has put it there.
    """
    try:
        info = json.loads(data)
        if info.get("deleted"):
            return None
        return StoredObject(
            model=msgspec.json.decode(info["metadata"][_OURS], type=StoredModel),
            nuid=info["nuid"],
            runs=msgspec.json.decode(info["metadata"][_RUNS], type=tuple[Run, ...]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, msgspec.MsgspecError) as error:
        raise ModelStoreError(
            f"an object in the bucket {BUCKET!r} was not put there by `ig3 models push` ({error}): remove it"
        ) from error


def stream_config(replicas: int) -> dict[str, Any]:
    """Return the configuration of the store's stream; it is made at the first push."""
    return {
        "name": STREAM,
        "description": "Files of models.",
        "subjects": [f"$O.{BUCKET}.C.>", META_ALL],
        "retention": "limits",
        "storage": "file",
        "num_replicas": replicas,
        "discard": "new",
        "allow_rollup_hdrs": True,
        "allow_direct": True,
        "metadata": {METADATA_KEY: str(STORE_VERSION)},
    }


def _named(name: str, nuid: str) -> dict[str, Any]:
    return {"name": name, "bucket": BUCKET, "nuid": nuid, "mtime": datetime.now(UTC).isoformat()}
