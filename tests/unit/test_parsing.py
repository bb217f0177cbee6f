"""Documents are read by a process of their own; what cannot be read is refused by name, in bounded time and memory."""

import asyncio
import io
import zipfile
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import docx
import pypdf
import pytest
from docx.document import Document as WordDocument
from msgspec.structs import replace
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from gateway.retrieval.ingesting import parsing
from gateway.retrieval.ingesting.documents import Block, Blocks, DocumentRefused, Parsed, Unparsable
from gateway.retrieval.ingesting.parse_worker import parse
from gateway.retrieval.ingesting.parsing import ParseLimits, parse_document
from gateway.retrieval.ingesting.web_pages import MOST_NESTED
from streams.stores.events import Chunking

MANY = 1_000_000
CHUNKING = Chunking(most_tokens=256, overlap_tokens=32)
LIMITS = ParseLimits(cpu_s=20, wall=timedelta(seconds=60), memory_bytes=1024**3, chars=MANY)


def blocks_of(name: str, data: bytes) -> list[tuple[str, str]]:
    outcome = parse(name, data, MANY)
    assert isinstance(outcome, Parsed), outcome
    return [(block.kind, block.text) for block in outcome.blocks]


def code_of(name: str, data: bytes, most_chars: int = MANY) -> str:
    outcome = parse(name, data, most_chars)
    assert isinstance(outcome, Unparsable), outcome
    assert outcome.message.endswith(".")
    return outcome.code


def pdf_of(*pages: str, password: str = "") -> bytes:
    writer = pypdf.PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    fonts = writer._add_object(DictionaryObject({NameObject("/F1"): font}))
    for text in pages:
        page = writer.add_blank_page(612, 792)
        stream = DecodedStreamObject()
        lines = " T* ".join(f"({line}) Tj" for line in text.split("\n"))
        stream.set_data(f"BT /F1 12 Tf 14 TL 72 720 Td {lines} ET".encode())
        page[NameObject("/Contents")] = writer._add_object(stream)
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


def docx_of(fill: Callable[[WordDocument], object]) -> bytes:
    document = docx.Document()
    fill(document)
    written = io.BytesIO()
    document.save(written)
    return written.getvalue()


