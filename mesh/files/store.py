"""Files of users: FILES says what each is, FILE_PARTS has its bytes in numbered parts.

A part's subject takes one message only, so whoever writes a file again from its beginning, after a crash, loses nothing
and doubles nothing.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from mesh.errors import BusError, FileNotKept, SubjectTaken
from mesh.history.held_messages import delete_message, subjects_held
from mesh.history.stream_facts import last_message, last_messages
from streams.clock import now_ms
from streams.codec import decode, decode_file_event, encode
from streams.errors import StreamsError
from streams.files import subjects as file_subjects
from streams.files.events import PART_BYTES, FileDeleted, FilePart, FileStored, StoredFile
from streams.tasks.task_id import new_task_id
from streams.tokens import Token, token
from streams.topology import FILE_PARTS, FILES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mesh.bus.link import Link
    from streams.files.events import FilePurpose

MOST_FILES: Final = 1000
"""That an account may have, and that are listed."""


class FileStore:
    """All files, over a connection in CORE."""

    def __init__(self, core: Link) -> None:
        """Use ``core``; nothing is asked yet."""
        self._core = core

    async def put(
        self,
        account: Token,
        name: str,
        purpose: FilePurpose,
        data: AsyncIterator[bytes],
        *,
        limit_bytes: int,
        lasts_s: int | None = None,
    ) -> StoredFile:
        """Store a file as its bytes come; where it ``lasts_s``, it is gone so many seconds later.

        Raises:
            FileNotKept: if it has more than ``limit_bytes``; nothing of it stays.
            BusError: if it cannot be stored.
        """
        file = new_file_id()
        digest, size, number = hashlib.sha256(), 0, 0
        try:
            async for part in in_parts(data):
                size += len(part)
                if size > limit_bytes:
                    raise FileNotKept(f"the file has more than {limit_bytes:,} bytes")
                digest.update(part)
                await self.put_part(account, file, number, part)
                number += 1
        except BaseException:
            await self.remove(account, file)
            raise
        return await self.finish(
            account, file, name, purpose, size_bytes=size, sha256=digest.hexdigest(), lasts_s=lasts_s
        )

    async def put_part(self, account: Token, file: Token, number: int, data: bytes) -> None:
        """Store one part, at most ``PART_BYTES``; one that is there already stays as it is.

        Raises:
            BusError: if it cannot be stored, or that is not known.
        """
        try:
            await self._core.append(file_subjects.file_part(account, file, number), encode(FilePart(data=data)))
        except SubjectTaken:
            return

    async def finish(
        self,
        account: Token,
        file: Token,
        name: str,
        purpose: FilePurpose,
        *,
        size_bytes: int,
        sha256: str,
        lasts_s: int | None = None,
    ) -> StoredFile:
        """Say what a file is whose parts are stored; twice is fine.

        Raises:
            BusError: if it cannot be stored.
        """
        at_ms = now_ms()
        event = FileStored(
            at_ms=at_ms,
            name=name,
            purpose=purpose,
            size_bytes=size_bytes,
            sha256=sha256,
            expires_at_ms=None if lasts_s is None else at_ms + lasts_s * 1000,
        )
        await self._core.append(file_subjects.file(account, file), encode(event))
        return StoredFile(id=file, event=event)

    async def find(self, account: Token, file: Token) -> StoredFile | None:
        """Return what a file is; None if there is none of this id.

        Raises:
            BusError: if it cannot be read.
        """
        stored = await self._standing(account, file)
        return None if stored is None or stored.has_expired(now_ms()) else stored

    async def list_all(self, account: Token) -> tuple[StoredFile, ...]:
        """Return an account's files, the newest first.

        Raises:
            BusError: if they cannot be read.
        """
        messages = await last_messages(self._core, FILES, (file_subjects.files_of(account),), most=2 * MOST_FILES)
        found, at_ms = (stored_file(message.subject, message.data) for message in messages), now_ms()
        files = [file for file in found if file is not None and not file.has_expired(at_ms)]
        return tuple(sorted(files, key=lambda file: file.id, reverse=True))

    async def read(self, account: Token, file: Token) -> AsyncIterator[bytes]:
        """Yield a file's parts, in their order.

        Raises:
            BusError: if it cannot be read.
        """
        for number in await self.parts(account, file):
            yield await self.part(account, file, number)

    async def part(self, account: Token, file: Token, number: int) -> bytes:
        """Return one part.

        Raises:
            BusError: if it cannot be read, or is not there any more.
        """
        data = await self.find_part(account, file, number)
        if data is None:
            raise BusError(f"part {number} of {file} is not there any more")
        return data

    async def find_part(self, account: Token, file: Token, number: int) -> bytes | None:
        """Return one part; None: it is not there.

        Raises:
            BusError: if it cannot be read.
        """
        message = await last_message(self._core, FILE_PARTS, file_subjects.file_part(account, file, number))
        return None if message is None else decode(message.data, FilePart).data

    async def parts(self, account: Token, file: Token) -> list[int]:
        """Return which parts there are, in their order.

        Raises:
            BusError: if that cannot be read.
        """
        subjects = await subjects_held(self._core, FILE_PARTS, file_subjects.parts_of(account, file))
        return sorted(file_subjects.part_number(subject) for subject in subjects)

    async def names_with(self, account: Token, number: int) -> list[Token]:
        """Return what has a part of this number, in the order of names.

        Raises:
            BusError: if that cannot be read.
        """
        subjects = await subjects_held(self._core, FILE_PARTS, file_subjects.part_of_each(account, number))
        return sorted(file_subjects.part_owner(subject) for subject in subjects)

    async def _standing(self, account: Token, file: Token) -> StoredFile | None:
        message = await last_message(self._core, FILES, file_subjects.file(account, file))
        return None if message is None else stored_file(message.subject, message.data)

    async def delete(self, account: Token, file: Token) -> bool:
        """Delete a file, one whose time is over too; whether there was one.

        Raises:
            BusError: if it cannot be deleted: do it again.
        """
        message = await last_message(self._core, FILES, file_subjects.file(account, file))
        if message is None:
            return False
        is_there = stored_file(message.subject, message.data) is not None
        if is_there:
            await self._core.append(file_subjects.file(account, file), encode(FileDeleted(at_ms=now_ms())))
        # Also where it was deleted before: a broker that was away in that moment may have kept some of it.
        await self.remove(account, file)
        return is_there

    async def remove(self, account: Token, file: Token, *, beyond: int = -1) -> None:
        """Delete a file's bytes, and write over them on the disk; those ``beyond`` a part only, if one is given.

        Raises:
            BusError: if they cannot be deleted.
        """
        for number in [number for number in await self.parts(account, file) if number > beyond]:
            message = await last_message(self._core, FILE_PARTS, file_subjects.file_part(account, file, number))
            if message is None:
                continue
            refused = await delete_message(self._core, FILE_PARTS, message.sequence)
            # Others delete too: what is gone is gone, whoever it was.
            if refused is not None and await self.find_part(account, file, number) is not None:
                raise BusError(f"part {number} of {file} cannot be deleted: {refused}")


def new_file_id() -> Token:
    """Make the id of a file: ids of later ones sort behind those of earlier ones."""
    return Token(f"file-{new_task_id()}")


def parse_file_id(text: str) -> Token | None:
    """Return a file's id, or None where a text cannot be one."""
    if not text.startswith("file-"):
        return None
    try:
        return token(text)
    except StreamsError:
        return None


def stored_file(subject: str, data: bytes) -> StoredFile | None:
    """Read what FILES says of a file; None: it was deleted."""
    event = decode_file_event(data)
    return StoredFile(id=file_subjects.parse_file(subject)[1], event=event) if isinstance(event, FileStored) else None


async def in_parts(data: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Cut or join what comes so that every part but the last is full."""
    waiting = bytearray()
    async for piece in data:
        waiting += piece
        while len(waiting) >= PART_BYTES:
            yield bytes(waiting[:PART_BYTES])
            del waiting[:PART_BYTES]
    if waiting:
        yield bytes(waiting)
