"""Consumers of the mesh as values: how processes that do the same work share a stream."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from streams.subjects import SERVICE_CLASSES
from streams.topology import ACK_WAIT, BATCHES, ENDED, HITS, MAX_ACK_PENDING, STORES, TASKS, Account

if TYPE_CHECKING:
    from streams.subjects import ServiceClass

BATCH_RUNNERS: Final = "batch-runners"
"""The durable consumer through which gateways share batches."""
INGESTERS: Final = "ingesters"
"""The durable consumer through which retrieval processes share the files of vector stores."""
LEDGER: Final = "ledger"
"""The durable consumers on ENDED and on HITS through which ledgers share what is to be charged."""


class ConsumerSpec(Struct, frozen=True, kw_only=True):
    """One durable pull consumer, shared by all processes that do the same work."""

    stream: str
    account: Account
    name: str
    filter_subject: str
    description: str
    ack_wait: timedelta
    max_ack_pending: int


def consumer_name(service_class: ServiceClass) -> str:
    """Name of the durable consumer through which dispatchers share a class."""
    return f"dispatch-{service_class}"


def consumer_specs() -> tuple[ConsumerSpec, ...]:
    """Return every durable consumer of the mesh.

    Dispatchers have one per class, so that batch work never fills a person's window.
    """
    dispatchers = (
        ConsumerSpec(
            stream=TASKS,
            account="EDGE",
            name=consumer_name(service_class),
            filter_subject=f"tasks.{service_class}.>",
            description=f"Dispatchers take {service_class} tasks here and keep them un-acked until they end.",
            ack_wait=ACK_WAIT,
            max_ack_pending=MAX_ACK_PENDING,
        )
        for service_class in SERVICE_CLASSES
    )
    batches = "Gateways take batches here and keep them un-acked until they end."
    files = "Retrieval processes take files here and keep them un-acked until they end."
    charged = "Ledgers take what was used here and keep it un-acked until it is in the books."
    of_facts = (
        _of_facts(BATCHES, BATCH_RUNNERS, "batches.>", batches),
        _of_facts(STORES, INGESTERS, "stores.>", files),
        _of_facts(ENDED, LEDGER, "ended.>", charged),
        _of_facts(HITS, LEDGER, "hits.>", charged),
    )
    return (*dispatchers, *of_facts)


def _of_facts(stream: str, name: str, subjects: str, description: str) -> ConsumerSpec:
    return ConsumerSpec(
        stream=stream,
        account="CORE",
        name=name,
        filter_subject=subjects,
        description=description,
        ack_wait=ACK_WAIT,
        max_ack_pending=MAX_ACK_PENDING,
    )
