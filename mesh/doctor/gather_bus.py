"""What the broker says, and what becomes of somebody who tries to connect with nothing."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.bus.provision import Action, check
from mesh.doctor.facts import QUICK_S, BrokerFact, IdentityFact
from mesh.errors import BusRefused, BusUnavailable, BusUndecided, MeshError
from mesh.history.stream_facts import parse_time
from mesh.inspection.operator_bus import open_bus
from mesh.sites.plan import streams_here
from streams.consumers import consumer_specs
from streams.topology import MODELS

if TYPE_CHECKING:
    from mesh.config.settings import MeshSettings

_NAME: Final = "doctor"
_NOBODY: Final = "ig3-doctor-shows-nothing"
_MORE_TRIES: Final = 2


class _Info(Struct):
    ts: str = ""


class _Nobody:
    """A login with nothing in it that anybody could take for good."""

    lasts = timedelta(minutes=1)

    def token(self, audience: str) -> str:
        del audience
        return _NOBODY

    def sign(self, audience: str, nonce: str) -> bytes:
        del audience, nonce
        return b""


async def ask_broker(mesh: MeshSettings) -> BrokerFact:
    """Look at the streams and the clock, as a service."""
    try:
        async with await open_bus(mesh, _NAME) as bus:
            findings = await check(bus.links, streams_here(mesh), consumer_specs())
            before = time.time()
            answer = await bus.core.request(f"$JS.API.STREAM.INFO.{MODELS}", b"")
            after = time.time()
            stamp = msgspec.json.decode(answer.data, type=_Info).ts
    except (MeshError, msgspec.DecodeError) as error:
        return BrokerFact(problem=str(error))
    return BrokerFact(
        wrong=tuple(finding.name for finding in findings if finding.action is not Action.SAME),
        ahead_s=ahead_s(parse_time(stamp).timestamp(), asked_s=before, answered_s=after) if stamp else 0.0,
    )


def ahead_s(stamp_s: float, *, asked_s: float, answered_s: float) -> float:
    """Say how far ahead a clock is that said ``stamp_s`` between these two times of ours: what is sure of it.

    However long the answer took, that alone makes no clock wrong.
    """
    return stamp_s - min(max(stamp_s, asked_s), answered_s)


async def ask_identity(mesh: MeshSettings) -> IdentityFact:
    """Try to connect with nothing to show; once more where it took long, since one hold-up makes no slow login."""
    found = await _try_to_connect(mesh)
    for _ in range(_MORE_TRIES):
        if found.outcome in ("admitted", "not asked") or (found.outcome == "refused" and found.took_s <= QUICK_S):
            break
        found = await _try_to_connect(mesh)
    return found


async def _try_to_connect(mesh: MeshSettings) -> IdentityFact:
    options = LinkOptions(
        servers=mesh.nats_urls,
        tls=mesh.nats_tls,
        name=_NAME,
        inbox_prefix=f"_INBOX.{_NAME}",
        login=_Nobody(),
    )
    began = time.monotonic()
    try:
        link = await Link.connect(options)
    except BusRefused:
        return IdentityFact(outcome="refused", took_s=time.monotonic() - began)
    except BusUndecided:
        return IdentityFact(outcome="undecided", took_s=time.monotonic() - began)
    except (BusUnavailable, MeshError):
        return IdentityFact(outcome="not asked")
    await link.close()
    return IdentityFact(outcome="admitted", took_s=time.monotonic() - began)
