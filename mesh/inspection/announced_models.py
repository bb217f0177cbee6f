"""Which models the nodes of a mesh have announced, for commands that run where the mesh's data folder is."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Final

from mesh.broker.credentials import Credentials
from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.errors import BusError, CredentialsError
from streams.codec import decode_model_event
from streams.errors import UndecodableEvent
from streams.events import ModelAnnounced
from streams.topology import MODELS

if TYPE_CHECKING:
    from mesh.config.settings import MeshSettings
    from streams.devices.replica import ModelKind

log = logging.getLogger(__name__)

SMALL_MODEL: Final = "smollm2-135m-instruct"
"""What `ig3 up` serves when nothing else was asked for."""

_MOST: Final = 1000


async def announced_models(mesh: MeshSettings, kind: ModelKind = "chat") -> tuple[str, ...]:
    """Return the models of a kind that some node has announced and not withdrawn, sorted.

    Empty where nobody can say: a user's own machine has no right to read the register.
    """
    try:
        seed = Credentials.load_one(mesh.data_dir, "core-service").seed_path
        link = await Link.connect(
            LinkOptions(
                servers=mesh.nats_urls,
                tls=mesh.nats_tls,
                name="cli-models",
                inbox_prefix="_INBOX.svc.cli-models",
                seed_file=seed,
            )
        )
    except (CredentialsError, BusError) as error:
        log.debug("the announced models cannot be read: %s", error)
        return ()
    try:
        return await _read(link, kind)
    except BusError as error:
        log.debug("the announced models cannot be read: %s", error)
        return ()
    finally:
        await link.close()


def choose_model(announced: tuple[str, ...]) -> str:
    """Return the model to ask where nobody said which: the small one, or the first there is."""
    return SMALL_MODEL if SMALL_MODEL in announced or not announced else announced[0]


async def _read(link: Link, kind: ModelKind) -> tuple[str, ...]:
    query = json.dumps({"multi_last": ["models.*.*"], "batch": _MOST}).encode()
    collected = await link.collect(f"$JS.API.DIRECT.GET.{MODELS}", query)
    found: set[str] = set()
    for part in collected.parts:
        try:
            event = decode_model_event(part.data)
        except UndecodableEvent:
            continue
        if isinstance(event, ModelAnnounced) and event.replica.kind == kind:
            found.add(event.replica.model)
    return tuple(sorted(found))
