"""Plain text and Markdown as blocks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from markdown_it import MarkdownIt

from gateway.retrieval.ingesting.encodings import text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it.token import Token

    from gateway.retrieval.ingesting.documents import BlockKind, Blocks

_BLANK: Final = re.compile(r"\n[ \t]*\n\s*")


def read_text(data: bytes, blocks: Blocks) -> None:
    """Add a block for each paragraph: what stands between empty lines.

    Raises:
        DocumentRefused: if it is no text, or too much.
    """
    for paragraph in _BLANK.split(text_of(data).replace("\r\n", "\n").replace("\r", "\n")):
        blocks.add(paragraph)


def read_markdown(data: bytes, blocks: Blocks) -> None:
    """Add the headings, paragraphs, items, code and tables of a Markdown text, without its signs.

    Raises:
        DocumentRefused: if it is no text, or too much.
    """
    reading = _Markdown(blocks)
    for token in MarkdownIt("commonmark").enable("table").parse(text_of(data)):
        reading.take(token)


class _Markdown:
    """Where the reading of a Markdown text stands."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._level = 0
        self._lists = 0
        self._rows: list[list[str]] | None = None

    def take(self, token: Token) -> None:
        match token.type:
            case "heading_open" | "heading_close":
                self._level = int(token.tag[1:]) if token.nesting > 0 else 0
            case "list_item_open" | "list_item_close":
                self._lists += token.nesting
            case "table_open":
                self._rows = []
            case "tr_open" if self._rows is not None:
                self._rows.append([])
            case "table_close" if self._rows is not None:
                self._blocks.add("\n".join(map(" | ".join, self._rows)), "table")
                self._rows = None
            case "fence" | "code_block":
                self._blocks.add(token.content, "code")
            case "inline":
                self._take_words(_plain(token.children or ()))
            case _:
                pass

    def _take_words(self, words: str) -> None:
        if self._rows:
            self._rows[-1].append(words)
            return
        kind: BlockKind = "heading" if self._level else "item" if self._lists else "paragraph"
        self._blocks.add(words, kind, level=self._level)


def _plain(children: Sequence[Token]) -> str:
    return "".join(["\n" if child.type in {"softbreak", "hardbreak"} else child.content for child in children])
