"""Asking the ledger to put aside what a task may cost, before it is accepted (ADR 22).

Nothing is asked for while no price was ever set. From then on a task without a hold is not accepted: two dispatchers
cannot spend the same money, since the ledger writes each hold on the account's one chain.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.dispatcher.worst_case import worst_case
from gateway.errors import GatewayError
from mesh.bus.newest import newest
from mesh.errors import BusError
from streams.billing.messages import Held, HoldRefused, HoldWanted, LedgerRefusal
from streams.billing.subjects import book_chain, ledger_api
from streams.codec import encode
from streams.messages import Refusal
from streams.subjects import CHECKS
from streams.tasks.task_error import TaskError
from streams.topology import BILLING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.roster.feed import RosterFeed
    from gateway.scheduling.aliases import Alias
    from mesh.bus.link import Link, Listener
    from streams.events import TaskSubmitted
    from streams.subjects import TaskKey

log = logging.getLogger(__name__)

_Answer = Held | HoldRefused | LedgerRefusal | Refusal

_answer: Final = msgspec.msgpack.Decoder(_Answer)
_LOOK_S: Final = 5.0
_READ_TIMEOUT: Final = timedelta(seconds=5)
_PAUSE_S: Final = 0.05
_NOT_NOW: Final = 503


class LedgerAway(GatewayError):
    """No ledger has answered in time; whether anything was put aside is not known, and asking again is safe."""


class Holds:
    """Asks for one dispatcher."""

    def __init__(self, core: Link, feed: RosterFeed, aliases: Mapping[str, Alias], *, patience: timedelta) -> None:
        """Ask through ``core``, each time for ``patience``; ``feed`` knows the contexts of models."""
        self._core = core
        self._feed = feed
        self._aliases = aliases
        self._patience_s = patience.total_seconds()
        self._prices = book_chain("prices").subject
        self._listener: Listener | None = None
        self._watching: asyncio.Task[None] | None = None
        self._nudge = asyncio.Event()
        self.has_prices = False
        """Whether a price list was ever set."""

    async def start(self) -> None:
        """Find out whether anything has a price, and go on looking while nothing has.

        Raises:
            BusError: if that cannot be read.
        """
        self._listener = await self._core.listen(self._prices, lambda _: self._nudge.set())
        await self._look()
        self._watching = asyncio.create_task(self._watch(), name="prices")

    async def stop(self) -> None:
        """Look no more."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._listener is not None:
            await self._listener.close()

    async def refusal(self, key: TaskKey, asked: TaskSubmitted) -> TaskError | None:
        """Have a task's worst case put aside; return why it cannot be, or None. Asked twice, it is held once.

        Raises:
            LedgerAway: if no ledger answers in time.
        """
        if not self.has_prices or key.account == CHECKS:
            return None
        wanted = encode(self._wanted(key, asked))
        due = asyncio.get_running_loop().time() + self._patience_s
        said = "no ledger runs"
        while (left_s := due - asyncio.get_running_loop().time()) > 0:
            try:
                answer = await self._asked(wanted, timedelta(seconds=left_s))
            except (BusError, msgspec.DecodeError) as error:
                said = str(error)
            else:
                if isinstance(answer, Held):
                    return None
                if isinstance(answer, HoldRefused) and answer.status != _NOT_NOW:
                    return TaskError(code=answer.code, message=_sentence(answer.message), status=answer.status)
                said = answer.message
            await asyncio.sleep(_PAUSE_S)
        raise LedgerAway(f"nothing could be put aside for the task: {said}")

    async def _asked(self, wanted: bytes, timeout: timedelta) -> _Answer:
        reply = await self._core.request(ledger_api("hold"), wanted, timeout=timeout)
        return _answer.decode(reply.data)

    def _wanted(self, key: TaskKey, asked: TaskSubmitted) -> HoldWanted:
        alias = self._aliases.get(asked.model)
        models = (asked.model,) if alias is None else alias.models
        most = worst_case(asked, self._context_of(models))
        return HoldWanted(
            account=key.account,
            task=key.task,
            model=models[0],
            others=models[1:],
            kind="embedding" if asked.texts else "chat",
            key=asked.key,
            prompt_tokens_most=most.prompt_tokens,
            completion_tokens_most=most.completion_tokens,
        )

    def _context_of(self, models: tuple[str, ...]) -> int | None:
        roster = self._feed.roster
        contexts = [replica.context_tokens for model in models for replica in roster.replicas_of(model)]
        return max(contexts, default=None)

    async def _watch(self) -> None:
        while not self.has_prices:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._nudge.wait()
                    # It may be heard before it is stored.
                    await asyncio.sleep(_PAUSE_S)
            self._nudge.clear()
            try:
                await self._look()
            except BusError as error:
                log.warning("whether anything has a price could not be read: %s", error)

    async def _look(self) -> None:
        found = await newest(self._core, BILLING, self._prices, of_leader=True, timeout=_READ_TIMEOUT)
        if found is not None and not self.has_prices:
            self.has_prices = True
            log.info("there is a price list: from now on a task is accepted with a hold")


def _sentence(words: str) -> str:
    """What the ledger says, as it stands alone in an answer."""
    return f"{words[:1].upper()}{words[1:]}".rstrip(".") + "."
