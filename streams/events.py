"""The event catalogue: every fact and claim that a stream of the mesh may hold.

One frozen struct per event and version; the tag on the wire is ``<noun>.<what happened>.v<version>``. A stored event is
for ever: a field may be added with a default, anything else is a new version beside the old one. The golden bytes in
``tests/golden/`` prove that what was once written still decodes.

What the subject says (account, task, writer, class) is never repeated in the body, so the two cannot disagree.
Times are Unix milliseconds, as the writer's clock had them; order comes from the stream, never from times.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

from msgspec import Meta, Struct

from streams.access.events import (
    AccessEvent,
    AccountClosed,
    AccountErased,
    AccountOpened,
    KeyIssued,
    KeyRevoked,
    MemberJoined,
    MemberLeft,
    NonceSpent,
    SessionEnded,
)
from streams.batches.events import BatchEvent
from streams.billing.log import AnyBillingEvent
from streams.cache.events import CacheHit
from streams.devices.events import (
    DeviceAdmitted,
    DeviceChecked,
    DeviceEvent,
    DeviceLost,
    DeviceRegistered,
    DeviceReturned,
    DeviceRevoked,
    DeviceSuspended,
    DeviceUnconfirmed,
    DeviceVerified,
)
from streams.event import Event
from streams.files.events import FileEvent
from streams.groups.events import GroupEvent
from streams.models.events import ModelAnnounced, ModelDesired, ModelEvent, ModelRefused, ModelScaled, ModelWithdrawn
from streams.stores.events import StoreEvent
from streams.tasks.answer_check import CheckOf
from streams.tasks.answer_parts import TokenLogprob, ToolCallPiece, chars_in
from streams.tasks.chat import Count, FinishReason, Message, Sampling, Usage
from streams.tasks.dead_events import DeadDropped, DeadEvent, DeadKept, DeadRedriven
from streams.tasks.grounding import Grounding
from streams.tasks.metering import Key, Metered
from streams.tasks.placing import Candidate, Hedge, Rejects, Rules
from streams.tasks.request_events import RequestKeyed, ResponseDeleted, SubmissionUnreadable
from streams.tasks.response_terms import ResponseTerms
from streams.tasks.task_error import TaskError
from streams.tasks.tools import OutputFormat, Tools
from streams.tasks.vectors import Dimensions, Texts, Vectors

Counter = Annotated[int, Meta(ge=1)]
"""``n``: the one counter that markers and chunks of a task share, from 1, without holes."""

Attempt = Annotated[int, Meta(ge=1)]
ChunkTokens = Annotated[int, Meta(ge=0, le=2**24)]
"""More than a message can hold: so that no sum over a task's chunks is too large for an event."""

Deadline = Annotated[int, Meta(ge=0, le=253_402_300_799_999)]
"""Unix milliseconds up to the year 9999: what a user sends must not overflow a clock of ours."""


# --- TASKS: what was asked ---------------------------------------------------------------------------------------


class TaskSubmitted(Event, frozen=True, kw_only=True, tag="task.submitted.v1"):
    """Somebody asks a model something. The first one on a subject wins; the broker refuses every other.

    One of three: ``messages``, which are to be answered, a raw ``prompt``, which is to be gone on with, or ``texts``,
    each of which is to become a vector.
    """

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    messages: Annotated[tuple[Message, ...], Meta(max_length=4096)] = ()
    sampling: Sampling = Sampling()
    deadline_at_ms: Deadline | None = None
    redrive_of: Annotated[str, Meta(max_length=64)] | None = None
    """The dead task that this one tries anew."""
    check_of: CheckOf | None = None
    """The answer that is asked for once more, to compare the two; only in tasks of the mesh itself."""
    rules: Rules | None = None
    """What its owner will not have otherwise: where it may run, and what it may cost."""
    tools: Tools | None = None
    """The functions that the model may call instead of, or before, an answer."""
    format: OutputFormat | None = None
    """What the answer must look like; None: plain text."""
    texts: Texts = ()
    dimensions: Dimensions | None = None
    """Numbers in each vector, where fewer are wanted than the model gives."""
    response: ResponseTerms | None = None
    """What it says as a response; None: it was not asked for as one."""
    key: Key | None = None
    """The id of the API key that asked; None: a session, a service, or the bus, where nobody has to say."""
    grounding: Grounding | None = None
    """What was found in files for it, and stands in front of its question; None: nothing was searched."""
    prompt: str = ""
    """A raw prompt (``streams.tasks.raw_prompts``): a node that does not know the word finds nothing to answer."""


