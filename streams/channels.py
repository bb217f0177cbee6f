"""Who sends what where: every subject family of the mesh as a value, for the AsyncAPI document.

Addresses come out of the builders in ``streams.subjects``, descriptions out of their docstrings, so neither is written
twice.
"""

from __future__ import annotations

from typing import Any, Final, get_args

from streams import events, messages, subjects, topology
from streams.addresses import (
    ACCOUNT,
    DID,
    DIGEST,
    DISPATCHER,
    KEY,
    LIMITED,
    MODEL,
    NODE,
    SERVER,
    SESSION,
    WRITER,
    address,
    words_of,
)
from streams.billing.channels import BILLING_CHANNELS
from streams.cache.channels import CACHE_CHANNELS
from streams.channel import Channel, Kinds, Reply, Sender
from streams.devices import probe as node_probe
from streams.files.channels import FILE_CHANNELS
from streams.groups.channels import GROUP_CHANNELS
from streams.groups.messages import GroupAnswer
from streams.models import orders as model_orders
from streams.models import store as model_store
from streams.stores.channels import STORE_CHANNELS

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


def _stored() -> tuple[Channel, ...]:
    """What is stored of tasks."""
    return (
        Channel(
            name="submitted",
            address=address(subjects.submitted("interactive", KEY)),
            account="EDGE",
            description=words_of(subjects.submitted),
            senders=(Sender("user", (events.TaskSubmitted,)),),
            receivers=("service",),
            stream=topology.TASKS,
            takes_json=True,
        ),
        Channel(
            name="results",
            address=address(subjects.result(KEY, WRITER)),
            account="EDGE",
            description=f"{words_of(subjects.result)} Every publish is fenced; readers follow `live` instead.",
            senders=(Sender("service", _MARKERS), Sender("node", (events.TaskChunk,))),
            receivers=("service",),
            stream="RESULTS_*",
        ),
        Channel(
            name="ended",
            address=address(subjects.ended(KEY)),
            account="CORE",
            description=words_of(subjects.ended),
            senders=(Sender("service", _ENDS),),
            receivers=("service",),
            stream=topology.ENDED,
        ),
        Channel(
            name="dead",
            address=address(subjects.dead(KEY)),
            account="CORE",
            description=words_of(subjects.dead),
            senders=(Sender("service", _DEAD),),
            receivers=("service",),
            stream=topology.DEAD,
        ),
        Channel(
            name="keys",
            address=address(subjects.request_key(ACCOUNT, DIGEST)),
            account="CORE",
            description=words_of(subjects.request_key),
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
            description=words_of(events.SubmissionUnreadable),
            senders=(Sender("service", _UNREADABLE),),
            receivers=("service",),
            stream=topology.UNREADABLE,
        ),
        Channel(
            name="models",
            address=address(subjects.model(NODE, MODEL)),
            account="CORE",
            description=words_of(subjects.model),
            senders=(Sender("service", _MODEL_EVENTS),),
            receivers=("service",),
            stream=topology.MODELS,
        ),
        Channel(
            name="devices",
            address=address(subjects.device(NODE, "lost")),
            account="CORE",
            description=words_of(subjects.device),
            senders=(Sender("service", _DEVICE_EVENTS),),
            receivers=("service",),
            stream=topology.DEVICES,
        ),
        Channel(
            name="access",
            address=address(subjects.access(ACCOUNT)),
            account="CORE",
            description=words_of(subjects.access),
            senders=(Sender("service", _ACCESS_EVENTS),),
            receivers=("service",),
            stream=topology.ACCESS,
        ),
        Channel(
            name="nonces",
            address=address(subjects.nonce(DIGEST)),
            account="CORE",
            description=words_of(subjects.nonce),
            senders=(Sender("service", (events.NonceSpent,)),),
            receivers=("service",),
            stream=topology.NONCES,
        ),
        Channel(
            name="sessions",
            address=address(subjects.session(SESSION)),
            account="CORE",
            description=words_of(subjects.session),
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
            address=address(subjects.limit_state("account", LIMITED)).replace(".account.", ".{scope}.", 1),
            account="CORE",
            description=words_of(subjects.limit_state),
            senders=(Sender("service", (messages.LimitState,)),),
            receivers=("service",),
            stream=topology.LIMITS,
        ),
        Channel(
            name="chain",
            address=address(subjects.chain_reading(DID)),
            account="CORE",
            description=words_of(subjects.chain_reading),
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
            address=address(subjects.result(KEY, WRITER)).replace("results.", "live.", 1),
            account="EDGE",
            description=words_of(subjects.live_of),
            senders=(Sender("broker", (*_MARKERS, events.TaskChunk)),),
            receivers=("user", "service"),
        ),
        Channel(
            name="settled",
            address=address(subjects.settled(KEY)),
            account="CORE",
            description=words_of(subjects.settled),
            senders=(Sender("broker", _ENDS),),
            receivers=("service",),
        ),
    )