def zip_of(**entries: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return written.getvalue()


def test_paragraphs_of_a_text_are_what_empty_lines_part() -> None:
    assert blocks_of("a.txt", "Grüße\r\nan alle\r\n \r\n世界\n".encode()) == [
        ("paragraph", "Grüße\nan alle"),
        ("paragraph", "世界"),
    ]


def test_a_text_about_pdfs_is_none() -> None:
    assert blocks_of("a.txt", b"A PDF begins with %PDF-1.7") == [("paragraph", "A PDF begins with %PDF-1.7")]
    assert code_of("a.pdf", b"%!PS\n%PDF-1.7") == "damaged_file"


def test_markdown_is_read_without_its_signs() -> None:
    source = b"# A *b*\n\none [two](http://x)\nthree\n\n- x\n- y\n\n```py\nz = 1\n```\n\n|p|q|\n|-|-|\n|1|2|\n"
    assert blocks_of("a.md", source) == [
        ("heading", "A b"),
        ("paragraph", "one two\nthree"),
        ("item", "x"),
        ("item", "y"),
        ("code", "z = 1"),
        ("table", "p | q\n1 | 2"),
    ]


def test_of_a_page_that_is_read_which_a_reader_sees() -> None:
    source = b"""<!doctype html><title>t</title><nav>menu</nav><h2>A <b>b</b></h2><p>one<br>two<script>no()</script></p>
        loose <!-- no --> words<ul><li>x<ul><li>y</ul></ul><pre>p\n  q</pre>
        <table><tr><th>1<th>2<tr><td>3<td><p>4</table>"""
    assert blocks_of("page", source) == [
        ("heading", "A b"),
        ("paragraph", "one two"),
        ("paragraph", "loose words"),
        ("item", "x"),
        ("item", "y"),
        ("code", "p\n  q"),
        ("table", "1 | 2\n3 | 4"),
    ]


def test_a_page_is_read_in_the_encoding_that_it_names_if_that_is_true() -> None:
    page = '<html><meta charset="iso-8859-2"><body>Łódź'
    assert blocks_of("a.html", page.encode("iso-8859-2")) == [("paragraph", "Łódź")]
    assert blocks_of("a.html", page.replace("iso-8859-2", "no-such").encode()) == [("paragraph", "Łódź")]


def test_a_pdf_is_read_page_by_page() -> None:
    outcome = parse("a.pdf", pdf_of("The first page", "The second\npage"), MANY)
    assert outcome == Parsed(blocks=(Block(text="The first page", page=1), Block(text="The second\npage", page=2)))


def test_a_word_document_is_read_in_the_order_of_its_body() -> None:
    def fill(document: WordDocument) -> None:
        document.add_heading("A b", 2)
        document.add_paragraph("one")
        cells = document.add_table(1, 2).rows[0].cells
        cells[0].text, cells[1].text = "1", "2"
        document.add_paragraph("x", style="List Bullet")

    assert blocks_of("a.docx", docx_of(fill)) == [
        ("heading", "A b"),
        ("paragraph", "one"),
        ("table", "1 | 2"),
        ("item", "x"),
    ]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("Grüße 世界".encode("utf-16"), "Grüße 世界"),
        ("Grüße".encode("utf-8-sig"), "Grüße"),
        ("Grüße aus Köln".encode("cp1252"), "Grüße aus Köln"),
        ("Grüße, 世界 und ".encode() + b"\xe4\xb8", "Grüße, 世界 und \ufffd"),
    ],
    ids=["UTF-16", "with a mark", "Windows-1252", "cut in the middle of a letter"],
)
def test_a_text_is_read_in_the_encoding_that_it_is_in(data: bytes, text: str) -> None:
    assert blocks_of("a.txt", data) == [("paragraph", text)]


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("a.txt", b"", "empty_document"),
        ("a.txt", b" \n\n\t", "empty_document"),
        ("a.html", b"<html><script>x</script>", "empty_document"),
        ("a.pdf", pdf_of(""), "empty_document"),
        ("a.docx", docx_of(lambda _: None), "empty_document"),
        ("a.pdf", b"Hello", "unsupported_file"),
        ("a.docx", b"Hello", "unsupported_file"),
        ("a.zip", zip_of(a=b"b"), "unsupported_file"),
        ("a.docx", zip_of(a=b"b"), "unsupported_file"),
        ("a.xlsx", zip_of(**{"xl/workbook.xml": b"b"}), "unsupported_file"),
        ("a.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "unsupported_file"),
        ("a.txt", bytes(range(1, 32)) * 10, "unsupported_file"),
        ("a.txt", b"\x81\x8d\x8f\x90\x9d", "unreadable_encoding"),
        ("a.pdf", b"%PDF-1.7\n" + b"\xff" * 5000, "damaged_file"),
        ("a.pdf", pdf_of("Hello" * 100)[:300], "damaged_file"),
        ("a.docx", docx_of(lambda document: document.add_paragraph("Hello"))[:2000], "damaged_file"),
        ("a.docx", zip_of(**{"word/document.xml": b"<a", "[Content_Types].xml": b"<b"}), "damaged_file"),
        ("a.pdf", pdf_of("Hello", password="secret"), "encrypted_file"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(name: str, data: bytes, code: str) -> None:
    assert code_of(name, data) == code


def test_a_document_that_unpacks_to_too_much_is_refused_before_it_is_unpacked() -> None:
    bomb = zip_of(**{"[Content_Types].xml": b"<a/>", "word/document.xml": b" " * (33 * 1024 * 1024)})
    assert len(bomb) < 100_000
    assert code_of("a.docx", bomb) == "document_too_large"


def test_a_word_document_whose_entities_multiply_is_refused() -> None:
    entities = b"".join(b'<!ENTITY e%d "%s">' % (n, b"&e%d;" % (n - 1) * 10 if n else b"x" * 10) for n in range(10))
    inside = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(docx_of(lambda document: document.add_paragraph("before")))) as source,
        zipfile.ZipFile(inside, "w") as target,
    ):
        for entry in source.infolist():
            data = source.read(entry)
            if entry.filename == "word/document.xml":
                data = data.replace(b"<w:document", b"<!DOCTYPE d [%s]><w:document" % entities, 1)
                data = data.replace(b"before", b"before &e9;")
            target.writestr(entry.filename, data)
    assert code_of("a.docx", inside.getvalue()) == "damaged_file"


