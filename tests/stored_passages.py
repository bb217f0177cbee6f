"""Files in vector stores as STORES and PASSAGES have them once they were taken in: written straight to the streams."""

from dataclasses import dataclass

from gateway.retrieval.passage_log import PassageLog
from gateway.retrieval.store_log import StoreLog
from mesh.bus.service_bus import Bus
from streams.stores.events import (
    Attribute,
    AttributeValue,
    StoreEvent,
    StoreFileAdded,
    StoreFileIndexed,
    StoreFileRemoved,
    StoreOpened,
)
from streams.stores.passages import Passage, PassageBatch, Place
from streams.stores.subjects import PassagesKey, StoreKey
from streams.tokens import Token
from tests.number_engine import DIMENSIONS, MODEL, vector_of


@dataclass(kw_only=True)
class WrittenStore:
    """One store of an account, and what is in it."""

    bus: Bus
    key: StoreKey
    log: StoreLog
    passages: PassageLog

    @classmethod
    async def open(cls, bus: Bus, account: str = "acme", model: str = MODEL) -> "WrittenStore":
        log = StoreLog(bus.core)
        opened = await log.open(Token(account), StoreOpened(at_ms=1, model=model))
        return cls(bus=bus, key=opened.key, log=log, passages=PassageLog(bus.core))

    async def note(self, event: StoreEvent) -> int:
        """Store an event; returns its place in STORES."""
        standing = await self.log.note(self.key, lambda _: event)
        assert standing is not None
        return standing.sequence

    async def add(
        self,
        file: str,
        *texts: str,
        model: str = MODEL,
        per_part: int = 2,
        dimensions: int = DIMENSIONS,
        **attributes: AttributeValue,
    ) -> int:
        """Take a file in, of which each text is a passage; returns its generation."""
        noted = tuple(Attribute(name=name, value=value) for name, value in attributes.items())
        generation = await self.note(StoreFileAdded(at_ms=2, file=file, filename=f"{file}.md", attributes=noted))
        parts = [texts[first : first + per_part] for first in range(0, len(texts), per_part)]
        for part, some in enumerate(parts):
            passages = tuple(_passage(part * per_part + at, text, dimensions) for at, text in enumerate(some))
            # Numbers of parts have holes, as those of groups have.
            key = PassagesKey(self.key, Token(file), generation, part * 3)
            await self.passages.put(key, PassageBatch(model=model, passages=passages))
        await self.note(
            StoreFileIndexed(
                at_ms=3,
                file=file,
                generation=generation,
                model=model,
                parts=len(parts),
                passages=len(texts),
                tokens=1,
                characters=sum(map(len, texts)),
                bytes=1,
            )
        )
        return generation

    async def remove(self, file: str) -> None:
        """Take a file out."""
        await self.note(StoreFileRemoved(at_ms=4, file=file))


def _passage(number: int, text: str, dimensions: int) -> Passage:
    place = Place(first=number * 100, last=number * 100 + len(text), page=number + 1, heading=("Fruit",))
    return Passage(number=number, text=text, place=place, tokens=len(text.split()), vector=vector_of(text, dimensions))
