"""Streams and consumers of the mesh as values; provisioning makes the broker look like this.

Only what the mesh relies on is listed: what is not here keeps the broker's default.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final, Literal

from msgspec import Struct

from streams.subjects import SERVICE_CLASSES
from streams.tasks.task_id import BUCKETS

Account = Literal["EDGE", "CORE"]
"""EDGE holds claims of users and devices; CORE holds facts that only services write."""


class Republish(Struct, frozen=True):
    """Send on what was stored, and only that: readers of the source would also see what the broker refused."""

    source: str
    destination: str


class Source(Struct, frozen=True, kw_only=True):
    """A stream of another JetStream domain whose messages a stream copies."""

    stream: str
    api: str
    """Prefix under which the other domain's API is reached."""
    deliver: str
    """Prefix of the subjects on which the messages come."""
    subjects: str
    """Subjects of the other stream, as one wildcard."""
    stored_as: str
    """The same subjects as they are stored here."""
    patterns: tuple[str, ...]
    """What is stored here, as narrow as the other stream's own subjects."""


class StreamSpec(Struct, frozen=True, kw_only=True):
    """One stream. ``max_age`` None keeps messages for ever."""

    name: str
    account: Account
    subjects: tuple[str, ...]
    description: str
    max_age: timedelta | None = None
    one_per_subject: bool = False
    """The broker keeps the first message of a subject and refuses every other, whatever its headers say."""
    max_bytes: int | None = None
    """Past this size the broker drops the oldest, and it keeps the room free for it; None: no limit of its own."""
    newest_only: bool = False
    """The broker keeps the newest message of a subject: what is here is a state, not what has happened."""
    is_erasable: bool = False
    """Whether single messages may be deleted: content of an account that asks for it (``ig3 account erase``)."""
    republish: Republish | None = None
    replicas: int = 1
    sources: tuple[Source, ...] = ()
    """What it copies; such a stream has no subjects of its own, so nobody writes to it."""

    @property
    def held(self) -> tuple[str, ...]:
        """The subjects of the messages that it holds."""
        return self.subjects + tuple(pattern for source in self.sources for pattern in source.patterns)


class Retention(Struct, frozen=True, kw_only=True):
    """How long content and ends are kept; ends longer, since charges are recomputed from them."""

    content: timedelta = timedelta(hours=24)
    ends: timedelta = timedelta(days=7)


TASKS: Final = "TASKS"
ENDED: Final = "ENDED"
DEAD: Final = "DEAD"
KEYS: Final = "KEYS"
NONCES: Final = "NONCES"
SESSIONS: Final = "SESSIONS"
UNREADABLE: Final = "UNREADABLE"
LIMITS: Final = "LIMITS"
CHAIN: Final = "CHAIN"
CACHE: Final = "CACHE"
HITS: Final = "HITS"
MODELS: Final = "MODELS"
DEVICES: Final = "DEVICES"
BILLING: Final = "BILLING"
ACCESS: Final = "ACCESS"
GROUPS: Final = "GROUPS"
FILES: Final = "FILES"
FILE_PARTS: Final = "FILE_PARTS"
BATCHES: Final = "BATCHES"
STORES: Final = "STORES"
PASSAGES: Final = "PASSAGES"

NONCES_KEPT: Final = timedelta(minutes=10)
"""Longer than a nonce is good for (``gateway.auth.challenge``) by more than clocks may differ."""

SESSIONS_KEPT: Final = timedelta(minutes=30)
"""Longer than any token of a session is good for (``mesh.access.session_keys``): behind its end none is made."""

LIMITS_KEPT: Final = timedelta(minutes=5)
"""A limit per minute of which nothing was taken for so long is as good as new."""

ACK_WAIT: Final = timedelta(seconds=6)
"""A dead dispatcher's tasks move on after this long; a live one says so every third of it."""

