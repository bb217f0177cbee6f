"""Requests and reports that travel on core NATS and are not events of record: nothing is lost when one is.

``LimitState`` alone is kept on a stream, the newest of each subject, for some minutes. Each has one subject family
(``streams.subjects``) and is tagged and versioned like an event.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Raw, Struct

from streams.access.limits import RateState, StreamHolder
from streams.billing.messages import LEDGER_MESSAGES
from streams.cache.messages import CACHE_MESSAGES
from streams.devices.hints import DeviceHints
from streams.devices.probe import Probe, Probed
from streams.devices.region_backlog import RegionBacklog
from streams.devices.replica import Replica
from streams.events import Attempt, ChunkSignature
from streams.files.events import FilePart
from streams.groups.messages import GROUP_MESSAGES
from streams.models.orders import ModelOrder, ModelOrdered, NodeRoom
from streams.models.store import ChunkRequest, ModelChunk, ModelOffer, ModelQuestion
from streams.projection_messages import FoldDigest, ProjectionRequest, Projections, RosterDigest, TaskDigest
from streams.stores.messages import RETRIEVAL_MESSAGES
from streams.stores.passages import PassageBatch
from streams.subjects import ServiceClass, TaskKey
from streams.tasks.assignments import Assign, Stop
from streams.tasks.chat import Count
from streams.wire import Wire

__all__ = [
    "ALL_MESSAGES",
    "AccountBacklog",
    "Announce",
    "Announced",
    "Ask",
    "Assign",
    "Backlog",
    "Cancel",
    "CancelOutcome",
    "EventsPage",
    "EventsRequest",
    "Finished",
    "FoldDigest",
    "LimitState",
    "ModelBacklog",
    "NodeStatus",
    "ProjectionRequest",
    "Projections",
    "Refusal",
    "Refused",
    "Replica",
    "ReplicaLoad",
    "RosterDigest",
    "Running",
    "Standing",
    "Stop",
    "StoreRequest",
    "StoreStatus",
    "StoredEvent",
    "TaskDigest",
    "Wire",
    "is_about",
]


# --- node -> services: status.<node>, api.node.<node>.* ----------------------------------------------------------


class Running(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt in progress on a node; its counter shows whether it still moves."""

    task: str
    attempt: Attempt
    model: str = ""
    tokens: Count = 0
    account: str = ""


