"""Files and batches among the golden files."""

from streams.batches.events import (
    BatchCancelling,
    BatchCreated,
    BatchEnded,
    BatchRefused,
    BatchStarted,
    Label,
    LineFault,
)
from streams.files.events import FileDeleted, FileStored

_AT_MS = 1_767_225_600_123

FILES = {
    "file.stored.v1": FileStored(
        at_ms=_AT_MS, name="Fragen 世界.jsonl", purpose="batch", size_bytes=2**40, sha256="0f" * 32
    ),
    **{
        f"file.stored.v1.{purpose}": FileStored(at_ms=_AT_MS, name="a", purpose=purpose, size_bytes=0, sha256="0f" * 32)
        for purpose in ("assistants", "batch_output", "user_data")
    },
    "file.stored.v1.expiring": FileStored(
        at_ms=_AT_MS, name="a", purpose="batch", size_bytes=1, sha256="0f" * 32, expires_at_ms=_AT_MS + 3_600_000
    ),
    "file.deleted.v1": FileDeleted(at_ms=_AT_MS),
}

BATCHES = {
    "batch.created.v1": BatchCreated(
        at_ms=_AT_MS,
        input_file="file-019b7a3e00007abc8def012345678900",
        endpoint="/v1/chat/completions",
        expires_at_ms=_AT_MS + 86_400_000,
        labels=(Label(name="für", value="Ada"), Label(name="run", value="7")),
        key_id="k1",
    ),
    "batch.created.v1.minimal": BatchCreated(at_ms=_AT_MS, input_file="f", endpoint="/v1/embeddings", expires_at_ms=1),
    "batch.started.v1": BatchStarted(at_ms=_AT_MS, requests=50_000),
    "batch.refused.v1": BatchRefused(
        at_ms=_AT_MS,
        faults=(
            LineFault(line=3, code="invalid_value", message="No 'model'.", param="model"),
            LineFault(code="empty_file", message="There is nothing in it."),
        ),
    ),
    "batch.cancelling.v1": BatchCancelling(at_ms=_AT_MS),
    **{
        f"batch.ended.v1.{outcome}": BatchEnded(at_ms=_AT_MS, outcome=outcome, completed=0, failed=0)
        for outcome in ("expired", "cancelled")
    },
    "batch.ended.v1": BatchEnded(
        at_ms=_AT_MS, outcome="completed", completed=49_999, failed=1, output_file="file-o", error_file="file-e"
    ),
}