CHAIN_KEPT: Final = timedelta(hours=24)
"""No reading of the chain may serve for longer, whatever the settings say."""

MAX_ACK_PENDING: Final = 20_000
"""Running tasks per class over all dispatchers; past it a class waits in the stream."""


def results_stream(bucket: str, stream_count: int) -> str:
    """Name of the RESULTS stream that holds a bucket."""
    return f"RESULTS_{BUCKETS.index(bucket) * stream_count // len(BUCKETS)}"


def stream_specs(
    *,
    results_streams: int = 4,
    retention: Retention | None = None,
    replicas: int = 1,
    cache_bytes: int | None = None,
) -> tuple[StreamSpec, ...]:
    """Return every stream of the mesh.

    Args:
        results_streams: over how many streams the 16 buckets spread, 1 to 16; each syncs to disk on its own.
        retention: how long content and ends are kept.
        replicas: copies of each stream in a cluster.
        cache_bytes: how large the cache of answers may be; None: no limit of its own.
    """
    kept = retention or Retention()
    edge = (_tasks(kept, replicas), *_results(results_streams, kept, replicas))
    core = (_ended(kept, replicas), _dead(kept, replicas), _keys(kept, replicas), _unreadable(kept, replicas))
    short_lived = (_nonces(replicas), _sessions(replicas), _limits(replicas), _chain(replicas))
    cached = (_cache(kept, replicas, cache_bytes), _hits(kept, replicas))
    return (*edge, *core, *_kept(replicas), *short_lived, *cached)


def _tasks(kept: Retention, replicas: int) -> StreamSpec:
    return StreamSpec(
        name=TASKS,
        account="EDGE",
        # A class that nobody serves is refused by the broker, instead of waiting for ever.
        subjects=tuple(f"tasks.{service_class}.*.*.*.submitted" for service_class in SERVICE_CLASSES),
        description="What was asked: one message per task, ever.",
        is_erasable=True,
        max_age=kept.content,
        one_per_subject=True,
        replicas=replicas,
    )


def _results(count: int, kept: Retention, replicas: int) -> tuple[StreamSpec, ...]:
    if not 1 <= count <= len(BUCKETS):
        raise ValueError(f"results_streams must be 1 to {len(BUCKETS)}, not {count}")
    buckets_of: dict[str, list[str]] = {}
    for bucket in BUCKETS:
        buckets_of.setdefault(results_stream(bucket, count), []).append(bucket)
    return tuple(
        StreamSpec(
            name=name,
            account="EDGE",
            subjects=tuple(f"results.{bucket}.*.*.*" for bucket in buckets),
            description="What happens to a task on the way: markers of services, chunks of nodes.",
            is_erasable=True,
            max_age=kept.content,
            republish=Republish("results.>", "live.>"),
            replicas=replicas,
        )
        for name, buckets in buckets_of.items()
    )


def _ended(kept: Retention, replicas: int) -> StreamSpec:
    return StreamSpec(
        name=ENDED,
        account="CORE",
        subjects=("ended.*.*.*",),
        description="The one terminal event of each task.",
        max_age=kept.ends,
        one_per_subject=True,
        republish=Republish("ended.>", "settled.>"),
        replicas=replicas,
    )


def _dead(kept: Retention, replicas: int) -> StreamSpec:
    return StreamSpec(
        name=DEAD,
        account="CORE",
        subjects=("dead.*.*",),
        description="Tasks that died: kept, tried again or dropped by hand.",
        max_age=kept.ends,
        replicas=replicas,
    )


def _keys(kept: Retention, replicas: int) -> StreamSpec:
    return StreamSpec(
        name=KEYS,
        account="CORE",
        subjects=("keys.*.*",),
        description="Which task was the first under an idempotency key; as long as its answer is kept.",
        is_erasable=True,
        max_age=kept.content,
        one_per_subject=True,
        replicas=replicas,
    )


