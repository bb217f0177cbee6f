"""Which devices there are and whether they may take part, as a fold of DEVICES.

A name belongs to the first DID that proved itself under it, or for which an operator kept it; a DID has one name. What
contradicts that in the log (two services may write at once) is passed over, so that all who fold it agree.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from streams.codec import decode
from streams.devices import reputation
from streams.devices.events import (
    DeviceAdmitted,
    DeviceChecked,
    DeviceRevoked,
    DeviceSuspended,
    DeviceUnconfirmed,
    DeviceVerified,
)
from streams.devices.reputation import NOTHING, Tally
from streams.tokens import Token

if TYPE_CHECKING:
    from streams.devices.events import DeviceEvent


class Standing(StrEnum):
    """What a device may do."""

    UNPROVEN = "unproven"
    """Seen, or expected, but it has not proved a DID."""
    VERIFIED = "verified"
    """It has, and waits to be admitted."""
    ADMITTED = "admitted"
    SUSPENDED = "suspended"
    REVOKED = "revoked"


BY_SUBJECT: Final = "subject"
"""How a device proved its DID that signed with the key in it, not with one that a document lists."""

_SHUT_OUT: Final = frozenset({Standing.SUSPENDED, Standing.REVOKED})


class Device(Struct, frozen=True, kw_only=True):
    """One device as the log has it."""

    node: Token
    did: str | None = None
    standing: Standing = Standing.UNPROVEN
    is_expected: bool = False
    """Whether it was admitted before it proved itself: then it is admitted as soon as it does."""
    by: str = ""
    """Who decided on its standing."""
    reason: str = ""
    task: str | None = None
    """The task that gave the reason, if one did."""
    verified_at_ms: int | None = None
    proved_by: str = ""
    """Which key it proved its DID with."""
    stale_read_at_ms: int | None = None
    """If it was let in while the chain could not be asked: when the chain had said what it was let in by."""
    owner: str | None = None
    """The account that it belongs to: what must not leave that account's own devices may run there."""
    stake: int = 0
    """What its owner has put at stake for it."""
    changed_at_ms: int = 0
    checks: Tally = NOTHING
    """What checks of its answers, and suspensions over them, have come to."""

    @property
    def is_shut_out(self) -> bool:
        """Whether it was admitted once and may not take part any more."""
        return self.standing in _SHUT_OUT

    @property
    def signs_as_subject(self) -> bool:
        """Whether it holds the key in its DID itself, under which its answers are checked."""
        return self.verified_at_ms is not None and self.proved_by == BY_SUBJECT


class _Devices(Struct, frozen=True):
    """What DEVICES adds up to, as it is written into snapshots."""

    devices: dict[Token, Device]


class Devices:
    """The projection. It is fed from one place, in stream order."""

    VERSION: Final = 3
    """Raise it whenever the same events add up to something else: older snapshots are then not used."""

    def __init__(self) -> None:
        """Start empty, before the first event."""
        self._devices: dict[Token, Device] = {}
        self._node_of: dict[str, Token] = {}

    def apply(self, node: Token, event: DeviceEvent) -> None:
        """Fold one event of DEVICES."""
        before = self._devices.get(node, Device(node=node))
        if before.standing is Standing.REVOKED:
            return
        match event:
            case DeviceVerified():
                after = self._verified(before, event)
            case DeviceAdmitted():
                after = self._admitted(before, event)
            case DeviceSuspended():
                after = _decided(before, event, Standing.SUSPENDED)
            case DeviceRevoked():
                after = _decided(before, event, Standing.REVOKED)
            case DeviceUnconfirmed():
                after = replace(before, stale_read_at_ms=event.read_at_ms) if event.did == before.did else before
            case DeviceChecked():
                after = replace(before, checks=reputation.checked(before.checks, event))
            case _:
                # Whether it is here is the roster's business.
                after = before
        self._devices[node] = after
        if after.did is not None:
            self._node_of[after.did] = node

    def _is_free(self, device: Device, did: str) -> bool:
        return device.did in {None, did} and self._node_of.get(did, device.node) == device.node

    def _verified(self, before: Device, event: DeviceVerified) -> Device:
        if not self._is_free(before, event.did):
            return before
        proven = Standing.ADMITTED if before.is_expected else Standing.VERIFIED
        return replace(
            before,
            did=event.did,
            standing=proven if before.standing is Standing.UNPROVEN else before.standing,
            is_expected=False,
            verified_at_ms=event.at_ms,
            proved_by=event.proved_by,
            changed_at_ms=event.at_ms,
        )

    def _admitted(self, before: Device, event: DeviceAdmitted) -> Device:
        did = event.did or before.did
        if did is None or not self._is_free(before, did):
            # Without a DID the name would be kept for whoever comes first.
            return before
        is_proven = before.verified_at_ms is not None
        return replace(
            before,
            did=did,
            standing=Standing.ADMITTED if is_proven else Standing.UNPROVEN,
            is_expected=not is_proven,
            owner=before.owner if event.owner is None else event.owner or None,
            stake=before.stake if event.stake is None else event.stake,
            by=event.by,
            reason=event.reason,
            task=None,
            changed_at_ms=event.at_ms,
        )

    # --- as a projection -------------------------------------------------------------------------------------------

    def dump(self) -> bytes:
        """Return all that DEVICES has added up to. The same events give the same bytes."""
        return msgspec.msgpack.encode(_Devices(self._devices))

    def load(self, data: bytes) -> None:
        """Replace all that DEVICES has added up to.

        Raises:
            UndecodableEvent: if the bytes are no such state; nothing is replaced then.
        """
        self._devices = decode(data, _Devices).devices
        self._node_of = {each.did: node for node, each in self._devices.items() if each.did is not None}

    # --- questions -------------------------------------------------------------------------------------------------

    def device(self, node: Token) -> Device | None:
        """One device by its name, or None if the log does not know it."""
        return self._devices.get(node)

    def device_of(self, did: str) -> Device | None:
        """The device that has a DID, or None if it has no name yet."""
        node = self._node_of.get(did)
        return None if node is None else self._devices[node]

    def all(self) -> tuple[Device, ...]:
        """Every device, by name."""
        return tuple(self._devices[node] for node in sorted(self._devices))

    def waiting(self) -> int:
        """How many have proved themselves and wait to be admitted."""
        return sum(each.standing is Standing.VERIFIED for each in self._devices.values())


def _decided(before: Device, event: DeviceSuspended | DeviceRevoked, standing: Standing) -> Device:
    task = event.task if isinstance(event, DeviceSuspended) else None
    return replace(
        before,
        standing=standing,
        is_expected=False,
        by=event.by,
        reason=event.reason,
        task=task,
        changed_at_ms=event.at_ms,
        checks=before.checks if task is None else reputation.caught(before.checks, event.at_ms),
    )
