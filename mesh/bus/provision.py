"""Making the broker's streams and consumers look like ``streams.topology``: idempotent, and deleting no data unasked.

A cluster that has just started, or has just lost a server, answers "not now": that is never taken for "not there".
"""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from msgspec.structs import replace

from mesh.bus.appends import NOT_NOW, SERVICE_UNAVAILABLE
from mesh.bus.drift import SHORTEST_DEDUPE_NS, Difference, differences
from mesh.bus.store_version import METADATA_KEY, STORE_VERSION, own_metadata, refuse_newer_stream
from mesh.errors import BusError, NoLeader, NoResponders, RequestTimedOut

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from mesh.bus.link import Link
    from streams.consumers import ConsumerSpec
    from streams.topology import Account, Source, StreamSpec

log = logging.getLogger(__name__)

SHORTENING: Final = "shortening deletes messages at once, and only `ig3 streams provision --shorten` does it"

_PERHAPS_LASTING: Final = ("foreign", "sealed")
_NOT_FOUND: Final = frozenset({10059, 10014})
_NAME_IN_USE: Final = 10058
_NO_STORAGE: Final = 10047
_NOT_NOW: Final = NOT_NOW | {_NAME_IN_USE}
"""A server that is still reading says "not found", and the leader then that the name is taken: look again."""
_API_TIMEOUT: Final = timedelta(seconds=15)
_API_TIMEOUT_IN_A_CLUSTER: Final = timedelta(seconds=2)
"""A server that is still looking for its cluster's leader answers nothing: it is soon asked again."""
_PAUSE_S: Final = 0.25
_AT_ONCE: Final = timedelta(0)


class Action(StrEnum):
    """What was found, or done, about one stream or consumer."""

    SAME = "same"
    MISSING = "missing"
    DRIFTED = "drifted"
    CREATED = "created"
    UPDATED = "updated"
    KEPT = "kept"
    """What differs could not be changed, or only by deleting messages; all else is as it should be."""


class Finding(Struct, frozen=True, kw_only=True):
    """One stream or consumer against its specification. With ``KEPT``, the differences are those that are left."""

    name: str
    action: Action
    differences: tuple[Difference, ...] = ()

    @property
    def shortens(self) -> bool:
        """Whether making it as it should be deletes messages."""
        return any(difference.kind == "shortening" for difference in self.differences)


async def check(
    links: Mapping[Account, Link], streams: Iterable[StreamSpec], consumers: Iterable[ConsumerSpec]
) -> list[Finding]:
    """Compare the broker with the specification and change nothing.

    Raises:
        BusError: if the broker does not answer.
    """
    wanted = [*(_Stream(spec) for spec in streams), *(_Consumer(spec) for spec in consumers)]
    return [await item.compare(links[item.account]) for item in wanted]


async def provision(
    links: Mapping[Account, Link],
    streams: Iterable[StreamSpec],
    consumers: Iterable[ConsumerSpec],
    *,
    patience: timedelta = _AT_ONCE,
    shorten: bool = False,
) -> list[Finding]:
    """Create what is missing and update what differs, as far as the broker can without losing data.

    A setting of somebody else's that the broker does not give up is kept, and so is a stream's longer ``max_age``: the
    broker would delete at once what is older than a shorter one. Both are logged.

    Args:
        links: a connection in each account.
        streams: what there should be.
        consumers: the same.
        patience: how long to go on asking a cluster that has no leader, or too few servers, at the moment.
        shorten: apply a shorter ``max_age`` too.

    Raises:
        StoreTooNew: if a newer version has made them; nothing is changed then.
        NoLeader: if a cluster cannot serve for longer than that.
        BusError: if the broker does not answer or refuses a change; the message names both values.
    """
    wanted = [*(_Stream(spec) for spec in streams), *(_Consumer(spec) for spec in consumers)]
    give_up_at = asyncio.get_running_loop().time() + patience.total_seconds()
    timeout = _API_TIMEOUT_IN_A_CLUSTER if patience else _API_TIMEOUT
    # All are looked at before one is touched: a store of a newer version is left as it is.
    for item in wanted:
        await _again(item, lambda item=item: item.compare(links[item.account], timeout), give_up_at)
    return [
        await _again(item, lambda item=item: item.establish(links[item.account], timeout, shorten), give_up_at)
        for item in wanted
    ]


