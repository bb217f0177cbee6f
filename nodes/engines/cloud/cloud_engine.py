"""One model of several providers outside: the first that can is asked, and the next where one cannot."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from nodes.engine import Loading
from nodes.engines.cloud.cloud_file import ModelEntry, ProviderEntry, read_cloud_file
from nodes.engines.cloud.lite_llm import LiteLlm
from nodes.engines.cloud.standing import Standing, all_away, in_turn
from nodes.engines.conversation import conversation_of
from nodes.engines.demands import check_demands, demanded_bytes, is_constrained
from nodes.engines.probe import Speed, measure
from nodes.engines.remote.ability_probe import abilities_of
from nodes.engines.remote.api_key import ApiKey
from nodes.engines.remote.chat_answer import ChatAnswer
from nodes.engines.remote.experiments import SHORT_TOKENS, cut_of, goes_on, listen, story
from nodes.engines.remote.seats import Seats
from nodes.engines.remote.steps import Steps
from nodes.errors import EngineError, EngineUnavailable, RequestRefused
from nodes.personal_data.hidden_request import hidden
from streams.devices.replica import Replica

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nodes.engine import EngineLoad, EngineSpec, Generate, OnLoading, Piece
    from nodes.personal_data.hidden_request import HiddenRequest
    from streams.devices.replica import Ability

_IMPORTED: Final = 0.5


class Provider:
    """One provider as it stands: its key, and whether it failed of late."""

    def __init__(self, entry: ProviderEntry, library: LiteLlm, steps: Steps, patience_s: float) -> None:
        """Read its key.

        Raises:
            EngineUnavailable: it cannot be read.
        """
        self.entry = entry
        self.key = ApiKey(file=entry.key_file, variable=entry.key_variable)
        self.standing = Standing(entry.model)
        self._library = library
        self._steps = steps
        self._patience_s = patience_s

    async def pieces(self, request: Generate) -> AsyncGenerator[Piece, None]:
        """Stream one answer.

        Raises:
            EngineError: the provider failed or refused.
        """
        conversation = conversation_of(request)
        answer = ChatAnswer(conversation, request.sampling, "final", self.key, demanded_bytes=demanded_bytes(request))
        asked = self._library.ask(
            self.entry, self.key, conversation, request, steps=self._steps, patience_s=self._patience_s
        )
        try:
            async with asked as chunks, aclosing(answer.pieces(chunks)) as pieces:
                async for piece in pieces:
                    self.standing.answered()
                    yield piece
        except RequestRefused:
            raise
        except EngineError as error:
            self.standing.failed(error)
            raise


class CloudEngine:
    """Asks providers by LiteLLM."""

    def __init__(self, spec: EngineSpec, on_loading: OnLoading) -> None:
        """Prepare to serve the model that ``spec.model`` names in the cloud file.

        Raises:
            EngineUnavailable: LiteLLM is not installed, the file cannot be used, or a key cannot be read.
        """
        self._spec = spec
        self._on_loading = on_loading
        self._entry: ModelEntry = read_cloud_file(spec.cloud_config).model(spec.model)
        self._library = LiteLlm()
        patience_s = spec.remote.patience_s
        self._steps = Steps()
        self._providers = [Provider(entry, self._library, self._steps, patience_s) for entry in self._entry.providers]
        self._seats = Seats(spec.slots or self._entry.slots)
        self._continues = False
        self._abilities: tuple[Ability, ...] = ()
        self._started = False

    async def start(self) -> Replica:
        """Ask each provider a little, unless the file says not to, and say what the model is."""
        self._on_loading(Loading(stage="loading", fraction=0.0))
        await asyncio.to_thread(self._library.load)
        self._on_loading(Loading(stage="measuring", fraction=_IMPORTED))
        replica = self._described()
        self._library.open()
        self._started = True
        speed = Speed(tokens_per_s=None, prompt_tokens_per_s=None)
        if self._entry.probe:
            try:
                self._continues = await self._all_continue()
                self._abilities = await self._all_able()
                speed = await measure(self)
            except BaseException:
                await self.stop()
                raise
        self._on_loading(Loading(stage="ready", fraction=1.0))
        return replace(
            replica,
            continues=self._continues,
            abilities=self._abilities,
            tokens_per_s=speed.tokens_per_s,
            prompt_tokens_per_s=speed.prompt_tokens_per_s,
        )

    async def generate(self, request: Generate) -> AsyncGenerator[Piece, None]:
        """Stream one answer; see `nodes.engine.Engine`. Closing it closes the connection to the provider."""
        check_demands(request, self._abilities)
        conversation_of(request)  # what asks nothing is refused before it waits for a seat
        hides = await hidden(request, self._spec.redaction)
        async with self._seats.taken(), aclosing(self._answered(request, hides)) as pieces:
            async for piece in pieces:
                yield piece
                self._seats.check()

    def can_continue(self, request: Generate) -> bool:
        """Say what all providers have shown at the start; nobody knows of it under tools or a format."""
        return self._continues and not is_constrained(request)

    def load(self) -> EngineLoad:
        """Count the answers on their way; away while no provider could be asked of late."""
        return replace(self._seats.load(), away=all_away(self._providers))

    async def stop(self) -> None:
        """End every answer."""
        self._seats.stopped = True
        self._steps.stop()
        if self._started:
            self._started = False
            await self._library.close()

    def _answered(self, request: Generate, hides: HiddenRequest | None) -> AsyncGenerator[Piece, None]:
        """Have it answered as it is, or with placeholders that nobody but a provider sees."""
        return self._answer(request) if hides is None else hides.restored(self._answer(hides.request))

    async def _answer(self, request: Generate) -> AsyncGenerator[Piece, None]:
        """Go on with the next provider as long as nothing of the answer was seen."""
        if not self._started:
            raise EngineUnavailable("the engine was stopped or not started yet")
        failure: EngineError | None = None
        for provider in in_turn(self._providers):
            has_begun = False
            try:
                async with aclosing(provider.pieces(request)) as pieces:
                    async for piece in pieces:
                        has_begun = True
                        yield piece
                return
            except RequestRefused:
                raise
            except EngineError as error:
                self._seats.check()
                if has_begun:
                    raise
                failure = error
        raise failure or EngineUnavailable("the model has no provider")

    async def _all_continue(self) -> bool:
        """Find out whether each provider that answers goes on from its own text.

        Raises:
            EngineError: none of them answers.
        """
        shown: list[bool] = []
        failure: EngineError | None = None
        for provider in self._providers:
            try:
                shown.append(await _continues(provider))
            except EngineError as error:
                failure = error
        if failure is not None and not shown:
            raise EngineUnavailable(f"no provider of {self._entry.id!r} answers, the last because {failure}")
        return all(shown) and failure is None

    async def _all_able(self) -> tuple[Ability, ...]:
        """Find out what each provider does beyond text: any of them may get a request."""
        shared: tuple[Ability, ...] | None = None
        for provider in self._providers:
            able = await abilities_of(provider.pieces, self._spec.without)
            shared = able if shared is None else tuple(ability for ability in shared if ability in able)
        return shared or ()

    def _described(self) -> Replica:
        own = self._library.what_is_known(self._entry)
        return Replica(
            model=self._spec.model_id or self._entry.id,
            engine="litellm",
            context_tokens=own.context_tokens,
            slots=self._spec.slots or self._entry.slots,
            tier="cloud",
            region=self._entry.region,
            price=own.price,
        )


async def _continues(provider: Provider) -> bool:
    asked = story()
    whole = await listen(provider.pieces(asked))
    at = cut_of(whole)
    if at is None:
        return False
    asked = story(tokens=SHORT_TOKENS, begun=whole.text[:at])
    try:
        rest = await listen(provider.pieces(asked))
    except RequestRefused:
        return False
    return goes_on(whole.text, at, rest.text)
