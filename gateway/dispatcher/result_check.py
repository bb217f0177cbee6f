"""Whether the result of an attempt is believed, before it ends its task: once per attempt, never per token (ADR 14)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from gateway.dispatcher.plausible import Fault, byte_count, call_bytes, usage_fault
from gateway.dispatcher.vector_check import vectors_fault
from mesh.identity.chunk_proof import has_signed
from streams.tasks import chunk_chain
from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.dispatcher.task_run import TaskRun
    from mesh.identity.device_log import DeviceLog
    from streams.devices.fold import Device
    from streams.events import ChunkSignature, TaskSubmitted

log = logging.getLogger(__name__)

BY: Final = "dispatcher"
"""Who suspends liars, as DEVICES names it."""


def _unknown(_node: str, _model: str) -> int | None:
    return None


class ResultCheck:
    """Checks results against what DEVICES says of the node that wrote them."""

    def __init__(self, devices: DeviceLog, dimensions_of: Callable[[str, str], int | None] = _unknown) -> None:
        """Go by ``devices``, which is started by whoever made it.

        ``dimensions_of`` says how many numbers a node has announced for the vectors of a model, where that is known.
        """
        self._devices = devices
        self._dimensions_of = dimensions_of

    async def fault(self, record: TaskRun, asked: TaskSubmitted) -> Fault | None:
        """Say why the whole answer in ``record`` is not believed, or None if it is.

        Raises:
            BusError: if the log of devices cannot be read.
        """
        device = await self._device(record.state.node or "")
        if isinstance(device, Fault):
            return device
        return self._signature_fault(record, device) or self._usage_fault(record, asked)

    def is_signed(self, record: TaskRun, signature: ChunkSignature | None) -> bool:
        """Whether a node that gives an attempt back has signed for what is stored of it.

        If it has not, that is no lie: its last chunk may have been stored or lost without its knowing.
        """
        device = self._devices.devices.device(Token(record.state.node or ""))
        return signature is not None and device is not None and self._holds(record, device, signature)

    def is_trusted(self, node: str) -> bool:
        """Whether anything may be built on what a node has written: not, if it is shut out."""
        device = self._devices.devices.device(Token(node))
        return device is None or not device.is_shut_out

    async def shut_out(self, record: TaskRun, fault: Fault) -> None:
        """Suspend the node that has lied, with the task as evidence.

        Raises:
            BusError: if that cannot be written.
        """
        node = Token(record.state.node or "")
        if self.is_trusted(node):
            await self._devices.suspend(node, by=BY, reason=fault.message, task=record.key.task)

    async def _device(self, node: str) -> Device | Fault:
        device = self._devices.devices.device(Token(node))
        if device is None or not device.signs_as_subject:
            # It may have come a moment ago.
            await self._devices.catch_up()
            device = self._devices.devices.device(Token(node))
        if device is None or device.did is None or device.verified_at_ms is None:
            return Fault(message=f"no DID of {node} is known, so nothing can be its word", is_lie=False)
        if device.is_shut_out:
            return Fault(message=f"{node} is {device.standing}", is_lie=False)
        if not device.signs_as_subject:
            return Fault(message=f"{node} proved its DID by a key that is not the DID's own", is_lie=False)
        return device

    def _signature_fault(self, record: TaskRun, device: Device) -> Fault | None:
        signature = record.chunks[-1].signature
        if signature is None:
            return Fault(message=f"{device.node} has not signed for its answer", is_lie=False)
        if not self._holds(record, device, signature):
            return Fault(message=f"the signature is not that of {device.did} for what is stored", is_lie=True)
        return None

    def _holds(self, record: TaskRun, device: Device, signature: ChunkSignature) -> bool:
        if device.did is None:
            return False
        begin = chunk_chain.begin(record.key, record.state.attempt, device.node)
        return has_signed(device.did, signature, chunk_chain.extend_all(begin, record.chunks))

    def _usage_fault(self, record: TaskRun, asked: TaskSubmitted) -> Fault | None:
        usage = record.state.usage
        if usage is None:
            return Fault(message="the answer has no usage", is_lie=False)
        if asked.texts:
            state = record.state
            announced = self._dimensions_of(state.node or "", state.model or asked.model)
            due = record.dimensions if len(state.shares) > 1 else None
            return vectors_fault(asked, state, usage, record.chunks, dimensions=asked.dimensions or announced or due)
        own = sum(byte_count(chunk.text) + call_bytes(chunk.tool_calls) for chunk in record.chunks)
        prefix_bytes = sum(map(byte_count, record.text)) + call_bytes(record.calls) - own
        return usage_fault(asked, record.state, usage, record.chunks, prefix_bytes=prefix_bytes)
