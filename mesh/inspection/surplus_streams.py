"""Streams that the broker has and the mesh does not ask for: left behind by other settings, or somebody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mesh.history.stream_facts import stream_facts, stream_names
from mesh.models.objects import STREAM as MODEL_STORE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mesh.bus.link import Link
    from mesh.history.stream_facts import StreamFacts
    from streams.topology import Account, StreamSpec


class Surplus(NamedTuple):
    """One such stream. Nobody of the mesh deletes it: what it holds may be all that is left of answers."""

    account: Account
    facts: StreamFacts


async def surplus_streams(links: Mapping[Account, Link], specs: Iterable[StreamSpec]) -> list[Surplus]:
    """Find the streams of both accounts that are in no specification.

    Raises:
        BusError: if the broker does not answer.
    """
    # The model store is made by the first push: it is nobody's by mistake.
    wanted: set[tuple[Account, str]] = {*((spec.account, spec.name) for spec in specs), ("CORE", MODEL_STORE)}
    return [
        Surplus(account, await stream_facts(link, name))
        for account, link in links.items()
        for name in await stream_names(link)
        if (account, name) not in wanted
    ]
