"""An embedding model of providers outside, by LiteLLM: the first that can is asked, and the next where one cannot.

Vectors of different models cannot be compared, so a provider serves only once it has shown the vectors of the others.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from nodes.engines.cloud.cloud_file import read_cloud_file
from nodes.engines.cloud.lite_llm import LiteLlm
from nodes.engines.cloud.standing import Standing, all_away, in_turn
from nodes.engines.embedding.answer import answered
from nodes.engines.embedding.batches import in_batches
from nodes.engines.embedding.endpoint import EXAMPLES, SAME, check_meaning
from nodes.engines.embedding.texts import PROBE, check
from nodes.engines.embedding.vectors import NUMBER_BYTES, likeness
from nodes.engines.remote.api_key import ApiKey
from nodes.engines.remote.seats import Seats
from nodes.engines.remote.steps import Steps
from nodes.errors import EngineError, EngineUnavailable, RequestRefused
from nodes.personal_data.hidden_request import hidden_texts
from streams.devices.replica import Replica

if TYPE_CHECKING:
    from nodes.embedding import Embed, Embedded, EmbeddingSpec
    from nodes.engine import EngineLoad
    from nodes.engines.cloud.cloud_file import ProviderEntry
    from nodes.engines.embedding.batches import Answered


class EmbeddingProvider:
    """One provider: its key, how it stands, and whether its vectors are known to be the model's."""

    def __init__(self, entry: ProviderEntry, library: LiteLlm, steps: Steps, patience_s: float) -> None:
        """Read its key.

        Raises:
            EngineUnavailable: it cannot be read.
        """
        self.entry = entry
        self.standing = Standing(entry.model)
        self.is_proven = False
        self._key = ApiKey(file=entry.key_file, variable=entry.key_variable)
        self._library = library
        self._steps = steps
        self._patience_s = patience_s

    async def ask(self, texts: tuple[str, ...]) -> Answered:
        """Ask for a vector of each text.

        Raises:
            EngineError: the provider failed or refused.
        """
        try:
            answer = await self._library.embed(
                self.entry, self._key, texts, steps=self._steps, patience_s=self._patience_s
            )
            given = answered(answer, texts)
        except RequestRefused:
            raise
        except EngineError as error:
            self.standing.failed(error)
            raise
        self.standing.answered()
        return given


class CloudEmbeddingEngine:
    """Asks providers by LiteLLM."""

    def __init__(self, spec: EmbeddingSpec) -> None:
        """Prepare to serve the model that ``spec.model`` names in the cloud file.

        Raises:
            EngineUnavailable: LiteLLM is not installed, the file cannot be used, or a key cannot be read.
        """
        self._spec = spec
        self._entry = read_cloud_file(spec.cloud_config).model(spec.model or "", "embedding")
        self._library = LiteLlm()
        self._steps = Steps()
        self._providers = [
            EmbeddingProvider(entry, self._library, self._steps, spec.remote.patience_s)
            for entry in self._entry.providers
        ]
        self._seats = Seats(spec.slots or self._entry.slots)
        self._examples: tuple[bytes, ...] = ()
        """What the model makes of `EXAMPLES`."""
        self._started = False

    async def start(self) -> Replica:
        """Have each provider show the same vectors, and say what the model is."""
        await asyncio.to_thread(self._library.load)
        known = self._library.what_is_known(self._entry)
        self._library.open()
        self._started = True
        try:
            await self._prove_all()
            began = time.perf_counter()
            probed = await self._ask((PROBE,))
            elapsed_s = time.perf_counter() - began
        except BaseException:
            await self.stop()
            raise
        return Replica(
            model=self._spec.model_id or self._entry.id,
            engine="litellm",
            kind="embedding",
            dimensions=len(self._examples[0]) // NUMBER_BYTES,
            context_tokens=known.context_tokens,
            slots=self._spec.slots or self._entry.slots,
            prompt_tokens_per_s=round(probed.tokens / elapsed_s, 1),
            continues=False,
            tier="cloud",
            region=self._entry.region,
            price=known.price,
        )

    async def embed(self, request: Embed) -> Embedded:
        """Turn texts into vectors; see `nodes.embedding.EmbeddingEngine`."""
        check(request)
        texts = await hidden_texts(request.texts, self._spec.redaction, request.redaction)
        async with self._seats.taken():
            return await in_batches(texts, self._ask)

    def load(self) -> EngineLoad:
        """Count the requests on their way; away while no provider could be asked of late."""
        return replace(self._seats.load(), away=all_away(self._providers))

    async def stop(self) -> None:
        """End every request."""
        self._seats.stopped = True
        self._steps.stop()
        if self._started:
            self._started = False
            await self._library.close()

    async def _ask(self, texts: tuple[str, ...]) -> Answered:
        """Ask the next provider where one cannot."""
        if not self._started:
            raise EngineUnavailable("the engine was stopped or not started yet")
        failure: EngineError | None = None
        for provider in in_turn(self._providers):
            try:
                await self._prove(provider)
                given = await provider.ask(texts)
                self._refuse_other_sizes(given)
            except RequestRefused:
                raise
            except EngineError as error:
                self._seats.check()
                failure = error
            else:
                return given
        raise failure or EngineUnavailable("the model has no provider")

    async def _prove_all(self) -> None:
        """Ask each provider for the examples; one that cannot be asked now is asked before it is used first.

        Raises:
            EngineError: none of them answers, or one has other vectors than the ones before.
        """
        failure: EngineError | None = None
        for provider in self._providers:
            try:
                await self._prove(provider)
            except _OtherVectors:
                raise
            except EngineError as error:
                failure = error
        if failure is not None and not self._examples:
            raise EngineUnavailable(f"no provider of {self._entry.id!r} answers, the last because {failure}")

    async def _prove(self, provider: EmbeddingProvider) -> None:
        if provider.is_proven:
            return
        try:
            vectors = (await provider.ask(EXAMPLES)).vectors
        except RequestRefused as error:
            raise EngineUnavailable(f"{provider.entry.model} makes no vectors of texts: {error}") from error
        check_meaning(vectors)
        self._examples = self._examples or vectors
        if any(likeness(a, b) < SAME for a, b in zip(self._examples, vectors, strict=True)):
            error = _OtherVectors(
                f"{provider.entry.model} gives other vectors than those before it: list it as a model of its own"
            )
            provider.standing.failed(error)
            raise error
        provider.is_proven = True

    def _refuse_other_sizes(self, given: Answered) -> None:
        size = len(self._examples[0])
        if any(len(vector) != size for vector in given.vectors):
            raise EngineError(f"the provider's vectors had {size // NUMBER_BYTES} numbers before, and now others")


class _OtherVectors(EngineUnavailable):
    """A provider has another model."""
