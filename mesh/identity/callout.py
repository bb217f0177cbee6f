"""The service behind NATS's auth callout: the broker asks, the gatekeeper decides. Any number of them may run."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from mesh.bus.headers import header
from mesh.errors import BusError, InvalidCallout, NotAdmitted, ResolverUnavailable
from mesh.identity.slowdown import Patience, Slowdown, origin_of

if TYPE_CHECKING:
    from mesh.bus.direct_client import Delivery
    from mesh.bus.link import Link, Listener
    from mesh.identity.gatekeeper import Gatekeeper
    from mesh.identity.nats_jwt import Admission, CalloutKeys, Question

log = logging.getLogger(__name__)

_SUBJECT: Final = "$SYS.REQ.USER.AUTH"
_QUEUE: Final = "identity"
_SERVER_KEY: Final = "Nats-Server-Xkey"
_DECIDE_WITHIN: Final = timedelta(seconds=2.5)
"""The broker gives up after three seconds (nats.conf)."""
_MOST_AT_ONCE: Final = 512
"""Decisions under way; more wait, and the broker turns them away when their time is up."""
_REFUSED: Final = "refused"

HOST_PATIENCE: Final = Patience(free=500, forgiven_per_s=10, first_s=0.25, longest_s=10)
"""Many devices may stand behind one address, and each of them tries again and again until it is admitted."""


class Callout:
    """Serves on a connection in the account AUTH."""

    def __init__(
        self, link: Link, keys: CalloutKeys, gatekeeper: Gatekeeper, *, patience: Patience = HOST_PATIENCE
    ) -> None:
        """Prepare; ``start`` begins to serve. ``patience`` is that with one host whose connections are refused."""
        self._link = link
        self._keys = keys
        self._gatekeeper = gatekeeper
        self._slowdown = Slowdown(patience)
        self._room = asyncio.Semaphore(_MOST_AT_ONCE)
        self._listener: Listener | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to serve; all who do so share the questions."""
        self._listener = await self._link.listen(_SUBJECT, self._on_question, queue=_QUEUE)

    async def stop(self) -> None:
        """Take no more questions, and answer those that are under way."""
        if self._listener is not None:
            await self._listener.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _on_question(self, delivery: Delivery) -> None:
        task = asyncio.create_task(self._serve(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, delivery: Delivery) -> None:
        server_key = header(delivery.headers, _SERVER_KEY) or ""
        try:
            question = self._keys.open(delivery.data, server_key)
        except (InvalidCallout, ValueError) as error:
            log.error("a question of the broker is left unanswered: %s", error)
            return
        if self._has_to_wait(question):
            verdict = _REFUSED
        else:
            async with self._room:
                verdict = await self._decide(question)
            if verdict is None:
                # Nobody has refused it: the broker turns it away in a moment as undecided, and it may ask again.
                return
        now_s = int(time.time())
        self._link.reply_to(delivery, self._keys.answer(question, verdict, server_key=server_key, now_s=now_s))

    async def _decide(self, question: Question) -> Admission | str | None:
        """Decide; whatever goes wrong is a refusal. None: there was no decision in time, and so none."""
        try:
            async with asyncio.timeout(_DECIDE_WITHIN.total_seconds()):
                admission = await self._gatekeeper.decide(question)
        except NotAdmitted as error:
            log.warning("refused a connection from %s: %s", question.client.host, error)
            if not isinstance(error.__cause__, BusError | ResolverUnavailable):
                self._count_refusal(question.client.host)
            return _REFUSED
        except TimeoutError:
            log.error("no answer to a connection from %s: no decision within %s", question.client.host, _DECIDE_WITHIN)
            return None
        except Exception:
            log.exception("refused a connection from %s", question.client.host)
            return _REFUSED
        log.info("let in %s from %s", admission.name, question.client.host)
        return admission

    def _has_to_wait(self, question: Question) -> bool:
        """Whether a host was refused too often to be looked at now; its devices that are admitted are, even so."""
        wait_s = self._slowdown.wait_s(origin_of(question.client.host), time.monotonic())
        return wait_s > 0 and not self._gatekeeper.claims_to_be_admitted(question)

    def _count_refusal(self, host: str) -> None:
        wait_s = self._slowdown.failed(origin_of(host), time.monotonic())
        if wait_s:
            log.warning("%s was refused too often: only its devices that are admitted get in for %.2f s", host, wait_s)
