"""All rules, in the order in which a person reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mesh.doctor.files import judge_disk, judge_files, judge_keys, judge_secrets, judge_storage
from mesh.doctor.lines import judge_admission, judge_certificates, judge_chain, judge_listeners, judge_urls
from mesh.doctor.running import judge_broker, judge_identity, judge_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mesh.doctor.facts import Facts
    from mesh.doctor.finding import Finding

RULES: Final[tuple[Callable[[Facts], Iterable[Finding]], ...]] = (
    judge_files,
    judge_keys,
    judge_secrets,
    judge_listeners,
    judge_certificates,
    judge_urls,
    judge_admission,
    judge_chain,
    judge_identity,
    judge_broker,
    judge_version,
    judge_storage,
    judge_disk,
)


def examine(facts: Facts) -> tuple[Finding, ...]:
    """Return what every rule finds."""
    return tuple(finding for rule in RULES for finding in rule(facts))
