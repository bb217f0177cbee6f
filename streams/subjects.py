"""Every subject of the mesh, built and parsed in one place.

Builders take checked tokens; parsers raise on anything of another shape, so a subject is never split elsewhere.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, get_args

from streams.errors import InvalidSubject, InvalidTaskId, InvalidToken
from streams.tasks.task_id import bucket_of, parse_task_id
from streams.tokens import Token, encode_name, token

ServiceClass = Literal["interactive", "standard", "batch"]
"""Urgency: each class has a consumer of its own, so batch work never delays a waiting person."""

SERVICE_CLASSES: Final[tuple[ServiceClass, ...]] = get_args(ServiceClass)

MESH: Final = Token("mesh")
"""The writer token of services on RESULTS; no node may be called so."""

CHECKS: Final = Token("mesh-checks")
"""The account of the mesh's own tasks, which check answers (ADR 14); no account of users may be called so."""


class TaskKey(NamedTuple):
    """What names a task everywhere: whose it is and which."""

    account: Token
    task: Token


class Submission(NamedTuple):
    """A ``tasks.…`` subject, taken apart."""

    service_class: ServiceClass
    key: TaskKey


class ResultOrigin(NamedTuple):
    """A ``results.…`` or ``live.…`` subject, taken apart."""

    key: TaskKey
    writer: Token


class NodeCall(NamedTuple):
    """An ``api.node.…`` or ``api.user.…`` subject, taken apart: who calls, and what."""

    caller: Token
    verb: Token


# --- streams -----------------------------------------------------------------------------------------------------


def submitted(service_class: ServiceClass, key: TaskKey) -> str:
    """Where a task is submitted."""
    return f"tasks.{service_class}.{bucket_of(key.task)}.{key.account}.{key.task}.submitted"


def result(key: TaskKey, writer: Token) -> str:
    """Where ``writer`` puts markers or chunks of a task."""
    return f"results.{bucket_of(key.task)}.{key.account}.{key.task}.{writer}"


def results_of(key: TaskKey) -> str:
    """All writers of one task: the filter that every fenced publish names, byte for byte the same."""
    return f"results.{bucket_of(key.task)}.{key.account}.{key.task}.*"


def live_of(key: TaskKey, writer: str = "*") -> str:
    """What was stored for one task, as it is stored; of one writer, if one is named."""
    return f"live.{bucket_of(key.task)}.{key.account}.{key.task}.{writer}"


def live_of_account(account: Token) -> str:
    """What was stored for all tasks of an account, as it is stored."""
    return f"live.*.{account}.>"


LIVE_ALL: Final = "live.>"


def ended(key: TaskKey) -> str:
    """Where the one terminal event of a task stands, in CORE."""
    return f"ended.{bucket_of(key.task)}.{key.account}.{key.task}"


def settled(key: TaskKey) -> str:
    """The same event as it is stored: ENDED republishes here, so refused ends are never seen."""
    return f"settled.{bucket_of(key.task)}.{key.account}.{key.task}"


SETTLED_ALL: Final = "settled.>"


def model(node: Token, name: str) -> str:
    """Where announcements of a model by a node stand; the name is encoded."""
    return f"models.{node}.{encode_name(name)}"


MODEL_WISHES: Final = f"models.{MESH}.*"
"""Where it stands how many replicas of each model there shall be: in the place of a node, which none is called."""


def dead(key: TaskKey) -> str:
    """Where it stands what became of a task that died."""
    return f"dead.{key.account}.{key.task}"


def request_key(account: Token, digest: Token) -> str:
    """Where it stands which task an account's idempotency key means; ``digest`` is the key's SHA-256 in hex."""
    return f"keys.{account}.{digest}"


LimitScope = Literal["account", "key"]
"""Whose limits: those of a whole account, or those of one API key."""


def limit_state(scope: LimitScope, name: Token) -> str:
    """Where it stands what is taken of the limits of one account or one key, as the newest message."""
    return f"limits.{scope}.{name}"


