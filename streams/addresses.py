"""Sample subjects, and the addresses of the AsyncAPI document that they stand for: a part of ``streams.channels``."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

from streams import subjects
from streams.billing.channels import BILLING_PARAMETERS
from streams.files.channels import FILE_PARAMETERS
from streams.stores.channels import STORE_PARAMETERS
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

ACCOUNT: Final = Token("some-account")
NODE: Final = Token("some-node")
WRITER: Final = Token("some-writer")
MODEL: Final = Token("some-model")
DIGEST: Final = Token("some-digest")
SESSION: Final = Token("some-session")
DISPATCHER: Final = Token("some-dispatcher")
SERVER: Final = Token("some-server")
LIMITED: Final = Token("some-limited")
DID: Final = Token("some-did")
KEY: Final = TaskKey(ACCOUNT, Token("019b7a3e00007abc8def012345678900"))
_VARIABLES: Final[dict[str, str]] = {
    SESSION: "session",
    "interactive": "class",
    subjects.bucket_of(KEY.task): "bucket",
    ACCOUNT: "account",
    KEY.task: "task",
    WRITER: "writer",
    NODE: "node",
    MODEL: "model",
    "lost": "kind",
    DIGEST: "digest",
    DISPATCHER: "dispatcher",
    SERVER: "server",
    LIMITED: "limited",
    DID: "did",
}


def address(subject: str) -> str:
    """Turn a sample subject into the pattern that all of its family follow."""
    return ".".join(f"{{{_VARIABLES[part]}}}" if part in _VARIABLES else part for part in subject.split("."))


def words_of(documented: Callable[..., str] | type[Any]) -> str:
    """What the docstring of a builder of subjects, or of an event, says."""
    return inspect.getdoc(documented) or ""