def test_a_document_of_more_text_than_it_may_have_is_refused() -> None:
    assert code_of("a.txt", b"word " * 100, most_chars=400) == "document_too_large"


def test_a_page_whose_elements_are_nested_without_end_is_refused() -> None:
    assert code_of("a.html", b"<i>" * (2 * MOST_NESTED) + b"x") == "document_too_deep"
    assert blocks_of("a.html", b"<div>" * (MOST_NESTED // 2) + b"x") == [("paragraph", "x")]


def test_what_is_no_text_never_gets_into_a_block() -> None:
    blocks = Blocks(MANY)
    blocks.add("a\x00\x1b\ud800b")
    assert [block.text for block in blocks.found] == ["a?b"]


async def refused(name: str, data: bytes, limits: ParseLimits) -> str:
    with pytest.raises(DocumentRefused) as caught:
        await parse_document(name, data, CHUNKING, limits)
    return caught.value.code


async def test_a_thousand_pages_are_read_by_a_process_of_their_own() -> None:
    data = pdf_of(*(f"This is page {number}" for number in range(1, 1001)))
    text, drafts = await parse_document("a.pdf", data, CHUNKING, LIMITS)
    assert text == "\n\n".join(f"This is page {number}" for number in range(1, 1001))
    assert {draft.place.page for draft in drafts} <= set(range(1, 1001))
    assert drafts[-1].text.endswith("This is page 1000")


async def test_a_document_that_takes_too_long_to_read_is_given_up() -> None:
    slow = b"<div>" * MANY
    assert await refused("a.html", slow, replace(LIMITS, cpu_s=1)) == "document_too_slow"
    assert await refused("a.html", slow, replace(LIMITS, wall=timedelta(milliseconds=300))) == "document_too_slow"


async def test_a_document_that_takes_too_much_memory_is_given_up_and_the_next_one_is_read() -> None:
    limits = replace(LIMITS, memory_bytes=256 * 1024**2, chars=10**9)
    assert await refused("a.txt", b"word\n\n" * (50 * MANY), limits) == "document_too_large"
    assert (await parse_document("b.txt", b"Hello", CHUNKING, limits)).text == "Hello"


async def test_a_file_may_be_called_anything_and_its_name_is_not_shown_to_who_lists_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []
    start = asyncio.create_subprocess_exec

    async def spy(*command: str, **rest: Any) -> asyncio.subprocess.Process:
        seen.extend(command)
        return await start(*command, **rest)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", spy)
    read = await parse_document("../secret\0plan\udc80.M\0D", b"# Hello", CHUNKING, LIMITS)
    assert (read.text, [part for part in seen if "secret" in part]) == ("Hello", [])


async def test_a_parser_that_writes_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "_BYTES_OF_PLACES", 1000 - 4 * LIMITS.chars)
    assert await refused("a.txt", b"word " * 1000, LIMITS) == "document_too_large"


async def test_a_parser_gets_nothing_of_what_this_process_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, str]] = []
    start = asyncio.create_subprocess_exec

    async def spy(*command: str, env: dict[str, str], **rest: Any) -> asyncio.subprocess.Process:
        given.append(env)
        return await start(*command, env=env, **rest)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", spy)
    assert (await parse_document("a.txt", b"Hello", CHUNKING, LIMITS)).drafts[0].text == "Hello"
    assert [sorted(env) for env in given] == [["LANG", "PYTHONPATH"]]
