"""The events of DEVICES: which devices there are, what each has proved, and whether it may take part.

Part of the catalogue in ``streams.events``.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from streams.event import Event

DidText = Annotated[str, Meta(max_length=512)]


class DeviceRegistered(Event, frozen=True, kw_only=True, tag="device.registered.v1"):
    """A device was seen for the first time."""

    at_ms: int
    node: str
    software: str


class DeviceVerified(Event, frozen=True, kw_only=True, tag="device.verified.v1"):
    """A device proved that it holds the key of ``did``. The first DID under a name keeps it, and a DID has one name."""

    at_ms: int
    node: str
    did: DidText
    proved_by: str
    """Which key signed: ``subject``, or the method of the DID's document."""


class DeviceAdmitted(Event, frozen=True, kw_only=True, tag="device.admitted.v1"):
    """A device may take part: by an operator, by the policy, or again after it was suspended."""

    at_ms: int
    node: str
    by: str
    reason: str = ""
    did: DidText | None = None
    """Given where the device has not been seen yet: the name is kept for this DID."""
    owner: Annotated[str, Meta(max_length=64)] | None = None
    """The account that it belongs to; empty: nobody's any more; not given: as it was."""
    stake: Annotated[int, Meta(ge=0, le=2**53 - 1)] | None = None
    """What its owner has put at stake for it, as the operator attests; not given: as it was."""


class DeviceSuspended(Event, frozen=True, kw_only=True, tag="device.suspended.v1"):
    """A device may not take part until it is admitted again. ``task`` is the one that gave the reason, if one did."""

    at_ms: int
    node: str
    by: str
    reason: str
    task: str | None = None


class DeviceRevoked(Event, frozen=True, kw_only=True, tag="device.revoked.v1"):
    """A device may never take part again; its owner needs another key and another name."""

    at_ms: int
    node: str
    by: str
    reason: str


class DeviceUnconfirmed(Event, frozen=True, kw_only=True, tag="device.unconfirmed.v1"):
    """A device was let in by what the chain had said before, because it could not be asked. Once for each reading."""

    at_ms: int
    node: str
    did: DidText
    read_at_ms: int
    """When the chain said it."""
    reason: str
    """Why the chain could not be asked."""


class DeviceChecked(Event, frozen=True, kw_only=True, tag="device.checked.v1"):
    """An answer of the device was compared with what another one wrote of the same question (ADR 14).

    Where two answers differ and no third one says which of them is wrong, both devices get one that is ``undecided``.
    """

    at_ms: int
    node: str
    task: str
    """The task whose answer was compared: a user's, or one of the mesh's own checks."""
    other: str
    """Who wrote what it was compared with."""
    agreed: bool
    detail: str = ""
    """How the answers differ: never any of their text."""
    undecided: bool = False


class DeviceLost(Event, frozen=True, kw_only=True, tag="device.lost.v1"):
    """A device left the bus or fell silent: nothing is placed there until it returns."""

    at_ms: int
    node: str
    reason: str


class DeviceReturned(Event, frozen=True, kw_only=True, tag="device.returned.v1"):
    """A lost device announced itself again."""

    at_ms: int
    node: str


DeviceEvent = (
    DeviceRegistered
    | DeviceVerified
    | DeviceAdmitted
    | DeviceSuspended
    | DeviceRevoked
    | DeviceUnconfirmed
    | DeviceChecked
    | DeviceLost
    | DeviceReturned
)
"""All that DEVICES may hold."""