async def _again(item: _Resource, work: Callable[[], Awaitable[Finding]], give_up_at: float) -> Finding:
    while True:
        try:
            return await work()
        except (NoLeader, NoResponders, RequestTimedOut) as error:
            if asyncio.get_running_loop().time() >= give_up_at:
                raise
            log.info("%s cannot be made now, trying again: %s", item.name, error)
        await asyncio.sleep(_PAUSE_S)


class _Resource:
    """A stream or a consumer: where the broker's API keeps it, and what it should be."""

    name: str
    account: Account
    config: dict[str, Any]
    info: str
    create: str
    update: str

    def body(self, config: dict[str, Any]) -> dict[str, Any]:
        return config

    async def compare(self, link: Link, timeout: timedelta = _API_TIMEOUT) -> Finding:
        found = await _call(link, self.info, {}, timeout)
        if (error := found.get("error")) is not None:
            if error.get("err_code") in _NOT_FOUND:
                return Finding(name=self.name, action=Action.MISSING)
            raise _translated(self.name, error)
        refuse_newer_stream(self.name, found["config"])
        found_config = {**found["config"], "metadata": own_metadata(found["config"])}
        drift = differences(self.config, found_config)
        return Finding(name=self.name, action=Action.DRIFTED if drift else Action.SAME, differences=drift)

    async def establish(self, link: Link, timeout: timedelta, shorten: bool) -> Finding:
        finding = await self.compare(link, timeout)
        if finding.action is Action.MISSING:
            answer = await _call(link, self.create, self.body(self.config), timeout)
            if (error := answer.get("error")) is not None:
                raise _translated(f"{self.name} cannot be created", error)
            return Finding(name=self.name, action=Action.CREATED)
        return await self._change(link, finding, timeout, shorten)

    async def _change(self, link: Link, finding: Finding, timeout: timedelta, shorten: bool) -> Finding:
        held = tuple(one for one in finding.differences if one.kind == "shortening" and not shorten)
        foreign = tuple(one for one in finding.differences if one.kind in _PERHAPS_LASTING)
        if len(held) < len(finding.differences):
            refusal = await self._update(link, finding, held, timeout)
            if refusal is not None and foreign:
                # It keeps what others have set, some of which can never be unset; what is ours is still applied.
                held += foreign
                refusal = await self._update(link, finding, held, timeout)
            if refusal is not None:
                raise refusal
        if held:
            log.warning("%s", _kept(self.name, held))
            return Finding(name=self.name, action=Action.KEPT, differences=held)
        return finding if finding.action is Action.SAME else replace(finding, action=Action.UPDATED)

    async def _update(
        self, link: Link, finding: Finding, kept: tuple[Difference, ...], timeout: timedelta
    ) -> BusError | None:
        """Ask for everything but ``kept``; returns the broker's refusal.

        Raises:
            NoLeader: if it cannot answer now.
        """
        config = self.config | {one.field: one.is_now for one in kept}
        answer = await _call(link, self.update, self.body(config), timeout)
        if (error := answer.get("error")) is None:
            return None
        change = "; ".join(map(str, finding.differences))
        hint = f" without --shorten: {SHORTENING}" if any(one.kind == "shortening" for one in kept) else ""
        refusal = _translated(f"{self.name} cannot be changed ({change}){hint}", error)
        if isinstance(refusal, NoLeader):
            raise refusal
        return refusal


def _kept(name: str, differences: tuple[Difference, ...]) -> str:
    text = f"{name} is kept as it is ({'; '.join(map(str, differences))})"
    if any(one.kind == "shortening" for one in differences):
        return f"{text}: {SHORTENING}"
    return f"{text}: the broker cannot unset it"


