"""What kind of file somebody has brought: by its first bytes first, by its name where they say nothing."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Final, Literal

from gateway.retrieval.ingesting.documents import DocumentRefused

FileKind = Literal["text", "markdown", "html", "pdf", "docx"]

_LOOKED_AT: Final = 1024
_PDF: Final = b"%PDF-"
_ZIP: Final = b"PK\x03\x04"
_BOMS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_HTML: Final = re.compile(rb"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_BY_NAME: Final[dict[str, FileKind]] = {
    **{".md": "markdown", ".markdown": "markdown", ".mdx": "markdown"},
    **{".html": "html", ".htm": "html", ".xhtml": "html"},
}
_NEEDS_ITS_BYTES: Final = {".pdf": "PDF", ".docx": "Word", ".doc": "Word"}
_READ: Final = "text, Markdown, HTML, PDF and Word (.docx) can be read"


def kind_of(name: str, data: bytes) -> FileKind:
    """Say how to read a file.

    Raises:
        DocumentRefused: if it is nothing that can be read.
    """
    start, ending = data[:_LOOKED_AT], PurePath(name).suffix.lower()
    # A reader of PDFs puts up with something before the mark; a text that is about them is none.
    if start.lstrip().startswith(_PDF) or (ending == ".pdf" and _PDF in start):
        return "pdf"
    if start.startswith(_ZIP):
        if ending in {"", ".docx"}:
            return "docx"
        raise DocumentRefused("unsupported_file", f"The file is an archive or of an unknown kind: {_READ}.")
    if ending in _NEEDS_ITS_BYTES:
        message = (
            f"The file is called {ending}, and is no {_NEEDS_ITS_BYTES[ending]} document that can be read: {_READ}."
        )
        raise DocumentRefused("unsupported_file", message)
    if b"\0" in start and not start.startswith(_BOMS):
        raise DocumentRefused("unsupported_file", f"The file is no text: {_READ}.")
    if ending in _BY_NAME:
        return _BY_NAME[ending]
    return "html" if _HTML.match(start) else "text"
