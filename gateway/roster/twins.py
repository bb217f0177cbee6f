"""Two processes that serve under one node id, such as two copies of one data folder: the first one keeps it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from streams import subjects

if TYPE_CHECKING:
    from gateway.roster.feed import RosterFeed
    from mesh.bus.link import Link
    from streams.tokens import Token

_PATIENCE_S: Final = 0.5
"""A process that is there reports within this time when it is asked; it reports each 0.2 s at most."""


async def is_taken(link: Link, feed: RosterFeed, node: Token, process: str) -> bool:
    """Whether another process than ``process`` reports as this node now: it is asked, and given a moment.

    One that was killed and started again does not answer in the place of the old one, so it only waits that moment.
    """
    holder = _process_of(feed, node)
    if not process or holder in {None, "", process}:
        return False
    heard = asyncio.Event()

    def on_report(name: str) -> None:
        if name == node and _process_of(feed, node) == holder:
            heard.set()

    unsubscribe = feed.subscribe(on_report)
    try:
        link.send(subjects.node_inbox(node, "report"), b"")
        async with asyncio.timeout(_PATIENCE_S):
            await heard.wait()
    except TimeoutError:
        return False
    finally:
        unsubscribe()
    return True


def _process_of(feed: RosterFeed, node: Token) -> str | None:
    view = feed.roster.node(node, now_s=feed.now_s())
    return view.status.process if view is not None and view.is_live and view.status is not None else None
