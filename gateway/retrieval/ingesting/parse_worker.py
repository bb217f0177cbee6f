"""The process that reads one document and splits it: its limits first, then the parser.

Run as ``python -P -m gateway.retrieval.ingesting.parse_worker NAME CPU_S MEMORY_BYTES CHARS TOKENS OVERLAP`` with the
document on standard input; writes ``Cut`` or ``Unparsable`` as MessagePack to standard output. What harms its parser
harms nothing else.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.retrieval.ingesting.documents import Blocks, Cut, DocumentRefused, Parsed, Unparsable
from gateway.retrieval.ingesting.kinds import kind_of
from gateway.retrieval.ingesting.splitting import split
from streams.stores.events import Chunking

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.retrieval.ingesting.documents import Outcome
    from gateway.retrieval.ingesting.kinds import FileKind

    Parser = Callable[[bytes, Blocks], None]

_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWNET: Final = 0x40000000
_ARGUMENTS: Final = 6

TOO_MUCH_MEMORY: Final = Unparsable(
    code="document_too_large", message="Reading the document takes more memory than it may: part it."
)


def parse(name: str, data: bytes, most_chars: int) -> Outcome:
    """Read a document; whatever is wrong with it is said in the outcome."""
    blocks = Blocks(most_chars)
    try:
        _parser_of(kind_of(name, data))(data, blocks)
    except DocumentRefused as error:
        return Unparsable(code=error.code, message=str(error))
    except MemoryError:
        return TOO_MUCH_MEMORY
    if not blocks.found:
        message = "There is no text in the document; pictures of text are not read."
        return Unparsable(code="empty_document", message=message)
    return Parsed(blocks=tuple(blocks.found))


def cut(name: str, data: bytes, most_chars: int, chunking: Chunking) -> Cut | Unparsable:
    """Read a document and split it."""
    outcome = parse(name, data, most_chars)
    if isinstance(outcome, Unparsable):
        return outcome
    text, drafts = split(outcome.blocks, chunking)
    return Cut(text=text, places=tuple(draft.place for draft in drafts), tokens=tuple(draft.tokens for draft in drafts))


def _parser_of(kind: FileKind) -> Parser:
    # Each loads its own library, and only that.
    match kind:
        case "text":
            from gateway.retrieval.ingesting.texts import read_text

            return read_text
        case "markdown":
            from gateway.retrieval.ingesting.texts import read_markdown

            return read_markdown
        case "html":
            from gateway.retrieval.ingesting.web_pages import read_html

            return read_html
        case "pdf":
            from gateway.retrieval.ingesting.pdfs import read_pdf

            return read_pdf
        case "docx":
            from gateway.retrieval.ingesting.word_files import read_docx

            return read_docx


def _confine(cpu_s: int, memory_bytes: int) -> None:
    """Take from this process what a parser does not need."""
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        # No network, where the kernel lets a process give it up; where it does not, the other limits stand.
        ctypes.CDLL(None).unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


def main(arguments: list[str]) -> None:
    """Read the document on standard input."""
    if len(arguments) != _ARGUMENTS:
        sys.exit("this is started by ig3 retrieval, for one document")
    name, (cpu_s, memory_bytes, most_chars, most_tokens, overlap_tokens) = arguments[0], map(int, arguments[1:])
    _confine(cpu_s, memory_bytes)
    try:
        chunking = Chunking(most_tokens=most_tokens, overlap_tokens=overlap_tokens)
        body = msgspec.msgpack.encode(cut(name, sys.stdin.buffer.read(), most_chars, chunking))
    except MemoryError:
        body = msgspec.msgpack.encode(TOO_MUCH_MEMORY)
    sys.stdout.buffer.write(body)
    sys.stdout.buffer.flush()
    # Taking a large document apart again is nobody's business any more.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
