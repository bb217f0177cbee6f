"""Bytes of a text file to characters: as its first bytes say, as UTF-8, or as Windows-1252, which old files are in."""

from __future__ import annotations

import codecs
import re
from typing import Final

from gateway.retrieval.ingesting.documents import DocumentRefused

_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    # Before UTF-16, whose mark theirs begins with.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OLD: Final = "cp1252"
_REPLACED: Final = "\ufffd"
_NO_TEXT: Final = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_MOST_CONTROL: Final = 0.01
"""Share of control characters past which something is no text."""


def text_of(data: bytes) -> str:
    """Read a text.

    Raises:
        DocumentRefused: if it is in no encoding that can be told, or no text.
    """
    text = _decoded(data)
    if len(_NO_TEXT.findall(text)) > _MOST_CONTROL * len(text):
        raise DocumentRefused("unsupported_file", "The file is no text: most of it cannot be shown.")
    return text


def _decoded(data: bytes) -> str:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    try:
        return data.decode()
    except UnicodeDecodeError:
        lenient = data.decode(errors="replace")
    # Some damage in a text of UTF-8, or a text that never was: its letters beyond ASCII would all be damage.
    is_utf8 = sum(letter > "\x7f" for letter in lenient) > 2 * lenient.count(_REPLACED)
    if is_utf8:
        return lenient
    try:
        return data.decode(_OLD)
    except UnicodeDecodeError as error:
        message = "The text is neither UTF-8 nor Windows-1252: save it as UTF-8."
        raise DocumentRefused("unreadable_encoding", message) from error
