"""What to search for next: the model says so in a task of its own, under a schema, so that small models can too.

It reads what was found until then and the question, and writes whether that is enough, and what to look for if it is
not. Whatever keeps it from saying so (no room, no engine that writes under a schema, no money, an answer that cannot be
read) ends the searching, and never the request: its answer rests on what there is.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from gateway.http.admission import Asked, admit
from gateway.http.errors import ApiError
from gateway.http.file_search.request import TOOL
from gateway.http.following import Follower
from gateway.http.storing import store_task
from gateway.http.task_calls import cancel_quietly
from gateway.http.wishes import Wishes
from gateway.limits.price import price_of_task
from mesh.bus.answer import AnswerText
from streams.clock import now_ms
from streams.events import TaskSubmitted
from streams.tasks.chat import Sampling, TextPart
from streams.tasks.grounding import put_before
from streams.tasks.tools import OutputFormat

if TYPE_CHECKING:
    from gateway.http.site import Site
    from mesh.access.caller import Caller
    from streams.subjects import ServiceClass, TaskKey

log = logging.getLogger(__name__)

MOST_QUERY_CHARS: Final = 200
_PATIENCE_S: Final = 60.0
_ANSWER_TOKENS: Final = 96
_INSTRUCTION: Final = (
    "\n\nDo not answer yet. Say in JSON whether the passages above hold all that the answer needs (`enough`), and if "
    "not, in a few words other than those searched for already ({searched}), what to search the user's files for next "
    "(`search`)."
)
"""Without an example: a small model copies it."""


class _Decision(Struct, frozen=True):
    enough: bool
    search: Annotated[str, Meta(max_length=4 * MOST_QUERY_CHARS)] = ""


_FORMAT: Final = OutputFormat(
    kind="json_schema",
    name="next_search",
    schema_json=msgspec.json.encode(
        {
            "type": "object",
            "properties": {
                "enough": {"type": "boolean"},
                "search": {"type": "string", "maxLength": MOST_QUERY_CHARS},
            },
            "required": ["enough", "search"],
            "additionalProperties": False,
        }
    ).decode(),
    strict=True,
)
_read: Final = msgspec.json.Decoder(_Decision).decode


class Decider:
    """Asks the model of one request."""

    def __init__(self, site: Site, caller: Caller, asked: TaskSubmitted, at: int, urgency: ServiceClass) -> None:
        """Ask in the name of ``caller`` about the question that message ``at`` of ``asked`` is."""
        self._site = site
        self._caller = caller
        self._asked = asked
        self._at = at
        self._urgency: ServiceClass = urgency

    async def next_query(self, found: str, searched: tuple[str, ...]) -> str | None:
        """Return what to search for next, which is nothing that was ``searched`` for; None: that is enough.

        Raises:
            BusError: if the bus is away.
        """
        try:
            async with asyncio.timeout(_PATIENCE_S):
                text = await self._answer(self._question(found, searched))
        except (ApiError, TimeoutError) as error:
            log.info("files are searched no further for a request of %s: %s", self._caller.account, error)
            return None
        return decided(text, searched)

    def _question(self, found: str, searched: tuple[str, ...]) -> TaskSubmitted:
        instruction = _INSTRUCTION.format(searched="; ".join(one[:MOST_QUERY_CHARS] for one in searched))
        messages = put_before(self._asked.messages, self._at, found)
        question = messages[self._at]
        parts = (*question.parts, TextPart(text=instruction)) if question.parts else ()
        question = replace(question, content=question.content + instruction, parts=parts)
        until_ms, deadline_at_ms = now_ms() + round(_PATIENCE_S * 1000), self._asked.deadline_at_ms
        return TaskSubmitted(
            model=self._asked.model,
            messages=(*messages[: self._at], question),
            sampling=Sampling(max_tokens=_ANSWER_TOKENS, temperature=0.0),
            format=_FORMAT,
            deadline_at_ms=until_ms if deadline_at_ms is None else min(until_ms, deadline_at_ms),
            rules=self._asked.rules,
        )

    async def _answer(self, task: TaskSubmitted) -> str:
        site, now = self._site, now_ms()
        wishes = Wishes(
            urgency=self._urgency,
            deadline_at_ms=now if task.deadline_at_ms is None else task.deadline_at_ms,
            on_disconnect="cancel",
            rules=task.rules,
            bounds=site.bounds_of(self._caller),
        )
        price = partial(price_of_task, task, answer_tokens=_ANSWER_TOKENS)
        with site.limiter.ticket(self._caller) as ticket:
            asked = Asked(
                account=self._caller.account,
                path=TOOL,
                body=b"",
                model=task.model,
                wishes=wishes,
                goes_on=False,
                stream=False,
                price=price,
                draft=task,
            )
            admitted = await admit(site, asked, None, ticket)
            watch = await store_task(site, admitted, task.model, _given(task), wishes, ticket)
            with Follower(site.bus.source, admitted.key, watch=watch, only_whole=True) as follower:
                return await self._followed(follower, admitted.key)

    async def _followed(self, follower: Follower, key: TaskKey) -> str:
        text = AnswerText()
        try:
            while not follower.is_over:
                text.take(await follower.steps())
        except BaseException:
            # Nobody waits for it any more.
            self._site.spawn(cancel_quietly(self._site.bus, key, "nobody waits for what to search next"))
            raise
        self._site.gate.dropped(key)
        return str(text) if follower.state.outcome == "completed" else ""


def decided(text: str, searched: tuple[str, ...]) -> str | None:
    """What a model has decided to search for; None, if that is nothing, nothing new, or cannot be read."""
    try:
        decision = _read(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    query = " ".join(decision.search.split())[:MOST_QUERY_CHARS]
    known = {_plain(one) for one in searched}
    return None if decision.enough or not _plain(query) or _plain(query) in known else query


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .?!\"'")


async def _given(task: TaskSubmitted) -> TaskSubmitted:
    return task
