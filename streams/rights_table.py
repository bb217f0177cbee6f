"""Every role against every family of subjects: what docs/rights.md shows, and what a test tries on a real broker.

The table is computed from the rights themselves, so it cannot say anything else than what the broker is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

from msgspec import Struct

from streams import subjects
from streams.batches import subjects as batch_subjects
from streams.billing import subjects as billing_subjects
from streams.cache import subjects as cache_subjects
from streams.files import subjects as file_subjects
from streams.groups import subjects as group_subjects
from streams.rights import BusRights, node_rights, user_rights, viewer_rights
from streams.stores import subjects as store_subjects
from streams.stores.subjects import StoreKey
from streams.subjects import TaskKey
from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Iterator

Role = Literal["device", "user", "viewer"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

NODE: Final = Token("node-a")
ACCOUNT: Final = Token("alice")
_OTHER_NODE: Final = Token("node-b")
_OTHER_ACCOUNT: Final = Token("bob")
_TASK: Final = Token("019b7a3e00007abc8def012345678900")

RIGHTS: Final[dict[Role, BusRights]] = {
    "device": node_rights(NODE),
    "user": user_rights(ACCOUNT),
    "viewer": viewer_rights(ACCOUNT),
}
"""The device is ``node-a``; user and viewer are of the account ``alice``."""


class Row(Struct, frozen=True, kw_only=True):
    """One subject, and what it is."""

    family: str
    subject: str

    def may_publish(self, role: Role) -> bool:
        """Whether the role may publish there."""
        return any(matches(pattern, self.subject) for pattern in RIGHTS[role].publish)

    def may_subscribe(self, role: Role) -> bool:
        """Whether the role may subscribe there."""
        return any(matches(pattern, self.subject) for pattern in RIGHTS[role].subscribe)


def matches(pattern: str, subject: str) -> bool:
    """Whether a pattern of NATS covers a subject, or all that another pattern covers."""
    wanted, given = pattern.split("."), subject.split(".")
    for place, part in enumerate(wanted):
        if part == ">":
            return len(given) > place
        if place >= len(given) or given[place] == ">":
            return False
        if part not in {"*", given[place]}:
            return False
    return len(wanted) == len(given)


def rows() -> tuple[Row, ...]:
    """Every row, in the order of the page."""
    return (*_of_tasks(), *_of_devices(), *_of_users(), *_of_facts(), *_of_the_broker(), *_of_everything())


def _of_tasks() -> Iterator[Row]:
    for whose, account in (("own", ACCOUNT), ("another's", _OTHER_ACCOUNT)):
        key = TaskKey(account, _TASK)
        for service_class in subjects.SERVICE_CLASSES:
            yield Row(family=f"submit, {whose} account", subject=subjects.submitted(service_class, key))
        yield Row(family=f"chunks, {whose} account", subject=subjects.result(key, NODE))
        yield Row(family=f"markers, {whose} account", subject=subjects.result(key, subjects.MESH))
        yield Row(family=f"all of a task, {whose} account", subject=subjects.results_of(key))
        yield Row(family=f"live, {whose} account", subject=subjects.live_of_account(account))
        yield Row(family=f"live of a task, {whose} account", subject=subjects.live_of(key))
    yield Row(family="chunks of another device", subject=subjects.result(TaskKey(ACCOUNT, _TASK), _OTHER_NODE))
    yield Row(family="live, all", subject=subjects.LIVE_ALL)


def _of_devices() -> Iterator[Row]:
    for whose, node in (("own", NODE), ("another's", _OTHER_NODE)):
        yield Row(family=f"load, {whose}", subject=subjects.status(node))
        for verb in subjects.NODE_VERBS:
            yield Row(family=f"questions, {whose}", subject=subjects.node_api(node, verb))
        yield Row(family=f"orders, {whose}", subject=subjects.node_inbox(node, "assign"))
        yield Row(family=f"all orders, {whose}", subject=subjects.node_inbox_all(node))
        yield Row(family=f"replies, {whose}", subject=f"{subjects.node_inbox_prefix(node)}.x.1")
    yield Row(family="load, all", subject=subjects.STATUS_ALL)


def _of_users() -> Iterator[Row]:
    for whose, account in (("own", ACCOUNT), ("another's", _OTHER_ACCOUNT)):
        for verb in subjects.USER_VERBS:
            yield Row(family=f"questions, {whose} account", subject=subjects.user_api(account, verb))
        yield Row(family=f"replies, {whose} account", subject=f"{subjects.user_inbox_prefix(account)}.x.1")


def _of_facts() -> Iterator[Row]:
    key = TaskKey(ACCOUNT, _TASK)
    facts = {
        "ends": subjects.ended(key),
        "ends as they are stored": subjects.settled(key),
        "dead tasks": subjects.dead(key),
        "models": subjects.model(NODE, "model"),
        "devices": subjects.device(NODE, "admitted"),
        "shard groups": group_subjects.group(Token("0")),
        "files": file_subjects.file(ACCOUNT, Token("0")),
        "parts of files": file_subjects.file_part(ACCOUNT, Token("0"), 0),
        "batches": batch_subjects.batch(ACCOUNT, Token("0")),
        "vector stores": store_subjects.store(StoreKey(ACCOUNT, Token("0"))),
        "passages of files": store_subjects.passages(StoreKey(ACCOUNT, Token("0")), Token("0"), 1, 0),
        "searches": store_subjects.SEARCH,
        "money": billing_subjects.account_chain(ACCOUNT).subject,
        "what nodes are paid": billing_subjects.book_chain("payouts").subject,
        "prices": billing_subjects.book_chain("prices").subject,
        "holds": billing_subjects.ledger_api("hold"),
        "idempotency keys": subjects.request_key(ACCOUNT, Token("0")),
        "accounts, members and keys": subjects.access(ACCOUNT),
        "spent nonces": subjects.nonce(Token("0")),
        "ended sessions": subjects.session(Token("0")),
        "what is taken of limits": subjects.limit_state("account", ACCOUNT),
        "answers in the cache": cache_subjects.cache_entry(ACCOUNT, Token("0")),
        "answers given from the cache": cache_subjects.cache_hits(ACCOUNT),
        "submissions nobody could read": subjects.UNREADABLE_SUBMISSION,
    }
    for family, subject in facts.items():
        yield Row(family=f"{family} (CORE)", subject=subject)


def _of_the_broker() -> Iterator[Row]:
    for subject in (
        *("$JS.API.INFO", "$JS.API.STREAM.DELETE.TASKS", "$JS.API.STREAM.PURGE.TASKS", "$JS.API.STREAM.CREATE.X"),
        *("$JS.API.STREAM.UPDATE.TASKS", "$JS.API.STREAM.MSG.DELETE.TASKS", "$JS.API.STREAM.INFO.TASKS"),
        *("$JS.API.CONSUMER.CREATE.TASKS", "$JS.API.CONSUMER.MSG.NEXT.TASKS.dispatch-standard"),
        *("$JS.API.CONSUMER.DELETE.TASKS.dispatch-standard", "$JS.API.CONSUMER.DURABLE.CREATE.TASKS.x"),
        *("$JS.API.STREAM.MSG.GET.TASKS", "$JS.API.DIRECT.GET.TASKS", "$JS.ACK.TASKS.dispatch-standard.1.1.1.1.1"),
        *("$SYS.REQ.SERVER.PING", "$SYS.REQ.USER.AUTH", "$SRV.PING", "$O.store.C.x", "$KV.x.y"),
    ):
        yield Row(family="the broker itself", subject=subject)


def _of_everything() -> Iterator[Row]:
    for subject in (
        ">",
        "*",
        "tasks.>",
        "results.>",
        "node.>",
        "api.>",
        "_INBOX.>",
        "_INBOX.svc.>",
        "site.>",
        "store.x",
    ):
        yield Row(family="wildcards and services", subject=subject)
