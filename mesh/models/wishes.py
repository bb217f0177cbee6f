"""How many replicas of which models there shall be: what operators decide, as events in MODELS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.errors import ModelStoreError
from mesh.history.roster_log import RosterModels
from mesh.history.tail import StreamTail
from mesh.models.store import ModelStore
from streams import subjects
from streams.clock import now_ms
from streams.codec import encode
from streams.devices.roster import Roster
from streams.events import ModelDesired
from streams.subjects import MESH
from streams.topology import MODELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mesh.bus.link import Link
    from streams.devices.roster import Wish


async def read_wishes(core: Link) -> tuple[Wish, ...]:
    """Return what is wanted of each model, by name.

    Raises:
        BusError: if MODELS cannot be read.
    """
    roster = Roster()
    tail = StreamTail(core, MODELS, subjects.MODEL_WISHES, RosterModels(roster).apply)
    await tail.start()
    await tail.stop()
    return roster.wishes()


async def desire(core: Link, name: str, *, replicas: int, most: int | None, regions: Sequence[str] | None = ()) -> None:
    """Decide how many replicas of a model of the store there shall be.

    Args:
        core: a connection of a service.
        name: the model's.
        replicas: so many, or with ``most`` at least so many.
        most: as many as are asked for, up to this.
        regions: only on nodes that say one of these; none: anywhere; ``None``: as it was decided before.

    Raises:
        ModelStoreError: if the store has no such model, or the numbers make no sense.
        BusError: if it cannot be stored.
    """
    if most is not None and most < replicas:
        raise ModelStoreError(f"at most {most} cannot be fewer than at least {replicas}")
    file = (await ModelStore(core).need(name)).model
    if regions is None:
        before = await _wish(core, name)
        regions = () if before is None else before.desired.regions
    event = ModelDesired(
        at_ms=now_ms(), file=file, replicas=replicas, most=most, by="operator", regions=tuple(dict.fromkeys(regions))
    )
    await core.append(subjects.model(MESH, name), encode(event))


async def give_up(core: Link, name: str) -> None:
    """Want no replica of a model any more, whether the store still has it or not.

    Raises:
        ModelStoreError: if nobody has ever wanted one.
        BusError: if it cannot be read or stored.
    """
    wish = await _wish(core, name)
    if wish is None:
        raise ModelStoreError(f"the model {name!r} was never placed: nodes that serve it do so by their own settings")
    event = ModelDesired(
        at_ms=now_ms(), file=wish.desired.file, replicas=0, by="operator", regions=wish.desired.regions
    )
    await core.append(subjects.model(MESH, name), encode(event))


async def _wish(core: Link, name: str) -> Wish | None:
    return next((wish for wish in await read_wishes(core) if wish.model == name), None)
