"""Vector stores among the golden files."""

from streams.batches.events import Label
from streams.stores.events import (
    Attribute,
    Chunking,
    StoreBatchCancelled,
    StoreChanged,
    StoreClosed,
    StoreExpired,
    StoreFileAdded,
    StoreFileChanged,
    StoreFileFailed,
    StoreFileIndexed,
    StoreFileRemoved,
    StoreOpened,
    StoreReembedding,
)

_AT_MS = 1_767_225_600_123
_MODEL = "all-minilm-l6-v2"
_FILE = "file-019b7a3e00007abc8def012345678900"
_LABELS = (Label(name="für", value="Ada"),)
_ATTRIBUTES = (
    Attribute(name="author", value="Ada 世界"),
    Attribute(name="year", value=1843.0),
    Attribute(name="is_draft", value=True),
)
_CHUNKING = Chunking(most_tokens=400, overlap_tokens=50)

STORES = {
    "store.opened.v1": StoreOpened(
        at_ms=_AT_MS,
        model=_MODEL,
        name="Handbuch",
        description="Alles, was gilt",
        chunking=_CHUNKING,
        expires_after_days=7,
        labels=_LABELS,
        key_id="k1",
    ),
    "store.opened.v1.minimal": StoreOpened(at_ms=_AT_MS, model=_MODEL),
    "store.changed.v1": StoreChanged(at_ms=_AT_MS, name="Handbuch 2", labels=_LABELS, expires_after_days=365),
    "store.changed.v1.used": StoreChanged(at_ms=_AT_MS),
    "store.file_added.v1": StoreFileAdded(
        at_ms=_AT_MS,
        file=_FILE,
        filename="regeln.pdf",
        chunking=_CHUNKING,
        attributes=_ATTRIBUTES,
        batch="vsfb_019b7a3e00007abc8def012345678901",
        key_id="k1",
    ),
    "store.file_added.v1.minimal": StoreFileAdded(at_ms=_AT_MS, file=_FILE, filename="a"),
    "store.file_changed.v1": StoreFileChanged(at_ms=_AT_MS, file=_FILE, attributes=_ATTRIBUTES),
    "store.file_indexed.v1": StoreFileIndexed(
        at_ms=_AT_MS,
        file=_FILE,
        generation=70_000,
        model=_MODEL,
        parts=3,
        passages=120,
        tokens=45_678,
        characters=200_123,
        bytes=400_000,
    ),
    "store.file_failed.v1": StoreFileFailed(
        at_ms=_AT_MS, file=_FILE, generation=70_000, code="encrypted_file", message="The file needs a password."
    ),
    "store.file_removed.v1": StoreFileRemoved(at_ms=_AT_MS, file=_FILE),
    "store.batch_cancelled.v1": StoreBatchCancelled(at_ms=_AT_MS, batch="vsfb_019b7a3e00007abc8def012345678901"),
    "store.reembedding.v1": StoreReembedding(at_ms=_AT_MS, model="nomic-embed-text-v1.5"),
    "store.expired.v1": StoreExpired(at_ms=_AT_MS),
    "store.closed.v1": StoreClosed(at_ms=_AT_MS),
}
