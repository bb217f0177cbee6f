"""PDF as blocks: the text of its pages. Pictures of text are not read."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Final

from pypdf import PasswordType, PdfReader
from pypdf.errors import DependencyError, PyPdfError

from gateway.retrieval.ingesting.documents import DocumentRefused

if TYPE_CHECKING:
    from gateway.retrieval.ingesting.documents import Blocks

MOST_PAGES: Final = 10_000

_BLANK: Final = re.compile(r"\n[ \t]*\n\s*")
_ENCRYPTED: Final = "The PDF is encrypted: save it without a password."


def read_pdf(data: bytes, blocks: Blocks) -> None:
    """Add the paragraphs of each page, as far as empty lines show where they end.

    Raises:
        DocumentRefused: if it is encrypted, damaged, or has too many pages or too much text.
    """
    try:
        reader = PdfReader(io.BytesIO(data))
        _open(reader)
        pages = len(reader.pages)
        if pages > MOST_PAGES:
            raise DocumentRefused("document_too_large", f"The PDF has {pages:,} pages, and may have {MOST_PAGES:,}.")
        for number, page in enumerate(reader.pages, start=1):
            for paragraph in _BLANK.split(page.extract_text()):
                blocks.add(paragraph, page=number)
    except DependencyError as error:
        raise DocumentRefused("encrypted_file", _ENCRYPTED) from error
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, OSError, RecursionError) as error:
        # What a damaged file makes of a parser is not to be foreseen.
        raise DocumentRefused("damaged_file", f"The PDF cannot be read: {type(error).__name__}.") from error


def _open(reader: PdfReader) -> None:
    """See whether it opens without a password: some are only signed against changes."""
    if reader.is_encrypted and reader.decrypt("") is PasswordType.NOT_DECRYPTED:
        raise DocumentRefused("encrypted_file", _ENCRYPTED)