# --- RESULTS: what happens on the way ----------------------------------------------------------------------------


class TaskAccepted(Event, frozen=True, kw_only=True, tag="task.accepted.v1"):
    """Rights, limits and budget hold; the mesh now owes an end. Left out when ``assigned`` follows at once (ADR 5)."""

    n: Counter
    at_ms: int


class TaskQueued(Event, frozen=True, kw_only=True, tag="task.queued.v1"):
    """Nobody can take the task now: how many are before it, and why."""

    n: Counter
    at_ms: int
    position: Count
    reason: str


Seam = Literal["continued", "replayed", "restarted"]
"""How an attempt joins the text that earlier ones have written (ADR 8).

``continued``: the text so far is the prefix, and the engine goes on from it. ``replayed``: the engine writes the answer
anew and publishes only what comes after the text so far, which it must reproduce. ``restarted``: the text so far is
void; readers drop it, and the answer begins again."""


class ChunkSignature(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A node's word for what it wrote in one attempt: its signature over the chain of the chunks (ADR 14)."""

    algorithm: Annotated[str, Meta(max_length=32)]
    signature_base64: Annotated[str, Meta(max_length=128)]
    public_key_base64: Annotated[str, Meta(max_length=128)] | None = None
    """Given where the node's DID holds only the hash of its key."""


class TaskRequeued(Event, frozen=True, kw_only=True, tag="task.requeued.v1"):
    """The attempt is over without an end, and another follows, not before ``retry_at_ms``. ``node`` writes no more."""

    n: Counter
    at_ms: int
    attempt: Attempt
    node: str
    code: str
    message: str
    retry_at_ms: int
    signature: ChunkSignature | None = None
    """Of the node that handed the attempt over, for what it had stored; a dispatcher has checked it."""


class TaskAssigned(Event, frozen=True, kw_only=True, tag="task.assigned.v1"):
    """From here on only ``node`` writes, and only under ``attempt``. Carries the whole reason for the choice."""

    n: Counter
    at_ms: int
    attempt: Attempt
    node: str
    policy: str
    candidates: tuple[Candidate, ...] = ()
    offset: Count = 0
    seam: Seam | None = None
    """None where nothing had been written before."""
    rejects: tuple[Rejects, ...] = ()
    """How many were passed over, by reason: ``candidates`` names only some of them."""
    serving: Count = 0
    """How many nodes serve what was asked for; of very many only some are looked at."""
    model: str | None = None
    """What the node answers with, where another name was asked for."""
    hedge: Hedge | None = None
    """How ``node`` came by the task, where it was asked beside the node of the attempt before."""


class TaskHalted(Event, frozen=True, kw_only=True, tag="task.halted.v1"):
    """The attempt is void from here on and none follows: a cancel, a deadline or a failure is being settled.

    ``error`` is what the task will have failed with; None: it is being cancelled, for ``reason``.
    """

    n: Counter
    at_ms: int
    reason: str
    error: TaskError | None = None


class TaskChunk(Event, frozen=True, kw_only=True, tag="task.chunk.v1"):
    """A piece of the answer, written by the node. The last one has ``finish_reason``, ``usage`` and ``signature``.

    ``offset`` counts characters (Unicode code points) of the answer before this chunk, over all attempts: those of its
    text and those of the arguments of its calls; ``tokens`` the completion tokens in it. Where the answer is vectors,
    they count vectors, and the tokens of their texts.
    """

    n: Counter
    attempt: Attempt
    offset: Count
    text: str
    tokens: ChunkTokens = 0
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    signature: ChunkSignature | None = None
    """For all chunks of the attempt."""
    tool_calls: tuple[ToolCallPiece, ...] = ()
    """Behind ``text``: what the answer's calls have grown by."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of the tokens in ``text``, where they were asked for."""
    vectors: Vectors | None = None
    """Instead of text."""
    prompt_tokens: Count | None = None
    """How long the node says that the prompt is: in an attempt's first chunk, where its engine knows. No signature
    covers it; it counts only where no whole answer comes, whose usage says it better."""

    @property
    def length(self) -> int:
        """How much further it brings the answer: in characters, or in vectors."""
        return chars_in(self.text, self.tool_calls) if self.vectors is None else self.vectors.count


Outcome = Literal["completed", "failed", "cancelled", "dead"]


class TaskEnded(Event, frozen=True, kw_only=True, tag="task.ended.v1"):
    """The marker that closes a task's subjects; the fact itself stands in ENDED."""

    n: Counter
    at_ms: int
    outcome: Outcome
    error: TaskError | None = None
    hedge: Hedge | None = None
    """As in the end that it tells of."""


# --- ENDED: the one terminal event -------------------------------------------------------------------------------


class AttemptShare(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one attempt contributed to the accepted text: the basis of a node's earnings."""

    attempt: Attempt
    node: str
    chars: Count
    tokens: Count
    signed: bool = False
    """Whether the node has signed for it, and a dispatcher has checked that."""


class AttemptFailure(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why one attempt came to nothing."""

    attempt: Attempt
    node: str
    code: str
    message: str


class TaskCompleted(Event, frozen=True, kw_only=True, tag="task.completed.v1"):
    """The answer is whole. ``final_n`` is the counter of its last chunk; the ``ended`` marker has the next one."""

    at_ms: int
    model: str
    final_n: Counter
    finish_reason: FinishReason
    usage: Usage
    shares: tuple[AttemptShare, ...]
    failures: tuple[AttemptFailure, ...] = ()
    """Why earlier attempts came to nothing."""
    hedge: Hedge | None = None
    """The second node that was asked, and what came of that; a node that lost has no share."""
    metered: Metered | None = None


class TaskFailed(Event, frozen=True, kw_only=True, tag="task.failed.v1"):
    """No whole answer will come. ``shares`` says what was delivered up to ``final_n``."""

    at_ms: int
    model: str
    final_n: Count
    error: TaskError
    shares: tuple[AttemptShare, ...] = ()
    metered: Metered | None = None


class TaskCancelled(Event, frozen=True, kw_only=True, tag="task.cancelled.v1"):
    """The account no longer wanted the answer. ``shares`` says what was delivered up to ``final_n``."""

    at_ms: int
    model: str
    final_n: Count
    reason: str
    shares: tuple[AttemptShare, ...] = ()
    metered: Metered | None = None


class TaskDead(Event, frozen=True, kw_only=True, tag="task.dead.v1"):
    """Too many attempts came to nothing: kept for inspection, and tried again only by hand (``ig3 dead``)."""

    at_ms: int
    model: str
    final_n: Count
    error: TaskError
    failures: tuple[AttemptFailure, ...]
    shares: tuple[AttemptShare, ...] = ()
    metered: Metered | None = None


# --- What may stand where ----------------------------------------------------------------------------------------

Marker = TaskAccepted | TaskQueued | TaskAssigned | TaskRequeued | TaskHalted | TaskEnded
"""Written by services only, on the writer token ``mesh``."""

TaskEvent = Marker | TaskChunk
"""All that RESULTS may hold."""

EndEvent = TaskCompleted | TaskFailed | TaskCancelled | TaskDead
"""All that ENDED may hold."""

AnyEvent = (
    TaskSubmitted
    | TaskEvent
    | EndEvent
    | DeadEvent
    | RequestKeyed
    | ResponseDeleted
    | SubmissionUnreadable
    | CacheHit
    | ModelEvent
    | DeviceEvent
    | AccessEvent
    | NonceSpent
    | SessionEnded
    | GroupEvent
    | FileEvent
    | BatchEvent
    | StoreEvent
    | AnyBillingEvent
)

CATALOGUE: Final[tuple[type[Event], ...]] = (
    TaskSubmitted,
    TaskAccepted,
    TaskQueued,
    TaskAssigned,
    TaskRequeued,
    TaskHalted,
    TaskChunk,
    TaskEnded,
    TaskCompleted,
    TaskFailed,
    TaskCancelled,
    TaskDead,
    DeadKept,
    DeadRedriven,
    DeadDropped,
    RequestKeyed,
    ResponseDeleted,
    SubmissionUnreadable,
    ModelAnnounced,
    ModelWithdrawn,
    ModelRefused,
    ModelDesired,
    ModelScaled,
    DeviceRegistered,
    DeviceVerified,
    DeviceAdmitted,
    DeviceSuspended,
    DeviceRevoked,
    DeviceUnconfirmed,
    DeviceChecked,
    DeviceLost,
    DeviceReturned,
    AccountOpened,
    MemberJoined,
    MemberLeft,
    KeyIssued,
    KeyRevoked,
    AccountClosed,
    AccountErased,
    NonceSpent,
    *(SessionEnded, *get_args(GroupEvent), *get_args(FileEvent), *get_args(BatchEvent), CacheHit),
    *get_args(StoreEvent),
    *get_args(AnyBillingEvent),
)
"""Every event and version there is; AsyncAPI and the golden files are made from this list."""
