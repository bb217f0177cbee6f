"""HTML as blocks: what a reader would see, in its order, without what a page has around its text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from selectolax.lexbor import LexborHTMLParser

from gateway.retrieval.ingesting.documents import DocumentRefused
from gateway.retrieval.ingesting.encodings import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selectolax.lexbor import LexborNode

    from gateway.retrieval.ingesting.documents import BlockKind, Blocks

MOST_NESTED: Final = 1000
"""Elements inside each other; what people write has some dozens."""

_UNSEEN: Final = frozenset(
    {"script", "style", "template", "noscript", "svg", "iframe", "object", "nav", "title", "head", "-comment"}
)
_INLINE: Final = frozenset(
    {"a", "abbr", "b", "bdi", "bdo", "cite", "code", "data", "dfn", "em", "font", "i", "kbd", "label", "mark", "q", "s"}
    | {"samp", "small", "span", "strong", "sub", "sup", "time", "tt", "u", "var", "wbr", "ins", "del", "-text"}
)
_KINDS: Final[dict[str, BlockKind]] = {"li": "item", "dt": "item", "dd": "item", "pre": "code", "table": "table"}
_HEADING: Final = re.compile("h[1-6]")
_SPACES: Final = re.compile(r"\s+")
_CHARSET: Final = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([A-Za-z0-9_:-]{1,40})""", re.IGNORECASE)
_LOOKED_AT: Final = 4096


def read_html(data: bytes, blocks: Blocks) -> None:
    """Add the blocks of a page.

    Raises:
        DocumentRefused: if it is no text, too much, or nested so deeply that it is an attack.
    """
    body = LexborHTMLParser(_decoded(data)).body
    if body is not None:
        _Page(blocks).read(body)


def _decoded(data: bytes) -> str:
    said = _CHARSET.search(data[:_LOOKED_AT])
    if said is not None:
        try:
            return data.decode(said[1].decode())
        except (LookupError, UnicodeDecodeError):
            # It says one thing and is another: what it looks like decides.
            pass
    return text_of(data)


class _Page:
    """Where the reading of a page stands. Inline text gathers until a block begins or ends."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._words: list[str] = []
        self._kinds: list[tuple[BlockKind, int]] = [("paragraph", 0)]
        self._code = 0

    def read(self, body: LexborNode) -> None:
        for node, is_end in _walk(body):
            tag = node.tag or ""
            if tag == "-text":
                self._words.append(node.text_content or "")
            elif tag == "br":
                self._words.append("\n" if self._code else " ")
            elif tag in {"td", "th"}:
                self._words.append(" | " if is_end else "")
            elif tag == "tr":
                self._words.append("\n" if is_end else "")
            elif tag not in _INLINE:
                self._part(tag, is_end=is_end)
        self._flush()

    def _part(self, tag: str, *, is_end: bool) -> None:
        if len(self._kinds) > 1 and self._kinds[-1][0] == "table" and tag != "table":
            # A paragraph in a cell is words of its row.
            self._words.append(" ")
            return
        self._flush()
        kind: BlockKind | None = "heading" if _HEADING.fullmatch(tag) else _KINDS.get(tag)
        if kind is None:
            return
        if is_end:
            self._kinds.pop()
        else:
            self._kinds.append((kind, int(tag[1]) if kind == "heading" else 0))
        self._code = sum(each == "code" for each, _ in self._kinds)

    def _flush(self) -> None:
        kind, level = self._kinds[-1]
        text = "".join(self._words)
        self._words.clear()
        if kind == "table":
            lines = (_SPACES.sub(" ", line).strip(" |") for line in text.split("\n"))
            self._blocks.add("\n".join(line for line in lines if line), kind)
        else:
            self._blocks.add(text if kind == "code" else _SPACES.sub(" ", text), kind, level=level)


def _walk(root: LexborNode) -> Iterator[tuple[LexborNode, bool]]:
    """Each node in order, elements at their beginning and at their end; no recursion, however deep they are nested."""
    stack = [(root, root.child)]
    while stack:
        parent, node = stack.pop()
        if node is None:
            if stack:
                yield parent, True
            continue
        stack.append((parent, node.next))
        if node.tag in _UNSEEN:
            continue
        yield node, False
        if node.tag != "-text":
            stack.append((node, node.child))
        if len(stack) > MOST_NESTED:
            message = f"The page has more than {MOST_NESTED} elements inside each other: save its text alone."
            raise DocumentRefused("document_too_deep", message)
