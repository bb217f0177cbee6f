"""Taking one file into a store: read, split, embedded in groups, written down, and said to be there.

Whoever does it again, after a crash or beside another, finds what is done: ids of tasks follow from file, generation
and group, and a part of the passages can be stored once only.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from gateway.retrieval.ingesting.documents import DocumentRefused
from gateway.retrieval.ingesting.groups import PARTS_OF_GROUP, groups_of, packed
from gateway.retrieval.ingesting.means import TooLong, Unwanted
from gateway.retrieval.ingesting.parsing import ParseLimits, parse_document
from gateway.retrieval.ingesting.patience import PatientVectors
from mesh.errors import BusError
from streams.clock import now_ms
from streams.stores import subjects as store_subjects
from streams.stores.events import Chunking, StoreFileFailed, StoreFileIndexed
from streams.stores.subjects import PassagesKey
from streams.tasks.task_id import derived_task_id, sibling_task_id
from streams.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.retrieval.ingesting.groups import Group
    from gateway.retrieval.ingesting.means import Means
    from gateway.retrieval.ingesting.splitting import Split
    from gateway.retrieval.settings import RetrievalSettings
    from streams.stores.events import StoreEvent
    from streams.stores.fold import StoreFile, StoreState
    from streams.stores.subjects import StoreKey

_GROUPS_AT_ONCE: Final = 2
_LEAST_TOKENS: Final = 16
_SLOTS_PER_RETENTION: Final = 4


class Intake:
    """One generation of one file, from where it stands to its end."""

    def __init__(self, means: Means, store: StoreKey, file: StoreFile, generation: int, *, asked_at_ms: int) -> None:
        """Prepare to take in; the generation was asked for at ``asked_at_ms``."""
        self._means = means
        self._store = store
        self._file = file
        self._generation = generation
        self.moved_at_s = asyncio.get_running_loop().time()
        """When something of it was done last, by the loop's clock."""
        patience = means.settings.model_patience
        self._patient = PatientVectors(means.vectors, store.account, file.key_id, patience, asked_at_ms=asked_at_ms)

    async def run(self) -> None:
        """Bring it to its end; once more is fine. What nobody wants any more is left.

        Raises:
            NotNow: if it has to wait for long.
            BusError: if the streams cannot be read or written.
        """
        try:
            await self._take_in()
        except Unwanted:
            return
        except DocumentRefused as error:
            code, message = error.code, str(error)
            await self._note(
                StoreFileFailed(
                    at_ms=now_ms(),
                    file=self._file.id,
                    generation=self._generation,
                    code=code[:64],
                    message=message[:1024],
                )
            )

    async def _take_in(self) -> None:
        state = await self._wanted()
        chunking = self._file.chunking or state.opened.chunking or _default(self._means.settings)
        while True:
            found = await self._split(chunking)
            try:
                await self._embed(found, state.model, chunking)
                return
            except TooLong as error:
                # Tokens are counted by an estimate here: the model has the last word.
                chunking = _shorter(chunking, error)
            await self._sweep()

    async def _split(self, chunking: Chunking) -> Split:
        async with self._means.parsing:
            data = await self._read()
            found = await parse_document(self._file.filename, data, chunking, _limits(self._means.settings))
        self._has_moved()
        return found

    def _has_moved(self) -> None:
        self.moved_at_s = asyncio.get_running_loop().time()

    async def _read(self) -> bytes:
        account, file, limit = self._store.account, Token(self._file.id), self._means.settings.document_limit
        stored = await self._means.files.find(account, file)
        if stored is None:
            raise DocumentRefused("file_not_found", "The file was deleted before it was taken in.")
        if stored.event.size_bytes > limit:
            raise DocumentRefused("file_too_large", f"The file has more than {limit:,} bytes: part it.")
        data = bytearray()
        try:
            async for part in self._means.files.read(account, file):
                data += part
        except BusError:
            if await self._means.files.find(account, file) is None:
                raise DocumentRefused("file_not_found", "The file was deleted while it was taken in.") from None
            raise
        return bytes(data)

    async def _embed(self, found: Split, model: str, chunking: Chunking) -> None:
        groups = groups_of(found.drafts)
        have = await self._standing(groups)
        room = asyncio.Semaphore(_GROUPS_AT_ONCE)
        base = self._base_id(model, chunking)

        async def embed(group: Group) -> None:
            async with room:
                await self._embed_group(group, model, chunking, sibling_task_id(base, group.number))

        try:
            async with asyncio.TaskGroup() as tasks:
                for group in groups:
                    if group.number not in have:
                        tasks.create_task(embed(group))
        except ExceptionGroup as several:
            # What stops one group stops all.
            raise several.exceptions[0] from several
        await self._end(found, model)

    async def _standing(self, groups: Sequence[Group]) -> set[int]:
        """Which groups are written down already, from before a crash; what does not fit together is begun anew."""
        held = await self._means.passages.held(self._filter())
        whole = {key.part // PARTS_OF_GROUP for key in held if key.part % PARTS_OF_GROUP == 0}
        for group in groups:
            if group.number in whole:
                batch = await self._means.passages.get(self._key(group.number * PARTS_OF_GROUP))
                if batch is None or not group.begins_like(batch):
                    await self._sweep()
                    return set()
        if whole - {group.number for group in groups}:
            await self._sweep()
            return set()
        return whole

    async def _embed_group(self, group: Group, model: str, chunking: Chunking, base: Token) -> None:
        vectors = await self._patient.vectors(group.texts(chunking.most_tokens), model, base)
        await self._wanted()
        parts = packed(group, model, vectors)
        # The first comes last: where it is, the group is whole.
        for number in reversed(range(len(parts))):
            await self._means.passages.put(self._key(group.number * PARTS_OF_GROUP + number), parts[number])
        self._has_moved()

    async def _end(self, found: Split, model: str) -> None:
        held = await self._means.passages.held(self._filter())
        sizes = [len(draft.text.encode()) for draft in found.drafts]
        first = await self._means.passages.get(self._key(0))
        if first is None:
            raise BusError("passages that were written are not there: again")
        vector_bytes = len(first.passages[0].vector)
        await self._note(
            StoreFileIndexed(
                at_ms=now_ms(),
                file=self._file.id,
                generation=self._generation,
                model=model,
                parts=len(held),
                passages=len(found.drafts),
                tokens=sum(draft.tokens for draft in found.drafts),
                characters=len(found.text),
                bytes=sum(sizes) + vector_bytes * len(found.drafts),
            )
        )

    async def _wanted(self) -> StoreState:
        """Return the store as it stands, while this generation is awaited."""
        standing = await self._means.stores.find(self._store)
        if standing is None or not standing.state.awaits(self._file.id, self._generation):
            raise Unwanted
        return standing.state

    async def _note(self, event: StoreEvent) -> None:
        def decide(state: StoreState) -> StoreEvent | None:
            return event if state.awaits(self._file.id, self._generation) else None

        await self._means.stores.note(self._store, decide)

    async def _sweep(self) -> None:
        await self._means.passages.sweep(self._filter(), lambda _: False)

    def _filter(self) -> str:
        return store_subjects.passages_of_generation(self._store, Token(self._file.id), self._generation)

    def _key(self, part: int) -> PassagesKey:
        return PassagesKey(self._store, Token(self._file.id), self._generation, part)

    def _base_id(self, model: str, chunking: Chunking) -> Token:
        """The id that those of the tasks follow from. It is another one before ids become too old to be taken."""
        slot_ms = max(1, round(self._means.retention.total_seconds() * 1000) // _SLOTS_PER_RETENTION)
        said = (*self._store, self._file.id, self._generation, model, chunking.most_tokens, chunking.overlap_tokens)
        return derived_task_id(now_ms() // slot_ms * slot_ms, "/".join(map(str, said)))


def _limits(settings: RetrievalSettings) -> ParseLimits:
    cpu_s = round(settings.parse_time.total_seconds())
    return ParseLimits(
        cpu_s=cpu_s, wall=3 * settings.parse_time, memory_bytes=settings.parse_memory, chars=settings.document_chars
    )


def _default(settings: RetrievalSettings) -> Chunking:
    return Chunking(most_tokens=settings.passage_tokens, overlap_tokens=settings.passage_overlap)


def _shorter(chunking: Chunking, error: TooLong) -> Chunking:
    most = chunking.most_tokens // 2
    if most < _LEAST_TOKENS:
        raise DocumentRefused("embedding_failed", f"The passages cannot be made into vectors: {error}")
    return replace(chunking, most_tokens=most, overlap_tokens=min(chunking.overlap_tokens, most // 2))