def _kept(replicas: int) -> tuple[StreamSpec, ...]:
    """What is kept for ever, or until somebody deletes it."""
    until_deleted = (
        (FILES, "files.*.*", "What users' files are, and when they were deleted."),
        (FILE_PARTS, "parts.*.*.*", "The bytes of users' files."),
        (BATCHES, "batches.*.*", "Many requests at once: when they were asked, begun and over."),
        (STORES, "stores.*.*", "One fenced chain per vector store: its files, and what became of each."),
        (PASSAGES, "passages.*.*.*.*.*", "Passages of the files of vector stores, with their vectors."),
    )
    for_ever = (
        (MODELS, "models.*.*", "Which node serves which model: announced and withdrawn."),
        (DEVICES, "devices.*.*", "Which devices there are and whether they are here."),
        (BILLING, "billing.* books.*", "The books: a fenced chain per account, and those that hold for all."),
        (GROUPS, "groups.*", "Shard groups: how each came together, what its members hold, and its end."),
        (ACCESS, "access.*", "Accounts, their members and their API keys: one fenced chain per account."),
    )
    return tuple(
        StreamSpec(
            name=name,
            account="CORE",
            subjects=tuple(subjects.split()),
            description=description,
            is_erasable=(name, subjects, description) in until_deleted,
            one_per_subject=name in {FILE_PARTS, PASSAGES},
            replicas=replicas,
        )
        for name, subjects, description in (*until_deleted, *for_ever)
    )


def _nonces(replicas: int) -> StreamSpec:
    return StreamSpec(
        name=NONCES,
        account="CORE",
        subjects=("nonces.*",),
        description="Nonces of sign-ins that were spent: each can be only once, whichever gateway is asked.",
        max_age=NONCES_KEPT,
        one_per_subject=True,
        replicas=replicas,
    )


def _sessions(replicas: int) -> StreamSpec:
    return StreamSpec(
        name=SESSIONS,
        account="CORE",
        subjects=("sessions.*",),
        description="Sessions that their holders have ended, for as long as a token of one could be shown.",
        max_age=SESSIONS_KEPT,
        one_per_subject=True,
        replicas=replicas,
    )


def _unreadable(kept: Retention, replicas: int) -> StreamSpec:
    return StreamSpec(
        name=UNREADABLE,
        account="CORE",
        subjects=("unreadable.*",),
        description="What was published and could not even be answered: kept for whoever looks for the fault.",
        is_erasable=True,
        max_age=kept.ends,
        replicas=replicas,
    )


def _limits(replicas: int) -> StreamSpec:
    return StreamSpec(
        name=LIMITS,
        account="CORE",
        subjects=("limits.*.*",),
        description="What gateways have taken of each account's and each key's limits: the newest state of each.",
        max_age=LIMITS_KEPT,
        newest_only=True,
        replicas=replicas,
    )


def _chain(replicas: int) -> StreamSpec:
    return StreamSpec(
        name=CHAIN,
        account="CORE",
        subjects=("chain.*",),
        description="What the chain was last seen to say of each DID that was proved: for when it cannot be asked.",
        max_age=CHAIN_KEPT,
        newest_only=True,
        replicas=replicas,
    )


def _cache(kept: Retention, replicas: int, max_bytes: int | None) -> StreamSpec:
    return StreamSpec(
        name=CACHE,
        account="CORE",
        subjects=("cache.*.*",),
        description="Answers that are given again to who asks the same, and who is having one generated.",
        is_erasable=True,
        # Not longer than the task that has written it: its id goes with the answer.
        max_age=kept.content,
        max_bytes=max_bytes,
        newest_only=True,
        replicas=replicas,
    )


def _hits(kept: Retention, replicas: int) -> StreamSpec:
    return StreamSpec(
        name=HITS,
        account="CORE",
        subjects=("hits.*",),
        description="Which answers were given from the cache, to whom.",
        max_age=kept.ends,
        replicas=replicas,
    )
