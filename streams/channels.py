"""Who sends what where: every subject family of the mesh as a value, for the AsyncAPI document.

Addresses come out of the builders in ``streams.subjects``, descriptions out of their docstrings, so neither is written
twice.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final, get_args

from streams import events, messages, model_orders, model_store, node_probe, subjects, topology
from streams.billing_channels import BILLING_CHANNELS, BILLING_PARAMETERS
from streams.cache_channels import CACHE_CHANNELS
from streams.channel import Channel, Kinds, Reply, Sender
from streams.file_channels import FILE_CHANNELS, FILE_PARAMETERS
from streams.group_channels import GROUP_CHANNELS
from streams.group_messages import GroupAnswer
from streams.store_channels import STORE_CHANNELS, STORE_PARAMETERS
from streams.subjects import TaskKey
from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Callable

PARAMETERS: Final[dict[str, str]] = {
    "class": "Urgency; each class is served on its own.",
    "bucket": "The last hex digit of the task id.",
    "account": "Whose task it is, or whose members and keys.",
    "task": "The task id: a UUIDv7 in 32 lower-case hex digits.",
    "writer": "A node id, or `mesh` for markers of services.",
    "node": "The id of a device.",
    "group": "The id of a shard group.",
    **FILE_PARAMETERS,
    **STORE_PARAMETERS,
    **BILLING_PARAMETERS,
    "model": "The model's name as one token; names of other characters are encoded.",
    "kind": "What happened to the device.",
    "digest": "A hash of an idempotency key, of the nonce of a sign-in, or of a request whose answer is kept, in hex.",
    "session": "The random id of a sign-in, which all tokens of it name.",
    "dispatcher": "The name of a dispatcher.",
    "server": "The name of a NATS server.",
    "scope": "Whose limits: `account` or `key`.",
    "did": "The fingerprint of a DID.",
    "limited": "The account, or the id of the API key.",
    "reply": "Chosen by the caller for each request.",
}
"""What stands in braces in an address."""

_ACCOUNT: Final = Token("some-account")
_NODE: Final = Token("some-node")
_WRITER: Final = Token("some-writer")
_MODEL: Final = Token("some-model")
_DIGEST: Final = Token("some-digest")
_SESSION: Final = Token("some-session")
_DISPATCHER: Final = Token("some-dispatcher")
_SERVER: Final = Token("some-server")
_LIMITED: Final = Token("some-limited")
_DID: Final = Token("some-did")
_KEY: Final = TaskKey(_ACCOUNT, Token("019b7a3e00007abc8def012345678900"))
_VARIABLE: Final[dict[str, str]] = {
    _SESSION: "session",
    "interactive": "class",
    subjects.bucket_of(_KEY.task): "bucket",
    _ACCOUNT: "account",
    _KEY.task: "task",
    _WRITER: "writer",
    _NODE: "node",
    _MODEL: "model",
    "lost": "kind",
    _DIGEST: "digest",
    _DISPATCHER: "dispatcher",
    _SERVER: "server",
    _LIMITED: "limited",
    _DID: "did",
}

_MARKERS: Final[Kinds] = (
    events.TaskAccepted,
    events.TaskQueued,
    events.TaskAssigned,
    events.TaskRequeued,
    events.TaskHalted,
    events.TaskEnded,
)
_ENDS: Final[Kinds] = (events.TaskCompleted, events.TaskFailed, events.TaskCancelled, events.TaskDead)
_ANSWERS_TO_USERS: Final[Kinds] = (messages.EventsPage, messages.CancelOutcome, messages.StoreStatus)
_ANSWERS_TO_NODES: Final[Kinds] = (
    messages.Announced,
    messages.Standing,
    model_store.ModelOffer,
    model_store.ModelChunk,
    GroupAnswer,
    messages.Refusal,
)
_ORDERS: Final[Kinds] = (model_orders.ModelOrder, model_orders.ModelOrdered)
_BACK: Final = " It answers in the asker's inbox."
_DEAD: Final[Kinds] = (events.DeadKept, events.DeadRedriven, events.DeadDropped)
_UNREADABLE: Final[Kinds] = (events.SubmissionUnreadable,)
_MODEL_EVENTS: Final[Kinds] = get_args(events.ModelEvent)
_DEVICE_EVENTS: Final[Kinds] = get_args(events.DeviceEvent)
_ACCESS_EVENTS: Final[Kinds] = get_args(events.AccessEvent)


def _address(subject: str) -> str:
    """Turn a sample subject into the pattern that all of its family follow."""
    return ".".join(f"{{{_VARIABLE[part]}}}" if part in _VARIABLE else part for part in subject.split("."))


def _doc(documented: Callable[..., str] | type[Any]) -> str:
    return inspect.getdoc(documented) or ""


def _stored() -> tuple[Channel, ...]:
    """What is stored of tasks."""
    return (
        Channel(
            name="submitted",
            address=_address(subjects.submitted("interactive", _KEY)),
            account="EDGE",
            description=_doc(subjects.submitted),
            senders=(Sender("user", (events.TaskSubmitted,)),),
            receivers=("service",),
            stream=topology.TASKS,
            takes_json=True,
        ),
        Channel(
            name="results",
            address=_address(subjects.result(_KEY, _WRITER)),
            account="EDGE",
            description=f"{_doc(subjects.result)} Every publish is fenced; readers follow `live` instead.",
            senders=(Sender("service", _MARKERS), Sender("node", (events.TaskChunk,))),
            receivers=("service",),
            stream="RESULTS_*",
        ),
        Channel(
            name="ended",
            address=_address(subjects.ended(_KEY)),
            account="CORE",
            description=_doc(subjects.ended),
            senders=(Sender("service", _ENDS),),
            receivers=("service",),
            stream=topology.ENDED,
        ),
        Channel(
            name="dead",
            address=_address(subjects.dead(_KEY)),
            account="CORE",
            description=_doc(subjects.dead),
            senders=(Sender("service", _DEAD),),
            receivers=("service",),
            stream=topology.DEAD,
        ),
        Channel(
            name="keys",
            address=_address(subjects.request_key(_ACCOUNT, _DIGEST)),
            account="CORE",
            description=_doc(subjects.request_key),
            senders=(Sender("service", (events.RequestKeyed, events.ResponseDeleted)),),
            receivers=("service",),
            stream=topology.KEYS,
        ),
    )


def _kept() -> tuple[Channel, ...]:
    """What is stored beside tasks."""
    return (
        Channel(
            name="unreadable",
            address=subjects.UNREADABLE_SUBMISSION,
            account="CORE",
            description=_doc(events.SubmissionUnreadable),
            senders=(Sender("service", _UNREADABLE),),
            receivers=("service",),
            stream=topology.UNREADABLE,
        ),
        Channel(
            name="models",
            address=_address(subjects.model(_NODE, _MODEL)),
            account="CORE",
            description=_doc(subjects.model),
            senders=(Sender("service", _MODEL_EVENTS),),
            receivers=("service",),
            stream=topology.MODELS,
        ),
        Channel(
            name="devices",
            address=_address(subjects.device(_NODE, "lost")),
            account="CORE",
            description=_doc(subjects.device),
            senders=(Sender("service", _DEVICE_EVENTS),),
            receivers=("service",),
            stream=topology.DEVICES,
        ),
        Channel(
            name="access",
            address=_address(subjects.access(_ACCOUNT)),
            account="CORE",
            description=_doc(subjects.access),
            senders=(Sender("service", _ACCESS_EVENTS),),
            receivers=("service",),
            stream=topology.ACCESS,
        ),
        Channel(
            name="nonces",
            address=_address(subjects.nonce(_DIGEST)),
            account="CORE",
            description=_doc(subjects.nonce),
            senders=(Sender("service", (events.NonceSpent,)),),
            receivers=("service",),
            stream=topology.NONCES,
        ),
        Channel(
            name="sessions",
            address=_address(subjects.session(_SESSION)),
            account="CORE",
            description=_doc(subjects.session),
            senders=(Sender("service", (events.SessionEnded,)),),
            receivers=("service",),
            stream=topology.SESSIONS,
        ),
    )


def _states() -> tuple[Channel, ...]:
    """What is stored and is no event: only the newest counts."""
    return (
        Channel(
            name="limits",
            address=_address(subjects.limit_state("account", _LIMITED)).replace(".account.", ".{scope}.", 1),
            account="CORE",
            description=_doc(subjects.limit_state),
            senders=(Sender("service", (messages.LimitState,)),),
            receivers=("service",),
            stream=topology.LIMITS,
        ),
        Channel(
            name="chain",
            address=_address(subjects.chain_reading(_DID)),
            account="CORE",
            description=_doc(subjects.chain_reading),
            senders=(Sender("service", (messages.ChainReading,)),),
            receivers=("service",),
            stream=topology.CHAIN,
        ),
    )


def _sent_on() -> tuple[Channel, ...]:
    """What the broker itself sends on as it stores."""
    return (
        Channel(
            name="live",
            address=_address(subjects.result(_KEY, _WRITER)).replace("results.", "live.", 1),
            account="EDGE",
            description=_doc(subjects.live_of),
            senders=(Sender("broker", (*_MARKERS, events.TaskChunk)),),
            receivers=("user", "service"),
        ),
        Channel(
            name="settled",
            address=_address(subjects.settled(_KEY)),
            account="CORE",
            description=_doc(subjects.settled),
            senders=(Sender("broker", _ENDS),),
            receivers=("service",),
        ),
    )


def _to_node(verb: subjects.NodeOrder, description: str, *kinds: type[Any], answers: Kinds = ()) -> Channel:
    return Channel(
        name=verb,
        address=_address(subjects.node_inbox(_NODE, verb)),
        account="EDGE",
        description=description,
        senders=(Sender("service", kinds), *((Sender("node", answers),) if answers else ())),
        receivers=("node",),
        reply=Reply("results", (events.TaskChunk,)) if verb == "assign" else None,
    )


def _from_node(verb: subjects.NodeVerb, kind: type[Any], answer: type[Any] | None = None) -> Channel:
    return Channel(
        name=verb,
        address=_address(subjects.node_api(_NODE, verb)),
        account="EDGE",
        description=_doc(kind),
        senders=(Sender("node", (kind,)),),
        receivers=("service",),
        reply=None if answer is None else Reply("node_inbox", (answer, messages.Refusal)),
    )


def _from_user(verb: subjects.UserVerb, kind: type[Any], answer: type[Any]) -> Channel:
    return Channel(
        name=verb,
        address=_address(subjects.user_api(_ACCOUNT, verb)),
        account="EDGE",
        description=f"{_doc(kind)} The answer has the format of the question.",
        senders=(Sender("user", (kind,)),),
        receivers=("service",),
        reply=Reply("user_inbox", (answer, messages.Refusal)),
        takes_json=True,
    )


def _passing() -> tuple[Channel, ...]:
    status = Channel(
        name="status",
        address=_address(subjects.status(_NODE)),
        account="EDGE",
        description=_doc(subjects.status),
        senders=(Sender("node", (messages.NodeStatus,)),),
        receivers=("service",),
    )
    grant = "Where a node is given work. The reply subject is its results subject: the right to write there."
    return (
        _to_node("assign", grant, messages.Assign),
        _to_node("stop", "Where a node is told to give up an attempt.", messages.Stop),
        _to_node("registry", "An empty message: announce again, the registry has started anew."),
        _to_node("probe", f"{_doc(node_probe.Probe)}{_BACK}", node_probe.Probe, answers=(node_probe.Probed,)),
        _to_node("orders", f"{_doc(model_orders.ModelOrder)}{_BACK}", *_ORDERS[:1], answers=_ORDERS[1:]),
        status,
        _from_node("announce", messages.Announce, messages.Announced),
        _from_node("ask", messages.Ask, messages.Standing),
        _from_node("finished", messages.Finished),
        _from_node("refused", messages.Refused),
        _from_node("model", model_store.ModelQuestion, model_store.ModelOffer),
        _from_node("chunk", model_store.ChunkRequest, model_store.ModelChunk),
        _from_user("events", messages.EventsRequest, messages.EventsPage),
        _from_user("cancel", messages.Cancel, messages.CancelOutcome),
        _from_user("store", messages.StoreRequest, messages.StoreStatus),
        Channel(
            name="stores",
            address=_address(subjects.store(_SERVER)),
            account="CORE",
            description=_doc(subjects.store),
            senders=(Sender("service", (messages.StoreStatus,)),),
            receivers=("service",),
        ),
        Channel(
            name="backlog",
            address=_address(subjects.backlog(_DISPATCHER)),
            account="CORE",
            description=_doc(subjects.backlog),
            senders=(Sender("service", (messages.Backlog,)),),
            receivers=("service",),
        ),
        Channel(
            name="projections",
            address=subjects.PROJECTIONS,
            account="CORE",
            description="Where every service is asked what its projections of the log have come to, by whoever "
            "verifies them. Each answers in the asker's inbox, in as many messages as it takes.",
            senders=(Sender("service", (messages.ProjectionRequest, messages.Projections)),),
            receivers=("service",),
        ),
    )


def _inboxes() -> tuple[Channel, ...]:
    return (
        Channel(
            name="node_inbox",
            address=_address(f"{subjects.node_inbox_prefix(_NODE)}.{{reply}}"),
            account="EDGE",
            description=_doc(subjects.node_inbox_prefix),
            senders=(Sender("service", _ANSWERS_TO_NODES),),
            receivers=("node",),
        ),
        Channel(
            name="user_inbox",
            address=_address(f"{subjects.user_inbox_prefix(_ACCOUNT)}.{{reply}}"),
            account="EDGE",
            description=_doc(subjects.user_inbox_prefix),
            senders=(Sender("service", (*_ANSWERS_TO_USERS, messages.Refusal)),),
            receivers=("user",),
            takes_json=True,
        ),
    )


CHANNELS: Final[tuple[Channel, ...]] = (
    *_stored(),
    *_kept(),
    *_states(),
    *_sent_on(),
    *_passing(),
    *GROUP_CHANNELS,
    *FILE_CHANNELS,
    *STORE_CHANNELS,
    *CACHE_CHANNELS,
    *BILLING_CHANNELS,
    *_inboxes(),
)
"""Every channel of the mesh."""
