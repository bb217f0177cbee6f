"""What a parser makes of a file: blocks of text in their order, or why it has none."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from gateway.errors import GatewayError
from streams.stores.passages import Place

BlockKind = Literal["heading", "paragraph", "item", "code", "table"]

PARAGRAPH: Final = "\n\n"
"""What stands between two blocks in a file's text."""


MOST_SPACES: Final = 16
"""Between two words: spaces count as no tokens, so this bounds how long a passage is."""


class Block(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of a document that belongs together. Its text is neither empty nor begins or ends with a space."""

    text: Annotated[str, Meta(min_length=1)]
    kind: BlockKind = "paragraph"
    level: Annotated[int, Meta(ge=0, le=9)] = 0
    """Of a heading, from 1, the most important."""
    page: Annotated[int, Meta(ge=1)] | None = None


class Parsed(Struct, frozen=True, kw_only=True, tag="parsed"):
    """A document that could be read."""

    blocks: tuple[Block, ...]


class Unparsable(Struct, frozen=True, kw_only=True, tag="unparsable"):
    """A document that could not."""

    code: Annotated[str, Meta(max_length=64)]
    message: Annotated[str, Meta(max_length=1024)]


class Cut(Struct, frozen=True, kw_only=True, tag="cut"):
    """A document that was read and split: its text, and where its passages stand in it."""

    text: str
    places: tuple[Place, ...]
    tokens: tuple[Annotated[int, Meta(ge=0)], ...]
    """Of each passage."""


Outcome = Parsed | Unparsable


class DocumentRefused(GatewayError):
    """A file that nothing can be made of; the text says what was wrong and what to do."""

    def __init__(self, code: str, message: str) -> None:
        """Refuse with a code that ``store.file_failed`` carries."""
        super().__init__(message)
        self.code = code


class Blocks:
    """Collects blocks as a parser finds them, and refuses a document that has too much text."""

    def __init__(self, most_chars: int) -> None:
        """Take up to ``most_chars`` characters."""
        self._most_chars = most_chars
        self._chars = 0
        self.found: list[Block] = []

    def add(self, text: str, kind: BlockKind = "paragraph", *, level: int = 0, page: int | None = None) -> None:
        """Add a block; one without text is left out.

        Raises:
            DocumentRefused: if the document has more text than it may have.
        """
        clean = cleaned(text)
        if not clean:
            return
        self._chars += len(clean)
        if self._chars > self._most_chars:
            message = f"The document has more than {self._most_chars:,} characters of text: part it."
            raise DocumentRefused("document_too_large", message)
        self.found.append(Block(text=clean, kind=kind, level=level, page=page))


def cleaned(text: str) -> str:
    """Take out what is no text: control characters, halves of characters, long gaps, spaces at the ends of lines."""
    kept = text.replace("\r\n", "\n").replace("\r", "\n").translate(_CONTROL)
    kept = _LONG_GAP.sub(lambda gap: gap[0][:MOST_SPACES], kept)
    whole = kept.encode("utf-8", "replace").decode()
    return "\n".join([line.rstrip() for line in whole.split("\n")]).strip()


_LONG_GAP: Final = re.compile(rf"\s{{{MOST_SPACES + 1},}}")
_CONTROL: Final = {code: None for code in range(32) if chr(code) not in "\n\t"} | {0x7F: None, 0xFEFF: None}
