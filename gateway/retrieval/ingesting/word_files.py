"""Word documents (.docx) as blocks: headings, paragraphs, items and tables of the body."""

from __future__ import annotations

import io
import re
import zipfile
from typing import TYPE_CHECKING, Final

from docx import Document
from docx.table import Table

from gateway.retrieval.ingesting.documents import DocumentRefused

if TYPE_CHECKING:
    from docx.text.paragraph import Paragraph

    from gateway.retrieval.ingesting.documents import BlockKind, Blocks

MOST_ENTRIES: Final = 10_000
MOST_UNPACKED_BYTES: Final = 256 * 1024 * 1024
"""Of all that is packed in the file, by its own list; what unpacks to more than it says is damaged."""
MOST_XML_BYTES: Final = 32 * 1024 * 1024
"""Of one part that is parsed: it takes many times that in memory."""

_MAIN: Final = "word/document.xml"
_TYPES: Final = "[Content_Types].xml"
_HEADING: Final = re.compile(r"heading ([1-9])", re.IGNORECASE)
_SHOWN: Final = 200
_DAMAGED: Final = "The Word document cannot be read"


def read_docx(data: bytes, blocks: Blocks) -> None:
    """Add the blocks of a document's body.

    Raises:
        DocumentRefused: if it is another kind of archive, encrypted, damaged, or unpacks to too much.
    """
    _look_inside(data)
    try:
        for part in Document(io.BytesIO(data)).iter_inner_content():
            if isinstance(part, Table):
                rows = (" | ".join(cell.text.replace("\n", " ").strip() for cell in row.cells) for row in part.rows)
                blocks.add("\n".join(rows), "table")
            else:
                _add_paragraph(part, blocks)
    except DocumentRefused:
        raise
    except MemoryError:
        raise
    except Exception as error:
        # What a damaged file makes of a parser is not to be foreseen.
        raise DocumentRefused("damaged_file", f"{_DAMAGED}: {type(error).__name__}.") from error


def _add_paragraph(paragraph: Paragraph, blocks: Blocks) -> None:
    style = (paragraph.style.name if paragraph.style is not None else None) or ""
    heading = _HEADING.match(style)
    level = 1 if style == "Title" else int(heading[1]) if heading else 0
    kind: BlockKind = "heading" if level else "item" if style.startswith("List") else "paragraph"
    blocks.add(paragraph.text, kind, level=level)


def _look_inside(data: bytes) -> None:
    """Refuse an archive before any of it is unpacked."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise DocumentRefused("damaged_file", f"{_DAMAGED}: {str(error)[:_SHOWN]}.") from error
    sizes = {entry.filename: entry.file_size for entry in entries}
    if _MAIN not in sizes or _TYPES not in sizes:
        raise DocumentRefused("unsupported_file", "The file is an archive, and no Word document (.docx).")
    if any(entry.flag_bits & 1 for entry in entries):
        raise DocumentRefused("encrypted_file", "The Word document is encrypted: save it without a password.")
    largest = max(size for name, size in sizes.items() if name.endswith((".xml", ".rels")))
    total = sum(entry.file_size for entry in entries)
    if len(entries) > MOST_ENTRIES or total > MOST_UNPACKED_BYTES or largest > MOST_XML_BYTES:
        message = f"The Word document unpacks to {total:,} bytes in {len(entries):,} parts: that is too much."
        raise DocumentRefused("document_too_large", message)
