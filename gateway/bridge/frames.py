"""Every frame of the websocket protocol, typed, in both directions. ``docs/websocket.md`` explains them."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from streams.access.events import Right, Role
from streams.devices.replica import ModelKind, Replica
from streams.events import Outcome, TaskError, TaskEvent
from streams.messages import NodeStatus
from streams.tasks.chat import FinishReason
from streams.tasks.task import Phase

Topic = Literal["task", "tasks", "nodes", "models"]
"""``task``: one task, resumable. ``tasks``: all of the account's. ``nodes``, ``models``: who can do what."""

RequestId = Annotated[int, Meta(ge=0, le=2**53 - 1)]
"""Chosen by the client and echoed in the answer; 53 bits, since JavaScript keeps no more."""

TaskName = Annotated[str, Meta(min_length=1, max_length=64)]

# --- client -> gateway -------------------------------------------------------------------------------------------


class FromClient(Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """Root of what a client may send."""

    id: RequestId = 0


class Subscribe(FromClient, frozen=True, kw_only=True, tag="subscribe"):
    """Tell me what happens. ``task`` and ``after`` go with the topic ``task`` only."""

    topic: Topic
    task: TaskName | None = None
    after: Annotated[int, Meta(ge=0)] = 0
    """The last counter ``n`` that the client has of the task; 0 for all."""


class Unsubscribe(FromClient, frozen=True, kw_only=True, tag="unsubscribe"):
    """Tell me no more."""

    topic: Topic
    task: TaskName | None = None


class CancelTask(FromClient, frozen=True, kw_only=True, tag="cancel"):
    """End a task; answered with how it ended."""

    task: TaskName
    reason: Annotated[str, Meta(max_length=256)] = "cancelled by the client"


class Authenticate(FromClient, frozen=True, kw_only=True, tag="authenticate"):
    """This is who I am. Where the gateway asks for it, the first frame; again before a session is over."""

    token: Annotated[str, Meta(min_length=1, max_length=4096)]
    """An API key, or the token of a session. Programs may send it as ``Authorization`` when they connect."""


class Ping(FromClient, frozen=True, kw_only=True, tag="ping"):
    """Are you there? Browsers cannot see the pings of the websocket protocol itself."""


ClientFrame = Authenticate | Subscribe | Unsubscribe | CancelTask | Ping

# --- gateway -> client -------------------------------------------------------------------------------------------


class FromGateway(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Root of what the gateway sends."""


class Hello(FromGateway, frozen=True, kw_only=True, tag="hello"):
    """The first frame: who answers, and the limits of this connection."""

    protocol: str
    account: str | None = None
    """Left out where the gateway waits to be told who is there: send ``authenticate``."""
    now_ms: int
    max_frame_bytes: int
    max_subscriptions: int
    bus_connected: bool


class Authenticated(FromGateway, frozen=True, kw_only=True, tag="authenticated"):
    """For whom this connection speaks from now on, and until when."""

    id: int
    account: str
    rights: tuple[Right, ...]
    role: Role | None = None
    expires_at_ms: int | None = None


class BusState(FromGateway, frozen=True, kw_only=True, tag="bus"):
    """Whether the gateway reaches the broker: sent when that changes."""

    connected: bool


class Subscribed(FromGateway, frozen=True, kw_only=True, tag="subscribed"):
    """The subscription stands; what belongs to it follows."""

    id: int
    topic: Topic
    task: str | None = None


class Unsubscribed(FromGateway, frozen=True, kw_only=True, tag="unsubscribed"):
    """Nothing more of it comes."""

    id: int
    topic: Topic
    task: str | None = None


class Pong(FromGateway, frozen=True, kw_only=True, tag="pong"):
    """Still here."""

    id: int
    now_ms: int


class Cancelled(FromGateway, frozen=True, kw_only=True, tag="cancelled"):
    """How the task ended: by this cancel, or by what came before it."""

    id: int
    task: str
    outcome: Literal["cancelled", "completed", "failed", "dead", "unknown"]


class ErrorFrame(FromGateway, frozen=True, kw_only=True, tag="error"):
    """A request could not be served (then ``id`` is its id), or a subscription is in trouble."""

    code: str
    message: str
    id: int | None = None
    topic: Topic | None = None
    task: str | None = None
    still_subscribed: bool = False
    """The gateway keeps the subscription and tries again by itself."""


class TaskHappening(Struct, frozen=True, kw_only=True):
    """One valid event of a task and who wrote it; ``event.n`` is what a client resumes from."""

    task: str
    writer: str
    event: TaskEvent


class Events(FromGateway, frozen=True, kw_only=True, tag="events"):
    """Events in order, without gap or repeat for each task."""

    topic: Topic
    events: tuple[TaskHappening, ...]


class TaskOver(FromGateway, frozen=True, kw_only=True, tag="over"):
    """The last event of the task was sent: its subscription has ended by itself."""

    task: str
    n: int


class TaskView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a task has become up to counter ``n``: ``prompt`` starts its question, ``tail`` ends its answer."""

    task: str
    created_ms: int
    model: str
    prompt: str
    n: int
    phase: Phase
    attempt: int = 0
    node: str | None = None
    chars: int = 0
    tokens: int = 0
    tail: str = ""
    position: int | None = None
    reason: str | None = None
    outcome: Outcome | None = None
    finish_reason: FinishReason | None = None
    error: TaskError | None = None
    ended_ms: int | None = None


class Tasks(FromGateway, frozen=True, kw_only=True, tag="tasks"):
    """Tasks as they stand. With ``reset`` these are all that the gateway shows: forget others. Else: these are new."""

    tasks: tuple[TaskView, ...]
    reset: bool = False


class NodeState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One node: what it serves, how busy it is, and for how long it has been silent."""

    node: str
    live: bool
    replicas: tuple[Replica, ...]
    status: NodeStatus | None = None
    silent_s: float | None = None


class Nodes(FromGateway, frozen=True, kw_only=True, tag="nodes"):
    """Nodes as they stand. With ``reset`` these are all; else only those that changed."""

    nodes: tuple[NodeState, ...]
    reset: bool = False


class ModelState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model that live nodes serve."""

    model: str
    created_ms: int
    nodes: tuple[str, ...]
    context_tokens: int
    engine: str
    quantisation: str | None = None
    kind: ModelKind = "chat"


class Models(FromGateway, frozen=True, kw_only=True, tag="models"):
    """All models that can be asked now; sent again as a whole on every change."""

    models: tuple[ModelState, ...]


GatewayFrame = (
    Hello
    | Authenticated
    | BusState
    | Subscribed
    | Unsubscribed
    | Pong
    | Cancelled
    | ErrorFrame
    | Events
    | TaskOver
    | Tasks
    | Nodes
    | Models
)

CLIENT_FRAMES: Final[tuple[type[FromClient], ...]] = (Authenticate, Subscribe, Unsubscribe, CancelTask, Ping)
GATEWAY_FRAMES: Final[tuple[type[FromGateway], ...]] = (
    Hello,
    Authenticated,
    BusState,
    Subscribed,
    Unsubscribed,
    Pong,
    Cancelled,
    ErrorFrame,
    Events,
    TaskOver,
    Tasks,
    Nodes,
    Models,
)
"""For the protocol page, which is checked against these."""