class _Stream(_Resource):
    def __init__(self, spec: StreamSpec) -> None:
        self.name = spec.name
        self.account = spec.account
        self.config = _stream_config(spec)
        self.info = f"$JS.API.STREAM.INFO.{spec.name}"
        self.create = f"$JS.API.STREAM.CREATE.{spec.name}"
        self.update = f"$JS.API.STREAM.UPDATE.{spec.name}"


class _Consumer(_Resource):
    def __init__(self, spec: ConsumerSpec) -> None:
        self._stream = spec.stream
        self.name = f"{spec.stream}/{spec.name}"
        self.account = spec.account
        self.config = _consumer_config(spec)
        self.info = f"$JS.API.CONSUMER.INFO.{spec.stream}.{spec.name}"
        # The filter stands in the body: in the subject it would end at the wildcard.
        self.create = self.update = f"$JS.API.CONSUMER.CREATE.{spec.stream}.{spec.name}"

    def body(self, config: dict[str, Any]) -> dict[str, Any]:
        return {"stream_name": self._stream, "config": config}


def _stream_config(spec: StreamSpec) -> dict[str, Any]:
    config: dict[str, Any] = {
        "name": spec.name,
        "description": spec.description,
        "subjects": list(spec.subjects),
        "retention": "limits",
        "storage": "file",
        "num_replicas": spec.replicas,
        "max_age": _nanoseconds(spec.max_age),
        "allow_direct": True,
        "discard": "new" if spec.one_per_subject else "old",
        "max_msgs_per_subject": 1 if spec.one_per_subject or spec.newest_only else -1,
        # Dedupe is per stream: a message id chosen by a stranger would swallow somebody else's message.
        "duplicate_window": SHORTEST_DEDUPE_NS,
        # What is stored is kept until its age, and facts for good; only content goes, if its account wants that.
        "deny_delete": not spec.is_erasable,
        # Nor whole streams: a purge would also free subjects that may hold one message ever.
        "deny_purge": True,
        "metadata": {METADATA_KEY: str(STORE_VERSION)},
    }
    if spec.one_per_subject:
        config["discard_new_per_subject"] = True
    if spec.max_bytes is not None:
        config["max_bytes"] = spec.max_bytes
    if spec.republish is not None:
        config["republish"] = {"src": spec.republish.source, "dest": spec.republish.destination}
    if spec.sources:
        config["sources"] = [_source_config(source) for source in spec.sources]
    return config


def _source_config(source: Source) -> dict[str, Any]:
    return {
        "name": source.stream,
        "external": {"api": source.api, "deliver": source.deliver},
        "subject_transforms": [{"src": source.subjects, "dest": source.stored_as}],
    }


def _consumer_config(spec: ConsumerSpec) -> dict[str, Any]:
    return {
        "durable_name": spec.name,
        "description": spec.description,
        "filter_subject": spec.filter_subject,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": _nanoseconds(spec.ack_wait),
        "max_ack_pending": spec.max_ack_pending,
        "max_deliver": -1,
        "max_waiting": 512,
    }


async def _call(link: Link, subject: str, body: dict[str, Any], timeout: timedelta) -> dict[str, Any]:
    answer = await link.request(subject, json.dumps(body).encode() if body else b"", timeout=timeout)
    return json.loads(answer.data)


def _translated(what: str, error: Mapping[str, Any]) -> BusError:
    """What the broker says, as ours: "not now" of a cluster, or a refusal."""
    text = f"{what}: {error.get('description')}"
    if error.get("err_code") == _NO_STORAGE:
        # The cache's part is set aside when its stream is made, and counts whether it is used or not.
        return BusError(f"{text}: raise store_limit, or lower cache_room")
    if error.get("code") == SERVICE_UNAVAILABLE or error.get("err_code") in _NOT_NOW:
        return NoLeader(f"{text}. Are more than half of the cluster's servers up?")
    return BusError(text)


def _nanoseconds(duration: timedelta | None) -> int:
    return 0 if duration is None else round(duration / timedelta(microseconds=1)) * 1000
