"""DEVICES as the identity service and operators hold it: the fold kept up to date, and what is written to it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from mesh.errors import DeviceError
from mesh.history.followed_fold import FollowedFold
from mesh.history.roster_log import DEVICE_SUBJECTS, node_of
from streams import subjects
from streams.clock import now_ms
from streams.codec import decode_device_event
from streams.devices.fold import Devices, Standing
from streams.errors import StreamsError
from streams.events import DeviceAdmitted, DeviceRevoked, DeviceSuspended, DeviceUnconfirmed, DeviceVerified
from streams.tokens import token
from streams.topology import DEVICES

if TYPE_CHECKING:
    from mesh.bus.link import Link
    from mesh.history.snapshots import SnapshotStore
    from streams.devices.fold import Device
    from streams.events import DeviceChecked, DeviceEvent
    from streams.tokens import Token

log = logging.getLogger(__name__)

OnDevice = Callable[["Device"], None]


class DevicesProjection:
    """The fold of DEVICES, as snapshots and verification know it."""

    name = "devices"
    version = Devices.VERSION

    def __init__(self, devices: Devices) -> None:
        """Feed ``devices``."""
        self._devices = devices

    def apply(self, sequence: int, subject: str, data: bytes) -> None:
        """Take in one event; what cannot be read is left out, with an error in the log."""
        try:
            self._devices.apply(node_of(subject), decode_device_event(data))
        except StreamsError as error:
            log.error("event %d of DEVICES (%s) is left out: %s", sequence, subject, error)

    def dump(self) -> bytes:
        """Return the whole state."""
        return self._devices.dump()

    def load(self, data: bytes) -> None:
        """Replace the whole state."""
        self._devices.load(data)


class DeviceLog(FollowedFold):
    """Every device, as the log has it now; ``on_change`` hears of each one whose event was folded."""

    def __init__(self, core: Link, snapshots: SnapshotStore | None = None) -> None:
        """Prepare; ``start`` reads what is stored, from the newest of ``snapshots`` on where there is one."""
        self.devices = Devices()
        self.on_change: OnDevice | None = None
        projection = DevicesProjection(self.devices)
        super().__init__(core, DEVICES, DEVICE_SUBJECTS, projection, on_event=self._on_event, snapshots=snapshots)

    async def verified(self, node: Token, did: str, *, proved_by: str) -> Device:
        """Note that a device has proved its DID, and return what it is now.

        Raises:
            DeviceError: if the name is another's, or the DID has another name.
            BusError: if it cannot be written.
        """
        event = DeviceVerified(at_ms=now_ms(), node=node, did=did, proved_by=proved_by)
        await self._append(node, "verified", event)
        device = self.of(node, did)
        if device is None:
            raise DeviceError(f"{node} could not be given to {did}: look at `ig3 devices list`")
        return device

    def of(self, node: Token, did: str) -> Device | None:
        """Return the device that is called ``node`` and has ``did``; None if neither is known.

        Raises:
            DeviceError: if the name is another's, or the DID has another name.
        """
        named, owned = self.devices.device(node), self.devices.device_of(did)
        if owned is not None and owned.node != node:
            raise DeviceError(f"{did} is the device {owned.node}: start it with --id {owned.node}")
        if named is not None and named.did not in {None, did}:
            raise DeviceError(f"the name {node} belongs to another device: choose another with --id")
        return named if named is not None and named.did == did else None

    async def admit(
        self,
        node: Token,
        *,
        by: str,
        reason: str = "",
        did: str | None = None,
        owner: str | None = None,
        stake: int | None = None,
    ) -> Device:
        """Let a device take part: one that waits, one that was suspended, or one that is expected under ``did``.

        Given an ``owner``, it is that account's from then on (empty: nobody's), which vouches with ``stake``.

        Raises:
            DeviceError: if it was revoked, or is not known and no DID is given, or name and DID do not go together.
            BusError: if it cannot be written.
        """
        known = self.devices.device(node)
        if did is not None:
            self.of(node, did)
        if known is not None and known.standing is Standing.REVOKED:
            raise DeviceError(f"{node} was revoked for good: its owner needs a new key, and a new name")
        if did is None and (known is None or known.did is None):
            raise DeviceError(f"{node} has not shown a DID yet: give the one to keep the name for, by --did")
        admitted = DeviceAdmitted(at_ms=now_ms(), node=node, by=by, reason=reason, did=did, owner=owner, stake=stake)
        await self._append(node, "admitted", admitted)
        return self._known(node)

    async def suspend(self, node: Token, *, by: str, reason: str, task: str | None = None) -> Device:
        """Shut a device out until it is admitted again.

        Raises:
            DeviceError: if there is no such device.
            BusError: if it cannot be written.
        """
        self._known(node)
        event = DeviceSuspended(at_ms=now_ms(), node=node, by=by, reason=reason, task=task)
        await self._append(node, "suspended", event)
        return self._known(node)

    async def revoke(self, node: Token, *, by: str, reason: str) -> Device:
        """Shut a device out for good.

        Raises:
            DeviceError: if there is no such device.
            BusError: if it cannot be written.
        """
        self._known(node)
        await self._append(node, "revoked", DeviceRevoked(at_ms=now_ms(), node=node, by=by, reason=reason))
        return self._known(node)

    async def unconfirmed(self, node: Token, did: str, *, read_at_ms: int, reason: str) -> None:
        """Note that a device is let in by what the chain said at ``read_at_ms``; once for each reading.

        Raises:
            BusError: if it cannot be written.
        """
        known = self.devices.device(node)
        if known is None or known.stale_read_at_ms != read_at_ms:
            event = DeviceUnconfirmed(at_ms=now_ms(), node=node, did=did, read_at_ms=read_at_ms, reason=reason)
            await self._append(node, "unconfirmed", event)

    async def checked(self, event: DeviceChecked) -> None:
        """Note how a device's answer compared with another one's.

        Raises:
            BusError: if it cannot be written.
        """
        await self._append(token(event.node), "checked", event)

    def _known(self, node: Token) -> Device:
        device = self.devices.device(node)
        if device is None:
            raise DeviceError(f"there is no device {node}: `ig3 devices list` shows those that there are")
        return device

    async def _append(self, node: Token, kind: subjects.DeviceKind, event: DeviceEvent) -> None:
        await self.write(subjects.device(node, kind), event)

    def _on_event(self, sequence: int, subject: str, data: bytes) -> None:
        self._projection.apply(sequence, subject, data)
        device = self.devices.device(node_of(subject))
        if device is not None and self.on_change is not None:
            self.on_change(device)
