"""Having a document read and split by a process of its own, which cannot take more than it is given."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import signal
import sys
from datetime import timedelta
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from gateway.retrieval.ingesting.documents import Cut, DocumentRefused, Unparsable
from gateway.retrieval.ingesting.splitting import Draft, Split
from mesh.processes.die_with_parent import guarded

if TYPE_CHECKING:
    from streams.stores.events import Chunking

log = logging.getLogger(__name__)

_WORKER: Final = "gateway.retrieval.ingesting.parse_worker"
_BYTES_PER_CHAR: Final = 4
"""Of a character in UTF-8, at most."""
_BYTES_OF_PLACES: Final = 64 * 1024 * 1024
"""What places and headings of passages may add."""
_ODD: Final = re.compile(r"[^a-z0-9.]")
_LONGEST_ENDING: Final = 16
_PIECE_BYTES: Final = 256 * 1024
_SHOWN_BYTES: Final = 2000
_decode: Final = msgspec.msgpack.Decoder(Cut | Unparsable).decode

_TOO_SLOW: Final = "Reading the document takes longer than it may: part it, or save it in a simpler form."


class ParseLimits(Struct, frozen=True, kw_only=True):
    """What reading one document may take."""

    cpu_s: int = 60
    wall: timedelta = timedelta(minutes=3)
    memory_bytes: int = 1024 * 1024 * 1024
    chars: int = 20_000_000


async def parse_document(name: str, data: bytes, chunking: Chunking, limits: ParseLimits) -> Split:
    """Return the text of a document, and its passages.

    Raises:
        DocumentRefused: if nothing can be made of it, in the time and memory that it has.
    """
    process = await asyncio.create_subprocess_exec(
        *guarded([sys.executable, "-P", "-m", _WORKER, _ending(name), *_given(limits, chunking)]),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # Nothing of ours: no place of a secret, no proxy.
        env={"PYTHONPATH": ":".join(filter(None, sys.path)), "LANG": "C.UTF-8"},
    )
    try:
        async with asyncio.timeout(limits.wall.total_seconds()):
            _, written, said = await asyncio.gather(
                _feed(process, data), _read(process, _most_bytes(limits)), _read_some(process)
            )
            code = await process.wait()
    except TimeoutError:
        raise DocumentRefused("document_too_slow", _TOO_SLOW) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return _split(written, code, said)


def _ending(name: str) -> str:
    """What of a file's name says its kind; the rest is nobody's business who lists processes."""
    return "file" + _ODD.sub("", PurePath(name).suffix.lower())[:_LONGEST_ENDING]


def _given(limits: ParseLimits, chunking: Chunking) -> tuple[str, ...]:
    numbers = (limits.cpu_s, limits.memory_bytes, limits.chars, chunking.most_tokens, chunking.overlap_tokens)
    return tuple(map(str, numbers))


def _most_bytes(limits: ParseLimits) -> int:
    return limits.chars * _BYTES_PER_CHAR + _BYTES_OF_PLACES


async def _feed(process: asyncio.subprocess.Process, data: bytes) -> None:
    stdin = process.stdin
    assert stdin is not None  # noqa: S101 - it was asked for
    # It may end before it has read all: then it has said why.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stdin.write(data)
        await stdin.drain()
    stdin.close()


async def _read(process: asyncio.subprocess.Process, most_bytes: int) -> bytes:
    stdout = process.stdout
    assert stdout is not None  # noqa: S101 - it was asked for
    written = bytearray()
    while piece := await stdout.read(_PIECE_BYTES):
        written += piece
        if len(written) > most_bytes:
            raise DocumentRefused("document_too_large", "Reading the document gives more text than it may: part it.")
    return bytes(written)


async def _read_some(process: asyncio.subprocess.Process) -> str:
    """Take in all of the process's complaints, and keep the last of them."""
    stderr = process.stderr
    assert stderr is not None  # noqa: S101 - it was asked for
    kept = b""
    while piece := await stderr.read(_PIECE_BYTES):
        kept = (kept + piece)[-_SHOWN_BYTES:]
    return kept.decode(errors="replace").strip()


def _split(written: bytes, code: int, said: str) -> Split:
    if code == -signal.SIGXCPU or code == -signal.SIGKILL:
        raise DocumentRefused("document_too_slow", _TOO_SLOW)
    try:
        outcome = _decode(written)
    except (msgspec.DecodeError, UnicodeDecodeError):
        log.warning("a parser came to nothing (exit %s): %s", code, said[-_SHOWN_BYTES:])
        raise DocumentRefused("damaged_file", "The document cannot be read: its parser failed.") from None
    if isinstance(outcome, Unparsable):
        raise DocumentRefused(outcome.code, outcome.message)
    drafts = (
        Draft(number, outcome.text[place.first : place.last], place, tokens)
        for number, (place, tokens) in enumerate(zip(outcome.places, outcome.tokens, strict=False))
    )
    # Of a parser that was taken over nothing is believed.
    found = tuple(draft for draft in drafts if draft.text)
    if not found:
        raise DocumentRefused("empty_document", "There is no text in the document.")
    return Split(outcome.text, found)
