"""Edge sites: which of a site's streams its hub copies, under which names, and what may cross the link between them.

A site is a whole mesh with a JetStream domain of its own. Its tasks live and end there, fenced by its own broker alone.
The hub copies from where it has got to, which it alone remembers.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from streams.errors import InvalidToken
from streams.tokens import Token
from streams.topology import DEAD, ENDED, TASKS, Account, Retention, Source, StreamSpec, stream_specs

_SITE: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_RESULTS: Final = "RESULTS"
_COPIED: Final = (TASKS, _RESULTS, ENDED, DEAD)
"""What was asked, what happened, how it ended and what it used. Nodes and keys of a site are its own business."""

MESH_SUBJECTS: Final = (
    *("tasks.>", "results.>", "live.>", "ended.>", "settled.>", "dead.>", "keys.>", "unreadable.>", "limits.>"),
    *("access.>", "nonces.>", "sessions.>", "chain.>", "cache.>", "hits.>", "files.>", "parts.>", "batches.>"),
    *("stores.>", "passages.>", "retrieval.>"),
    *("models.>", "devices.>", "groups.>", "billing.>", "books.>", "ledger.>"),
    *("backlog.>", "store.>", "projection.>"),
    *("node.>", "status.>", "api.>", "site.>", "_INBOX.>"),
)
"""What each mesh says within itself: none of it ever crosses a link, in either direction."""


class LinkRights(Struct, frozen=True, kw_only=True):
    """What the hub lets one link of a site do."""

    publish: tuple[str, ...]
    """What it takes from the site."""
    subscribe: tuple[str, ...]
    """What it sends to the site."""


def site_name(text: str) -> Token:
    """Check the name of a site: it becomes part of stream names, subjects and a JetStream domain.

    Raises:
        InvalidToken: if it is not 1 to 32 small letters, digits and dashes.
    """
    if _SITE.fullmatch(text) is None:
        raise InvalidToken(f"{text[:40]!r} is no name for a site: use 1 to 32 of a-z 0-9 -, not beginning with a dash")
    return Token(text)


def domain_of(site: Token) -> str:
    """The JetStream domain of a site; the hub has none."""
    return f"site-{site}"


def hub_streams(
    site: Token, *, results_streams: int, retention: Retention | None = None, replicas: int = 1
) -> tuple[StreamSpec, ...]:
    """Return the streams in which a hub keeps copies of a site's events, each in the account of its origin.

    Args:
        site: whose.
        results_streams: over how many streams the site's answers spread.
        retention: how long the hub keeps them, counted from their arrival.
        replicas: copies of each stream in the hub's cluster.
    """
    families: dict[str, list[StreamSpec]] = {}
    for origin in _origins(results_streams, retention):
        families.setdefault(_family(origin), []).append(origin)
    return tuple(_copy(site, family, origins, replicas) for family, origins in families.items())


def link_rights(site: Token, account: Account, *, results_streams: int) -> LinkRights:
    """Return what the hub lets a site's link in one account do: feed the copies, and nothing else.

    The hub for its part can ask the site for new consumers on the streams that it copies, and for nothing else.
    """
    names = [origin.name for origin in _origins(results_streams, None) if origin.account == account]
    return LinkRights(
        # The second are answers to the server's own questions.
        publish=(f"{_deliver(site)}.>", "$JSC.R.*"),
        subscribe=tuple(
            subject for name in names for subject in (f"{_api(site)}.CONSUMER.CREATE.{name}.>", f"$JS.FC.{name}.>")
        ),
    )


def subject_at_home(subject: str) -> str:
    """The subject that an event had at its site; of an event of the mesh itself, its own."""
    root, _, rest = subject.partition(".")
    return rest.partition(".")[2] if root == "site" else subject


def _origins(results_streams: int, retention: Retention | None) -> tuple[StreamSpec, ...]:
    specs = stream_specs(results_streams=results_streams, retention=retention)
    return tuple(spec for spec in specs if _family(spec) in _COPIED)


def _family(origin: StreamSpec) -> str:
    return _RESULTS if origin.name.startswith(f"{_RESULTS}_") else origin.name


def _copy(site: Token, family: str, origins: list[StreamSpec], replicas: int) -> StreamSpec:
    return StreamSpec(
        name=f"SITE_{site}_{family}",
        account=origins[0].account,
        subjects=(),
        description=f"Copies of {family} of the edge site {site}.",
        max_age=origins[0].max_age,
        # Not one per subject, though the origin may be: a copy that is refused would be tried again for ever.
        replicas=replicas,
        sources=tuple(_source(site, origin) for origin in origins),
    )


def _source(site: Token, origin: StreamSpec) -> Source:
    root = origin.subjects[0].partition(".")[0]
    return Source(
        stream=origin.name,
        api=_api(site),
        deliver=_deliver(site),
        subjects=f"{root}.>",
        stored_as=f"site.{site}.{root}.>",
        patterns=tuple(f"site.{site}.{subject}" for subject in origin.subjects),
    )


def _api(site: Token) -> str:
    return f"$JS.{domain_of(site)}.API"


def _deliver(site: Token) -> str:
    return f"sync.{site}"
