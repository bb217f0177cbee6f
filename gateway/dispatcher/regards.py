"""What this dispatcher thinks of each node: folded from DEVICES and ENDED, and asked at each placement."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Final

from gateway.scheduling.wish import Regard
from mesh.errors import BusError
from mesh.history.projection_desk import fold_digest
from mesh.history.replay import replay
from mesh.history.work_log import WorkLog
from streams.clock import now_ms
from streams.devices import reputation
from streams.devices.reputation import WorkDone
from streams.tokens import Token
from streams.topology import ENDED

if TYPE_CHECKING:
    from mesh.bus.link import Link
    from mesh.history.replay import Replay
    from mesh.history.snapshots import SnapshotStore
    from mesh.identity.device_log import DeviceLog
    from streams.devices.fold import Device
    from streams.messages import FoldDigest

log = logging.getLogger(__name__)

_KEEP_S: Final = 5.0
"""How long an opinion is used again: it changes slowly, and is asked for at each placement."""
_RETRY_S: Final = 5.0


class Regards:
    """Follows ENDED in the background, so that no start waits for it; until it is read, nodes are well regarded."""

    def __init__(self, core: Link, devices: DeviceLog, snapshots: SnapshotStore | None = None) -> None:
        """Prepare; ``devices`` is started and stopped by whoever made it."""
        self.work = WorkDone()
        self._core = core
        self._devices = devices
        self._snapshots = snapshots
        self._running: Replay | None = None
        self._kept: dict[str, Regard] = {}
        self._kept_since_s = 0.0
        self._following: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow."""
        self._devices.on_change = self._on_device
        self._following = asyncio.create_task(self._follow(), name="regards")

    async def stop(self) -> None:
        """Follow no more."""
        self._devices.on_change = None
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following

    def of(self, node: str) -> Regard:
        """What is thought of a node."""
        now_s = time.monotonic()
        if now_s - self._kept_since_s > _KEEP_S:
            self._kept.clear()
            self._kept_since_s = now_s
        regard = self._kept.get(node)
        if regard is None:
            regard = self._kept[node] = self._judge(Token(node))
        return regard

    def told(self) -> FoldDigest:
        """Return what ENDED adds up to here, for whoever verifies it; nothing yet, until it is read."""
        return fold_digest(WorkLog(self.work), 0 if self._running is None else self._running.sequence)

    def _judge(self, node: Token) -> Regard:
        device = self._devices.devices.device(node)
        checks = reputation.NOTHING if device is None else device.checks
        score = reputation.score(checks, self.work.of(node), now_ms=now_ms())
        if device is None or device.verified_at_ms is None:
            # It cannot have connected without proof: the log of devices is a moment behind. What it wrote until then
            # would be refused.
            return Regard(reputation=round(score, 4), objection="its DID is not known here yet")
        is_unfit = not device.signs_as_subject
        objection = "its answers cannot be checked: it proved its DID by a key of its document" if is_unfit else None
        return Regard(reputation=round(score, 4), objection=objection, owner=device.owner, stake=device.stake)

    def _on_device(self, device: Device) -> None:
        self._kept.pop(device.node, None)

    async def _follow(self) -> None:
        while True:
            try:
                work = WorkDone()
                async with await replay(self._core, ENDED, WorkLog(work), snapshots=self._snapshots) as running:
                    self.work, self._running = work, running
                    await running.follow()
            except BusError as error:
                log.warning("what nodes have done cannot be read now, trying again: %s", error)
            await asyncio.sleep(_RETRY_S)
