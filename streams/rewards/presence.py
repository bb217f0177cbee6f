"""How long each device was there in an epoch, as a fold of DEVICES."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from streams.devices.events import DeviceLost, DeviceRegistered, DeviceReturned, DeviceRevoked, DeviceSuspended

if TYPE_CHECKING:
    from streams.devices.events import DeviceEvent
    from streams.rewards.epochs import Epoch
    from streams.tokens import Token


class _Seen(Struct):
    """One device: ``here_from_ms`` while it is there, ``at_ms`` the latest time that its events have told."""

    at_ms: int
    here_from_ms: int | None = None
    here_ms: int = 0


class Presence:
    """Feed it DEVICES from the first event, in stream order.

    Order comes from the stream: an event whose writer's clock was behind counts as if at the time of the one before.
    So time never runs backwards, and no device is there for longer than the epoch lasts.
    """

    def __init__(self, epoch: Epoch) -> None:
        """Count what lies in ``epoch``."""
        self._epoch = epoch
        self._seen: dict[Token, _Seen] = {}

    def apply(self, node: Token, event: DeviceEvent) -> None:
        """Fold one event."""
        if isinstance(event, DeviceRegistered | DeviceReturned):
            seen = self._heard(node, event.at_ms)
            if seen.here_from_ms is None:
                seen.here_from_ms = seen.at_ms
        elif isinstance(event, DeviceLost | DeviceSuspended | DeviceRevoked):
            seen = self._heard(node, event.at_ms)
            seen.here_ms += self._counted(seen, seen.at_ms)
            seen.here_from_ms = None

    def here_ms(self, node: Token) -> int:
        """For how many milliseconds of the epoch the device was there; who is there now stays to the end."""
        seen = self._seen.get(node)
        return 0 if seen is None else seen.here_ms + self._counted(seen, self._epoch.ends_at_ms)

    def _heard(self, node: Token, at_ms: int) -> _Seen:
        seen = self._seen.setdefault(node, _Seen(at_ms))
        seen.at_ms = max(seen.at_ms, at_ms)
        return seen

    def _counted(self, seen: _Seen, until_ms: int) -> int:
        if seen.here_from_ms is None:
            return 0
        begins = max(seen.here_from_ms, self._epoch.begins_at_ms)
        return max(0, min(until_ms, self._epoch.ends_at_ms) - begins)
