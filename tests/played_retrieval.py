"""Retrieval as tests play it: files are taken in at once, and searches find what a test says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from struct import pack

from gateway.retrieval.store_log import StoreLog
from mesh.bus.direct_client import Delivery
from mesh.bus.link import Link
from streams.clock import now_ms
from streams.codec import decode, decode_store_event, encode
from streams.stores import subjects as store_subjects
from streams.stores.events import StoreFileAdded, StoreFileFailed, StoreFileIndexed
from streams.stores.messages import FoundPassage, FoundPassages, RetrievalRefused, SearchPassages
from streams.stores.passages import Passage, PassageBatch, Place
from streams.stores.subjects import StoreKey
from streams.tokens import Token, token

MODEL = "all-minilm-l6-v2"


class PlayedRetrieval:
    """Answers searches in CORE."""

    def __init__(self, core: Link) -> None:
        self._core = core
        self._log = StoreLog(core)
        self.asked: list[SearchPassages] = []
        self.found: tuple[FoundPassage, ...] = ()
        """What every search finds, up to its limit."""
        self.finds: dict[str, tuple[FoundPassage, ...]] = {}
        """What some queries find instead."""
        self.refusal: RetrievalRefused | None = None
        self._working: set[asyncio.Task[None]] = set()

    async def index(self, account: Token, store: str, file: str, *texts: str) -> None:
        """Have a file taken in as these passages."""
        key = StoreKey(account, token(store))
        generation = await self._wanted(key, file)
        passages = tuple(
            Passage(number=number, text=text, place=Place(first=0, last=len(text)), tokens=9, vector=pack("<2f", 1, 0))
            for number, text in enumerate(texts)
        )
        for passage in passages:
            # Numbers of parts have holes, as those of groups have.
            subject = store_subjects.passages(key, token(file), generation, passage.number * 32)
            await self._core.append(subject, encode(PassageBatch(model=MODEL, passages=(passage,))))
        event = StoreFileIndexed(
            at_ms=now_ms(),
            file=file,
            generation=generation,
            model=MODEL,
            parts=len(texts),
            passages=len(texts),
            tokens=9 * len(texts),
            characters=sum(map(len, texts)),
            bytes=100,
        )
        await self._log.note(key, lambda _: event)

    async def fail(self, account: Token, store: str, file: str, code: str, message: str) -> None:
        """Have a file come to nothing."""
        key = StoreKey(account, token(store))
        generation = await self._wanted(key, file)
        event = StoreFileFailed(at_ms=now_ms(), file=file, generation=generation, code=code, message=message)
        await self._log.note(key, lambda _: event)

    async def _wanted(self, key: StoreKey, file: str) -> int:
        """The generation of a file; what was sent is heard a moment before it can be read."""
        while True:
            standing = await self._log.find(key)
            if standing is not None and file in standing.state.files:
                return standing.state.files[file].wanted
            await asyncio.sleep(0.01)

    def take_in(self, stored: Delivery) -> None:
        """Take a file in as soon as it is added to any store: as one passage, or not at all if it is called so."""
        event = decode_store_event(stored.data)
        if not isinstance(event, StoreFileAdded):
            return
        key = store_subjects.parse_store(stored.subject)
        if "bad" in event.filename:
            work = self.fail(key.account, key.store, event.file, "invalid_file", "It cannot be read.")
        else:
            work = self.index(key.account, key.store, event.file, event.filename)
        self._working.add(task := asyncio.get_running_loop().create_task(work))
        task.add_done_callback(self._working.discard)

    def answer(self, asked: Delivery) -> None:
        """Answer one search."""
        wanted = decode(asked.data, SearchPassages)
        self.asked.append(wanted)
        found = self.finds.get(wanted.query, self.found)
        self._core.reply_to(asked, encode(self.refusal or FoundPassages(hits=found[: wanted.limit])))


def found(
    text: str, *, store: str = "vs_1", file: str = "file-1", filename: str = "a.md", score: float = 0.5
) -> FoundPassage:
    """A passage as a search finds it."""
    return FoundPassage(
        store=store,
        file=file,
        filename=filename,
        attributes=(),
        score=score,
        text=text,
        place=Place(first=10, last=10 + len(text), page=2, heading=("Top",)),
    )


@asynccontextmanager
async def played_retrieval(core: Link) -> AsyncIterator[PlayedRetrieval]:
    """Answer searches until the end."""
    played = PlayedRetrieval(core)
    listener = await core.listen(store_subjects.SEARCH, played.answer)
    try:
        yield played
    finally:
        await listener.close()