def access(account: Token) -> str:
    """Where it stands who may speak for an account, as one fenced chain."""
    return f"access.{account}"


def nonce(digest: Token) -> str:
    """Where it stands that the nonce of a sign-in was spent; ``digest`` is its SHA-256 in hex."""
    return f"nonces.{digest}"


def session(session_id: Token) -> str:
    """Where it stands that a session was ended by its holder."""
    return f"sessions.{session_id}"


UNREADABLE_SUBMISSION: Final = "unreadable.submission"
"""Where submissions are kept that name no task."""


def chain_reading(did: Token) -> str:
    """Where it stands what the chain was last seen to say of a DID, named by its fingerprint, as the newest message."""
    return f"chain.{did}"


DeviceKind = Literal[
    "registered",
    "verified",
    "admitted",
    "suspended",
    "revoked",
    "unconfirmed",
    "checked",
    "lost",
    "returned",
]


def device(node: Token, kind: DeviceKind) -> str:
    """Where events about a device stand."""
    return f"devices.{node}.{kind}"


# --- core NATS ---------------------------------------------------------------------------------------------------


def status(node: Token) -> str:
    """Where a node reports its load."""
    return f"status.{node}"


STATUS_ALL: Final = "status.*"


NodeOrder = Literal["assign", "stop", "registry", "report", "probe", "orders", "group"]
"""What a node is told, or asked."""


def node_inbox(node: Token, verb: NodeOrder) -> str:
    """Where a node is told something."""
    return f"node.{node}.{verb}"


_NODE_CONNECTION: Final = "node:"


def node_connection(node: Token) -> str:
    """The name under which a node's connection stands in the broker's list."""
    return f"{_NODE_CONNECTION}{node}"


def node_of_connection(name: str) -> Token | None:
    """The node whose connection has this name, or None. Whoever connects chooses the name, so this is a hint."""
    try:
        return token(name.removeprefix(_NODE_CONNECTION)) if name.startswith(_NODE_CONNECTION) else None
    except InvalidToken:
        return None


def node_inbox_all(node: Token) -> str:
    """All that a node may be told."""
    return f"node.{node}.>"


NodeVerb = Literal["announce", "ask", "finished", "refused", "model", "chunk", "group"]
UserVerb = Literal["events", "cancel", "store"]
NODE_VERBS: Final[tuple[NodeVerb, ...]] = get_args(NodeVerb)
USER_VERBS: Final[tuple[UserVerb, ...]] = get_args(UserVerb)


def node_api(node: Token, verb: NodeVerb) -> str:
    """Where a node asks something of the services."""
    return f"api.node.{node}.{verb}"


def node_api_all(verb: NodeVerb) -> str:
    """Where a service hears that question from all nodes."""
    return f"api.node.*.{verb}"


def user_api(account: Token, verb: UserVerb) -> str:
    """Where an account asks something of the services."""
    return f"api.user.{account}.{verb}"


def user_api_all(verb: UserVerb) -> str:
    """Where a service hears that question from all accounts."""
    return f"api.user.*.{verb}"


def node_inbox_prefix(node: Token) -> str:
    """Prefix under which a node receives replies, and nobody else."""
    return f"_INBOX.node.{node}"


def user_inbox_prefix(account: Token) -> str:
    """Prefix under which an account's clients receive replies, and nobody else."""
    return f"_INBOX.user.{account}"


def inbox_of_node_call(subject: str) -> str:
    """The inbox prefix of the node that an ``api.node.…`` subject names."""
    return node_inbox_prefix(parse_call(subject).caller)


def inbox_of_user_call(subject: str) -> str:
    """The inbox prefix of the account that an ``api.user.…`` subject names."""
    return user_inbox_prefix(parse_call(subject).caller)


def backlog(dispatcher: Token) -> str:
    """Where a dispatcher says what it holds, in CORE."""
    return f"backlog.{dispatcher}"


BACKLOG_ALL: Final = "backlog.*"


def store(server: Token) -> str:
    """Where the keeper of a broker says whether its store has room, in CORE."""
    return f"store.{server}"


