"""Vectors for some passages, with patience: for a full mesh, for a node that dies, and a while for a model."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from gateway.retrieval.ingesting.documents import DocumentRefused
from gateway.retrieval.ingesting.means import NotNow, TooLong
from gateway.retrieval.vectors import NoVectors
from streams.clock import now_ms
from streams.subjects import TaskKey
from streams.tasks.task_id import sibling_task_id

if TYPE_CHECKING:
    from gateway.retrieval.vectors import VectorMaker
    from streams.tokens import Token

_TASK_LASTS: Final = timedelta(minutes=30)
_ATTEMPTS: Final = 4096
"""Of one group at most, each of another id."""
_FATAL_ATTEMPTS: Final = 3
"""How often a group may kill what embeds it, or come to nothing for a reason that is not known."""
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0

_BUSY: Final = frozenset({408, 429, 503, 504})
_TOO_LONG: Final = "context_length_exceeded"
_NO_MODEL: Final = "model_not_found"
_CLOSED: Final = "invalid_api_key"
_NO_MONEY: Final = frozenset({"insufficient_quota", "budget_exceeded"})


class PatientVectors:
    """Vectors for the passages of one generation of a file."""

    def __init__(
        self, vectors: VectorMaker, account: Token, key_id: str | None, patience: timedelta, *, asked_at_ms: int
    ) -> None:
        """Ask in the name of an account, and of a key of its; wait ``patience`` for a model nobody has.

        ``asked_at_ms`` is when the waiting began.
        """
        self._vectors = vectors
        self._account = account
        self._key_id = key_id
        self._patience = patience
        self._asked_at_ms = asked_at_ms

    async def vectors(self, texts: tuple[str, ...], model: str, base: Token) -> tuple[bytes, ...]:
        """Return the vectors of some texts, by the first task that comes to something; ids follow from ``base``.

        Raises:
            NotNow: if the mesh has no such model yet, or no room for long.
            TooLong: if the model cannot read one of them.
            DocumentRefused: if there is no use in trying again.
            BusError: if the streams cannot be read or written.
        """
        pause_s, fatal = _FIRST_PAUSE_S, 0
        for attempt in range(_ATTEMPTS):
            key = TaskKey(self._account, sibling_task_id(base, attempt))
            deadline_at_ms = now_ms() + round(_TASK_LASTS.total_seconds() * 1000)
            try:
                return await self._vectors.make(
                    key, model, texts, "batch", deadline_at_ms=deadline_at_ms, key_id=self._key_id
                )
            except NoVectors as error:
                fatal += error.status not in _BUSY
                self._judge(error, model, fatal)
                if error.was_asked:
                    # What stood there already, from before a crash: there was a pause behind it.
                    continue
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        raise NotNow("there is no room for so long: later")

    def _judge(self, error: NoVectors, model: str, fatal: int) -> None:
        """Say whether a task that came to nothing is tried again: no, where this raises."""
        if error.code == _TOO_LONG:
            raise TooLong(str(error))
        if error.code == _CLOSED:
            raise DocumentRefused("account_closed", "The account was closed: nobody speaks for it any more.")
        if error.code in _NO_MONEY and not error.was_asked:
            raise DocumentRefused(error.code, str(error))
        if error.code == _NO_MODEL:
            if error.was_asked:
                # It may have come since.
                return
            if now_ms() - self._asked_at_ms < self._patience.total_seconds() * 1000:
                raise NotNow(f"no node has {model!r} yet")
            raise DocumentRefused(_NO_MODEL, f"No node of the mesh has the embedding model {model!r}.")
        is_final = error.status not in _BUSY and error.status < 500 and error.code not in _NO_MONEY
        if is_final or fatal >= _FATAL_ATTEMPTS:
            raise DocumentRefused("embedding_failed", f"The passages cannot be made into vectors: {error}")
