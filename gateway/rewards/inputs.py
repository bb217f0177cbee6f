"""What the logs say of devices in an epoch: DEVICES, who was there and with what stake; BILLING, who did what."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from mesh.history.ordered import FROM_FIRST, OrderedReader, Start
from streams.billing.events import LedgerPosted
from streams.billing.money import PPM
from streams.codec import decode_billing_event, decode_device_event
from streams.devices.fold import Devices, Standing
from streams.rewards.computing import DeviceInputs, WorkDone
from streams.rewards.presence import Presence
from streams.tokens import Token
from streams.topology import BILLING, DEVICES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mesh.bus.link import Link
    from mesh.history.stream_facts import Recorded
    from streams.billing.events import Transaction
    from streams.devices.fold import Device
    from streams.rewards.epochs import Epoch
    from streams.rewards.events import RewardMachineSet

UNKNOWN_MACHINE: Final = "unknown"
"""Of a device of which the operator has not said what it is: rules give nothing for it."""

_WAIT_S: Final = 5.0
_SLACK: Final = timedelta(hours=1)
"""Clocks of the ledger and of the broker may differ by less."""
_MS: Final = 1000
_NODE: Final = "node:"


class WorkBook:
    """Who had a signed part in which answers, as a fold of charges.

    A whole answer counts once, however long it is; several nodes that wrote of it share that evenly.
    """

    def __init__(self, epoch: Epoch) -> None:
        """Count what was charged in ``epoch``, by the ledger's clock."""
        self._epoch = epoch
        self._success_ppm: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def apply(self, transaction: Transaction) -> None:
        """Fold one transaction."""
        used = transaction.used
        in_time = self._epoch.begins_at_ms <= transaction.at_ms < self._epoch.ends_at_ms
        if used is None or transaction.kind != "charge" or used.outcome != "completed" or not in_time:
            return
        nodes = {each.account.removeprefix(_NODE) for each in transaction.postings if each.account.startswith(_NODE)}
        for node in nodes:
            self._success_ppm[node][used.kind] += PPM // len(nodes)

    def of(self, node: Token) -> tuple[WorkDone, ...]:
        """What one device did, by kind of task."""
        done = self._success_ppm.get(node, Counter[str]())
        return tuple(WorkDone(kind=kind, success_ppm=success_ppm) for kind, success_ppm in sorted(done.items()))


async def read_inputs(core: Link, epoch: Epoch, machines: Mapping[Token, RewardMachineSet]) -> tuple[DeviceInputs, ...]:
    """Read the logs; returns every device that was admitted when the epoch ended, by name.

    Raises:
        BusError: if they cannot be read.
        UndecodableEvent: if something stands there that this version cannot read: it might take a right away.
    """
    devices, presence = await _read_devices(core, epoch)
    work = await _read_work(core, epoch)
    return tuple(
        _inputs(device, presence.here_ms(device.node), work.of(device.node), machines.get(device.node))
        for device in devices.all()
        if device.standing is Standing.ADMITTED
    )


def _inputs(device: Device, here_ms: int, work: tuple[WorkDone, ...], machine: RewardMachineSet | None) -> DeviceInputs:
    return DeviceInputs(
        node=device.node,
        owner=device.owner,
        machine=UNKNOWN_MACHINE if machine is None else machine.machine,
        cell=None if machine is None else machine.cell,
        stake=device.stake,
        here_ms=here_ms,
        work=work,
    )


async def _read_devices(core: Link, epoch: Epoch) -> tuple[Devices, Presence]:
    devices, presence = Devices(), Presence(epoch)
    async with OrderedReader(core, DEVICES, start=FROM_FIRST) as reader:
        while not reader.is_caught_up:
            for recorded in await reader.take(wait_s=_WAIT_S):
                event = decode_device_event(recorded.data)
                node = Token(event.node)
                presence.apply(node, event)
                if event.at_ms < epoch.ends_at_ms:
                    devices.apply(node, event)
    return devices, presence


async def _read_work(core: Link, epoch: Epoch) -> WorkBook:
    work = WorkBook(epoch)
    since = datetime.fromtimestamp(epoch.begins_at_ms / _MS, UTC) - _SLACK
    start = Start(after_sequence=None, since=since)
    async with OrderedReader(core, BILLING, start=start, filters=["billing.*"]) as reader:
        while not reader.is_caught_up:
            for recorded in await reader.take(wait_s=_WAIT_S):
                for transaction in _transactions(recorded):
                    work.apply(transaction)
    return work


def _transactions(recorded: Recorded) -> Iterator[Transaction]:
    event = decode_billing_event(recorded.data)
    if isinstance(event, LedgerPosted):
        yield from event.transactions