STORE_ALL: Final = "store.*"

PROJECTIONS: Final = "projection.standing"
"""Where every service is asked, in CORE, what its projections of the log have come to; each answers by itself."""


# --- parsers -----------------------------------------------------------------------------------------------------


def parse_submitted(subject: str) -> Submission:
    """Take a submission's subject apart.

    Raises:
        InvalidSubject: if class, bucket, account or task do not fit.
    """
    match subject.split("."):
        case ["tasks", service_class, bucket, account, task, "submitted"] if service_class in SERVICE_CLASSES:
            return Submission(_service_class(service_class), _key(subject, bucket, account, task))
        case _:
            raise InvalidSubject(f"{subject!r} is not tasks.<class>.<bucket>.<account>.<task>.submitted")


def parse_result(subject: str) -> ResultOrigin:
    """Take a ``results.…`` or ``live.…`` subject apart.

    Raises:
        InvalidSubject: if it is of another shape.
    """
    match subject.split("."):
        case ["results" | "live", bucket, account, task, writer]:
            return ResultOrigin(_key(subject, bucket, account, task), _part(subject, writer))
        case _:
            raise InvalidSubject(f"{subject!r} is not results.<bucket>.<account>.<task>.<writer>")


def parse_ended(subject: str) -> TaskKey:
    """Take an ``ended.…`` or ``settled.…`` subject apart.

    Raises:
        InvalidSubject: if it is of another shape.
    """
    match subject.split("."):
        case ["ended" | "settled", bucket, account, task]:
            return _key(subject, bucket, account, task)
        case _:
            raise InvalidSubject(f"{subject!r} is not ended.<bucket>.<account>.<task>")


def parse_dead(subject: str) -> TaskKey:
    """Take a ``dead.…`` subject apart.

    Raises:
        InvalidSubject: if it is of another shape.
    """
    match subject.split("."):
        case ["dead", account, task]:
            return TaskKey(_part(subject, account), _task(subject, task))
        case _:
            raise InvalidSubject(f"{subject!r} is not dead.<account>.<task>")


def parse_access(subject: str) -> Token:
    """Return the account that an ``access.…`` subject names.

    Raises:
        InvalidSubject: if it is of another shape.
    """
    match subject.split("."):
        case ["access", account]:
            return _part(subject, account)
        case _:
            raise InvalidSubject(f"{subject!r} is not access.<account>")


def parse_call(subject: str) -> NodeCall:
    """Take an ``api.node.…`` or ``api.user.…`` subject apart.

    Raises:
        InvalidSubject: if it is of another shape.
    """
    match subject.split("."):
        case ["api", "node" | "user", caller, verb]:
            return NodeCall(_part(subject, caller), _part(subject, verb))
        case _:
            raise InvalidSubject(f"{subject!r} is not api.<node|user>.<caller>.<verb>")


def parse_status(subject: str) -> Token:
    """Return the node that a status subject names.

    Raises:
        InvalidSubject: if it is of another shape.
    """
    match subject.split("."):
        case ["status", node]:
            return _part(subject, node)
        case _:
            raise InvalidSubject(f"{subject!r} is not status.<node>")


def _service_class(text: str) -> ServiceClass:
    return next(known for known in SERVICE_CLASSES if known == text)


def _part(subject: str, text: str) -> Token:
    try:
        return token(text)
    except InvalidToken as error:
        raise InvalidSubject(f"{subject!r} has a part that is no token: {error}") from error


def _task(subject: str, text: str) -> Token:
    try:
        return parse_task_id(text)
    except InvalidTaskId as error:
        raise InvalidSubject(f"{subject!r} names no task: {error}") from error


def _key(subject: str, bucket: str, account: str, task: str) -> TaskKey:
    key = TaskKey(_part(subject, account), _task(subject, task))
    if bucket != bucket_of(key.task) or task != key.task:
        raise InvalidSubject(f"{subject!r} does not spell its task {key.task} under bucket {bucket_of(key.task)!r}")
    return key
