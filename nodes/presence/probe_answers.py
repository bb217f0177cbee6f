"""Showing the registry that a model of this node works, before anything is placed on it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from nodes.errors import EngineError
from nodes.presence.health import ask_small_question
from streams import subjects
from streams.codec import decode, encode
from streams.devices.probe import Probe, Probed
from streams.errors import StreamsError

if TYPE_CHECKING:
    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link
    from nodes.attempts.worker import Worker
    from streams.tokens import Token

log = logging.getLogger(__name__)


class ProbeAnswers:
    """Answers ``node.<node>.probe``."""

    def __init__(self, link: Link, node: Token, worker: Worker) -> None:
        """Answer for the models of ``worker``; ``listen`` begins."""
        self._link = link
        self._node = node
        self._worker = worker
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        """Begin to hear the question."""
        await self._link.listen(subjects.node_inbox(self._node, "probe"), self._on_probe)

    def _on_probe(self, delivery: Delivery) -> None:
        try:
            probe = decode(delivery.data, Probe)
        except StreamsError as error:
            log.warning("ignored what is no probe: %s", error)
            return
        task = asyncio.create_task(self._answer(delivery, probe.model), name="probe")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, delivery: Delivery, model: str) -> None:
        self._link.reply_to(delivery, encode(await self._probe(model)))

    async def _probe(self, model: str) -> Probed:
        engine = self._worker.engine_of(model)
        if engine is None:
            return Probed(works=False, reason="this node does not serve the model")
        try:
            await ask_small_question(engine)
        except EngineError as error:
            return Probed(works=False, reason=str(error))
        except Exception as error:
            log.exception("the engine of %s failed", model)
            return Probed(works=False, reason=f"its engine failed: {type(error).__name__}")
        return Probed(works=True)