class ReplicaLoad(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How busy one replica is."""

    model: str
    slots: int
    busy: Count
    tokens_per_s: float = 0.0


class NodeStatus(Wire, frozen=True, kw_only=True, tag="node.status.v1"):
    """A node's load, sent on change and as a heartbeat."""

    at_ms: int
    interval_s: Annotated[float, Meta(gt=0, le=600)]
    """Longest silence to expect before the next one; bounded, so that nobody is taken for alive for ever."""
    replicas: tuple[ReplicaLoad, ...] = ()
    running: tuple[Running, ...] = ()
    memory_bytes: int | None = None
    draining: bool = False
    room: NodeRoom | None = None
    """None: it takes up no models when it is told to."""
    process: str = ""
    """Another one after each start of the node: what it was given before is gone."""
    lends_bytes: Count = 0
    """Memory that a shard group may have of it; 0 while one has."""
    hints: DeviceHints | None = None
    """None: nothing speaks against giving it work, or nothing is known."""


class Announce(Wire, frozen=True, kw_only=True, tag="node.announce.v1"):
    """All that a node serves now; what it announced before and is not in here is withdrawn."""

    software: str
    replicas: Annotated[tuple[Replica, ...], Meta(max_length=64)]
    process: str = ""
    """The same as in its status reports: tells two processes of one id from one that was started again."""


class Announced(Wire, frozen=True, kw_only=True, tag="node.announced.v1"):
    """The registry's answer to an announcement."""

    accepted: bool
    reason: str = ""
    refused: tuple[str, ...] = ()
    """Of an announcement that was accepted: each model that was not, and why."""
    taken: bool = False
    """Whether another process serves under this id: asking again is of no use while it does."""


class Finished(Wire, frozen=True, kw_only=True, tag="node.finished.v1"):
    """The last chunk of the attempt is stored at ``sequence``. A hint: the dispatcher reads the stream itself."""

    task: str
    attempt: Attempt
    dispatcher: str
    sequence: int
    account: str = ""


class Refused(Wire, frozen=True, kw_only=True, tag="node.refused.v1"):
    """The node will not go on with the attempt; ``status`` below 500 means that no other node would either."""

    task: str
    attempt: Attempt
    dispatcher: str
    code: str
    message: str
    status: int = 503
    account: str = ""
    signature: ChunkSignature | None = None
    """For the chunks that it has stored, if there are any."""


def is_about(message: Stop | Running, key: TaskKey) -> bool:
    """Whether a message means this task: two accounts may have one of the same id. Old senders do not say whose."""
    return message.task == key.task and message.account in {"", key.account}


class Ask(Wire, frozen=True, kw_only=True, tag="node.ask.v1"):
    """A publish was refused or timed out: is the attempt still mine, and where does the next chunk go?"""

    account: str
    task: str
    attempt: Attempt
    hedge: bool = False
    """Whether it was never mine: I was asked beside another node, and have words now."""


class Standing(Wire, frozen=True, kw_only=True, tag="node.standing.v1"):
    """The answer to ``Ask``, read from the stream."""

    yours: bool
    next_n: int = 0
    last_sequence: int = 0
    chars: Count = 0
    written: bool = False
    """Whether the last chunk is stored already."""
    reason: str = ""
    undecided: bool = False
    """Not yours, but it may become so: the node that has the task has written nothing either. Wait, and ask again."""


# --- user -> services: api.user.<account>.* ----------------------------------------------------------------------


class EventsRequest(Wire, frozen=True, kw_only=True, tag="user.events.v1"):
    """Give me the events of a task past counter ``after``."""

    task: str
    after: Count = 0


class StoredEvent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event as the stream holds it; ``body`` is the event itself, in the format of the whole page."""

    sequence: int
    writer: str
    body: Raw


class EventsPage(Wire, frozen=True, kw_only=True, tag="user.events_page.v1"):
    """Events of a task, oldest first; ask again after the last ``n`` while ``more``."""

    task: str
    events: tuple[StoredEvent, ...]
    more: bool = False


class Cancel(Wire, frozen=True, kw_only=True, tag="user.cancel.v1"):
    """I no longer want the answer."""

    task: str
    reason: str = "cancelled by the client"


class CancelOutcome(Wire, frozen=True, kw_only=True, tag="user.cancel_outcome.v1"):
    """How the task ended: ``cancelled``, or what came before the cancel."""

    task: str
    outcome: Literal["cancelled", "completed", "failed", "dead", "unknown"]


class Refusal(Wire, frozen=True, kw_only=True, tag="refusal.v1"):
    """A request could not be served; code and status as HTTP would have given."""

    code: str
    message: str
    status: int


NEWER_VERSION: Final = "newer_version"
"""The code of a refusal because of what only a newer version can read: asking again is of no use."""


class StoreRequest(Wire, frozen=True, kw_only=True, tag="user.store.v1"):
    """Does the mesh take new tasks, as far as its disks go?"""


# --- broker -> gateways, in CORE: store.<server> -----------------------------------------------------------------


class StoreStatus(Wire, frozen=True, kw_only=True, tag="broker.store.v1"):
    """Whether a broker has room for new tasks; sent each ``interval_s`` and when it changes.

    ``reason`` says for people why it has none.
    """

    at_ms: int
    interval_s: float
    takes_tasks: bool
    reason: str = ""


# --- dispatcher -> gateways, in CORE: backlog.<dispatcher> -------------------------------------------------------


class AccountBacklog(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one account has open at one dispatcher."""

    account: str
    running: Count = 0
    waiting: Count = 0


class ModelBacklog(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many tasks wait for a model in a class at one dispatcher, and how fast such tasks have ended lately."""

    model: str
    service_class: ServiceClass
    waiting: Count = 0
    ended_per_s: float = 0.0


class Backlog(Wire, frozen=True, kw_only=True, tag="dispatcher.backlog.v1"):
    """What one dispatcher holds; sent each ``interval_s`` and once more when it ``leaves``."""

    at_ms: int
    interval_s: float
    accounts: tuple[AccountBacklog, ...] = ()
    models: tuple[ModelBacklog, ...] = ()
    regions: tuple[RegionBacklog, ...] = ()
    leaves: bool = False


# --- gateway -> gateways, in CORE, kept in LIMITS: limits.account.<account>, limits.key.<key> ---------------------


class LimitState(Wire, frozen=True, kw_only=True, tag="limits.state.v1"):
    """What is taken of the limits of one account or one key, by all gateways together."""

    requests: RateState = RateState()
    tokens: RateState = RateState()
    holders: tuple[StreamHolder, ...] = ()


# --- identity service -> identity services, in CORE, kept in CHAIN: chain.<fingerprint of a DID> ------------------


class ChainEntry(Struct, frozen=True, kw_only=True):
    """What stands on the chain under a name of an account; it holds to the block ``validity``."""

    name: str
    value_base64: str
    validity: Count


class ChainReading(Wire, frozen=True, kw_only=True, tag="chain.reading.v1"):
    """What a finalised block said of a DID that somebody had proved, and when it was read; no entry: nothing."""

    did: str
    read_at_ms: Count
    block: Count
    block_at_ms: Count
    entry: ChainEntry | None = None


ALL_MESSAGES: Final[tuple[type[Wire], ...]] = (
    Assign,
    Stop,
    NodeStatus,
    Announce,
    Announced,
    Finished,
    Refused,
    Ask,
    Standing,
    EventsRequest,
    EventsPage,
    Cancel,
    CancelOutcome,
    Refusal,
    StoreRequest,
    StoreStatus,
    Backlog,
    LimitState,
    ChainReading,
    ProjectionRequest,
    Projections,
    *GROUP_MESSAGES,
    FilePart,
    PassageBatch,
    *RETRIEVAL_MESSAGES,
    *CACHE_MESSAGES,
    *LEDGER_MESSAGES,
    ModelQuestion,
    ModelOffer,
    ChunkRequest,
    ModelChunk,
    ModelOrder,
    ModelOrdered,
    Probe,
    Probed,
)
"""Every message there is, for the AsyncAPI document."""
