"""An engine that says what the test tells it to, when the test tells it."""

import asyncio
from collections.abc import AsyncGenerator

from nodes.engine import EngineLoad, Generate, Piece
from streams.devices.replica import Replica
from streams.tasks.chat import FinishReason, Usage
from tests.integration.worker.played_dispatcher import until

MODEL = "scripted"


class Script:
    """One request, as the engine sees it. ``taken`` counts the pieces that the node has asked past."""

    def __init__(self, request: Generate) -> None:
        self.request = request
        self.taken = 0
        self.closed = False
        self.steps: asyncio.Queue[Piece | Exception] = asyncio.Queue()
        self._tokens = 0

    def say(self, *texts: str) -> None:
        for text in texts:
            self._tokens += 1
            self.steps.put_nowait(Piece(text=text))

    def end(self, text: str = "", reason: FinishReason = "stop") -> None:
        usage = Usage(prompt_tokens=1, completion_tokens=self._tokens)
        self.steps.put_nowait(Piece(text=text, tokens=0, finish_reason=reason, usage=usage))

    def fail(self, error: Exception) -> None:
        self.steps.put_nowait(error)


class ScriptedEngine:
    """Follows a script per request."""

    def __init__(self, *, slots: int = 4, continues: bool = True) -> None:
        self.slots = slots
        self.continues = continues
        self.scripts: list[Script] = []

    async def script(self, number: int) -> Script:
        """Wait for the request of that number, from 1."""
        return await until(lambda: self.scripts[number - 1] if len(self.scripts) >= number else None)

    async def start(self) -> Replica:
        return Replica(model=MODEL, engine="scripted", context_tokens=4096, slots=self.slots, continues=self.continues)

    async def generate(self, request: Generate) -> AsyncGenerator[Piece, None]:
        script = Script(request)
        self.scripts.append(script)
        try:
            while True:
                step = await script.steps.get()
                if isinstance(step, Exception):
                    raise step
                yield step
                script.taken += 1
        finally:
            script.closed = True

    def can_continue(self, request: Generate) -> bool:
        return self.continues

    def load(self) -> EngineLoad:
        return EngineLoad(running=sum(not script.closed for script in self.scripts), waiting=0)

    async def stop(self) -> None:
        """Nothing is held."""