def _to_node(verb: subjects.NodeOrder, description: str, *kinds: type[Any], answers: Kinds = ()) -> Channel:
    return Channel(
        name=verb,
        address=address(subjects.node_inbox(NODE, verb)),
        account="EDGE",
        description=description,
        senders=(Sender("service", kinds), *((Sender("node", answers),) if answers else ())),
        receivers=("node",),
        reply=Reply("results", (events.TaskChunk,)) if verb == "assign" else None,
    )


def _from_node(verb: subjects.NodeVerb, kind: type[Any], answer: type[Any] | None = None) -> Channel:
    return Channel(
        name=verb,
        address=address(subjects.node_api(NODE, verb)),
        account="EDGE",
        description=words_of(kind),
        senders=(Sender("node", (kind,)),),
        receivers=("service",),
        reply=None if answer is None else Reply("node_inbox", (answer, messages.Refusal)),
    )


def _from_user(verb: subjects.UserVerb, kind: type[Any], answer: type[Any]) -> Channel:
    return Channel(
        name=verb,
        address=address(subjects.user_api(ACCOUNT, verb)),
        account="EDGE",
        description=f"{words_of(kind)} The answer has the format of the question.",
        senders=(Sender("user", (kind,)),),
        receivers=("service",),
        reply=Reply("user_inbox", (answer, messages.Refusal)),
        takes_json=True,
    )


def _passing() -> tuple[Channel, ...]:
    status = Channel(
        name="status",
        address=address(subjects.status(NODE)),
        account="EDGE",
        description=words_of(subjects.status),
        senders=(Sender("node", (messages.NodeStatus,)),),
        receivers=("service",),
    )
    grant = "Where a node is given work. The reply subject is its results subject: the right to write there."
    return (
        _to_node("assign", grant, messages.Assign),
        _to_node("stop", "Where a node is told to give up an attempt.", messages.Stop),
        _to_node("registry", "An empty message: announce again, the registry has started anew."),
        _to_node("probe", f"{words_of(node_probe.Probe)}{_BACK}", node_probe.Probe, answers=(node_probe.Probed,)),
        _to_node("orders", f"{words_of(model_orders.ModelOrder)}{_BACK}", *_ORDERS[:1], answers=_ORDERS[1:]),
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
            address=address(subjects.store(SERVER)),
            account="CORE",
            description=words_of(subjects.store),
            senders=(Sender("service", (messages.StoreStatus,)),),
            receivers=("service",),
        ),
        Channel(
            name="backlog",
            address=address(subjects.backlog(DISPATCHER)),
            account="CORE",
            description=words_of(subjects.backlog),
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
            address=address(f"{subjects.node_inbox_prefix(NODE)}.{{reply}}"),
            account="EDGE",
            description=words_of(subjects.node_inbox_prefix),
            senders=(Sender("service", _ANSWERS_TO_NODES),),
            receivers=("node",),
        ),
        Channel(
            name="user_inbox",
            address=address(f"{subjects.user_inbox_prefix(ACCOUNT)}.{{reply}}"),
            account="EDGE",
            description=words_of(subjects.user_inbox_prefix),
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
