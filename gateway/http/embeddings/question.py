"""``POST /v1/embeddings`` as the flow of all APIs sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.http.api import OfVectors
from gateway.http.asking import Asking
from gateway.http.embeddings.answer import embedding_list
from gateway.http.embeddings.request import read_embedding_request
from gateway.http.errors import ApiError
from gateway.http.wishes import TASK
from gateway.limits.price import price_of_texts

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.http.api import Frames
    from gateway.http.cache.use import CacheUse
    from gateway.http.chat.request import ServiceTier
    from gateway.http.embeddings.request import EmbeddingAsked
    from gateway.http.site import Site
    from gateway.limits.ticket import Price
    from mesh.access.caller import Caller
    from mesh.bus.answer import AnswerText
    from streams.events import TaskSubmitted
    from streams.tasks.placing import Rules
    from streams.tasks.task import TaskState
    from streams.tokens import Token


class EmbeddingQuestion(OfVectors):
    """Vectors that are asked for. They come whole: no client knows what to do with some of them."""

    def __init__(self, asked: EmbeddingAsked) -> None:
        """Ask what ``asked`` says."""
        self._asked = asked
        self.draft = asked.draft
        self.model = asked.request.model
        self.is_streamed = self.is_background = self.is_length_usual = False
        self.cache_use: CacheUse = "never"
        self.service_tier: ServiceTier | None = None

    def price(self, answer_tokens: int) -> Price:
        """What it may use: nothing is written, however long answers are otherwise."""
        del answer_tokens
        return price_of_texts(self._asked.texts)

    async def submission(self, deadline_at_ms: int, rules: Rules | None) -> TaskSubmitted:
        """The task that it asks for."""
        return replace(self.draft, deadline_at_ms=deadline_at_ms, rules=rules)

    def answer(self, task: Token, text: AnswerText, state: TaskState) -> bytes:
        """Write a list of embeddings.

        Raises:
            ApiError: 400 if the task, of which the client knew the id, was another one.
        """
        vectors = text.vectors
        if len(vectors) != len(self._asked.texts):
            message = f"Task {task} was another one: it has {len(vectors)} vectors. Choose a new {TASK}."
            raise ApiError(400, message, code="invalid_value", param=TASK)
        encoding = self._asked.request.encoding_format or "float"
        return embedding_list(state.model or self.model, vectors, state, encoding)

    def frames(self, task: Token) -> Frames:
        """Refuse: nothing is streamed.

        Raises:
            ApiError: always.
        """
        raise ApiError(400, f"The vectors of task {task} come whole, not as a stream.", code="unsupported_value")


async def read_embeddings(_site: Site, _caller: Caller, body: bytes) -> EmbeddingQuestion:
    """Read a request.

    Raises:
        ApiError: 400, naming the parameter that is wrong.
    """
    return EmbeddingQuestion(read_embedding_request(body))


class Embeddings:
    """The handler."""

    def __init__(self, site: Site) -> None:
        """Serve for ``site``."""
        self._asking = Asking(site, read_embeddings)

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; what a task says of its messages is about the input here.

        Raises:
            ApiError: as the flow of all APIs.
        """
        try:
            return await self._asking.create(request)
        except ApiError as error:
            if error.param != "messages":
                raise
            raise ApiError(
                error.status, error.message, code=error.code, param="input", headers=error.headers, kind=error.kind
            ) from error
