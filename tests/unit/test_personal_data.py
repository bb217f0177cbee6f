"""What is hidden from providers outside, and put back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.personal import halves, read_set, tally
from nodes.engine import Generate, Piece
from nodes.errors import CannotContinue
from nodes.personal_data.hidden_request import HiddenRequest, hidden, hidden_texts
from nodes.personal_data.placeholders import Placeholders
from nodes.personal_data.recogniser import recognise
from nodes.personal_data.restored_logprobs import RestoredLogprobs
from nodes.personal_data.restored_pieces import RestoredPieces
from nodes.personal_data.restoring import Restorer
from nodes.personal_data.spec import RedactionSpec
from streams.tasks.answer_parts import TokenLogprob, ToolCallPiece, joined_calls
from streams.tasks.chat import Message, Sampling, TextPart, ToolCall, Usage
from streams.tasks.tools import Function, OutputFormat, Tools

COUNTRIES = RedactionSpec().countries
ALICE, BOB = "alice@example.org", "bob@example.org"
SNIPPETS = [each.text for each in read_set()] + [
    "<EMAIL_1>",
    "<",
    ">",
    "\\u003cEMAIL_2\\u003e",
    "<PHONE_",
    "1>",
    "\\u00",
]

texts = st.lists(st.sampled_from(SNIPPETS) | st.text(max_size=8), max_size=6).map("".join)
cuts = st.lists(st.integers(1, 12), min_size=1, max_size=8)


def pieces_of(text: str, sizes: list[int]) -> list[str]:
    cut: list[str] = []
    while text:
        size = sizes[len(cut) % len(sizes)]
        cut.append(text[:size])
        text = text[size:]
    return cut


def placeholders(*said: str) -> Placeholders:
    return Placeholders("strict", COUNTRIES, said)


def hidden_request(**fields: object) -> HiddenRequest:
    request = Generate(**{"messages": (Message(role="user", content=f"I am {ALICE}."),)} | fields)  # pyright: ignore[reportArgumentType] - fields by name
    return HiddenRequest(request, placeholders())


async def answered(request: HiddenRequest, *pieces: Piece) -> list[Piece]:
    async def given_pieces():
        for piece in pieces:
            yield piece

    return [piece async for piece in request.restored(given_pieces())]


def test_a_raw_prompt_is_hidden_like_a_message():
    raw = HiddenRequest(Generate(prompt=f"To {ALICE}: "), placeholders()).request.prompt
    assert ALICE not in raw
    assert hidden_request().request.messages[0].content.endswith(f"{raw.removeprefix('To ').removesuffix(': ')}.")


@given(text=texts, sizes=cuts)
def test_what_is_hidden_comes_back_wherever_the_answer_is_cut(text: str, sizes: list[int]):
    of = placeholders(text)
    hidden_text = of.hide(text)
    restorer = Restorer(of.values)
    shown = "".join(restorer.push(piece) for piece in pieces_of(hidden_text, sizes)) + restorer.rest()
    assert shown == text
    assert not any(value in hidden_text for value in of.values.values() if "@" in value)


@given(text=texts, sizes=cuts)
def test_log_probabilities_tell_the_same_text(text: str, sizes: list[int]):
    of = placeholders(text)
    restorer = RestoredLogprobs(of.values)
    raw = of.hide(text).encode()
    places, at = list[TokenLogprob](), 0
    while at < len(raw):
        size = sizes[len(places) % len(sizes)]
        places += restorer.push((TokenLogprob(token="", logprob=-1.0, raw=raw[at : at + size]),))
        at += size
    places += restorer.rest()
    said = b"".join(place.token.encode() if place.raw is None else place.raw for place in places)
    assert said == text.encode()


@pytest.mark.parametrize("level", ["standard", "strict"])
def test_of_the_texts_that_were_held_back_nearly_all_is_found_and_little_else(level: str):
    _, held = halves(read_set())
    counts = tally(held, "strict" if level == "strict" else "standard")
    assert min(of.recall for of in counts.values()) >= 0.9
    assert min(of.precision for of in counts.values()) >= 0.9


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "part",
    ["a.", "a..", "a@", "a@a.", "1 ", "(1", "0 3 ", "4111 ", "DE89 ", "1:", "a:b:", "://a:", "token: ",
     "eyJaaaaaaaa.a.", "-----BEGIN PRIVATE KEY-----", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb ", "Aa1", "<EMAIL_", "ü@"],
)  # fmt: skip
def test_no_text_takes_more_time_than_its_length_warrants(part: str):
    recognise(part * (20_000 // len(part)), "strict", COUNTRIES)


def test_the_same_name_has_the_same_placeholder_as_a_conversation_grows():
    first = placeholders()
    assert first.hide(f"{ALICE} and {BOB}") == "<EMAIL_1> and <EMAIL_2>"
    again = placeholders()
    assert again.hide(f"{ALICE} and {BOB}") + again.hide(f" met {BOB}") == "<EMAIL_1> and <EMAIL_2> met <EMAIL_2>"


def test_a_placeholder_that_the_user_has_written_stays_the_users():
    text = f"What is <EMAIL_1>? I am {ALICE}."
    of = placeholders(text)
    assert of.hide(text) == "What is <EMAIL_1>? I am <EMAIL_2>."
    assert Restorer(of.values).push("<EMAIL_1> is yours, <EMAIL_2>.") == f"<EMAIL_1> is yours, {ALICE}."


def test_every_part_of_a_request_is_looked_through():
    message = Message(
        role="user",
        content=f"I am {ALICE}.",
        parts=(TextPart(text="I am "), TextPart(text=f"{ALICE}.")),
        name=ALICE,
        tool_calls=(ToolCall(id="1", name="send", arguments=f'{{"to": "{ALICE}"}}'),),
    )
    of = hidden_request(
        messages=(message,),
        prefix=f"Dear {ALICE}, ",
        sampling=Sampling(stop=(ALICE,)),
        tools=Tools(functions=(Function(name="send", description=ALICE, parameters_json=f'{{"enum": ["{ALICE}"]}}'),)),
        format=OutputFormat(kind="json_schema", schema_json=f'{{"const": "{ALICE}"}}'),
    )
    assert ALICE not in repr(of.request)
    assert repr(of.request).count("<EMAIL_1>") == 8
    assert of.request.messages[0].name is None


async def test_an_answer_goes_on_behind_what_another_node_has_written():
    of = hidden_request(prefix=f"Dear {ALICE}, your colleague carol@example.org ")
    assert of.request.prefix == "Dear <EMAIL_1>, your colleague <EMAIL_2> "
    (piece,) = await answered(of, Piece(text="wrote to <EMAIL_1>.", finish_reason="stop"))
    assert piece.text == f"wrote to {ALICE}."


async def test_a_value_that_is_half_written_is_written_to_its_end():
    of = hidden_request(prefix="Dear alice@exa")
    assert of.request.prefix == "Dear "
    pieces = await answered(of, Piece(text="<EMA"), Piece(text="IL_1>,"), Piece(text=" hello", finish_reason="stop"))
    assert "".join(piece.text for piece in pieces) == "mple.org, hello"
    assert sum(piece.tokens for piece in pieces) == 3
    with pytest.raises(CannotContinue):
        await answered(of, Piece(text="Sir or Madam", finish_reason="stop"))


async def test_arguments_of_calls_get_their_values_back_as_json():
    key = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----"
    of = hidden_request(messages=(Message(role="user", content=f"Store {key} of {ALICE}"),))
    usage = Usage(prompt_tokens=1, completion_tokens=4)
    calls = (
        ToolCallPiece(index=0, id="a", name="store", arguments='{"key": "\\u003cSECRET'),
        ToolCallPiece(index=0, arguments='_1\\u003e", "to": "<EMAIL_'),
        ToolCallPiece(index=0, arguments='1>"}'),
    )
    pieces = await answered(
        of,
        *(Piece(text="", tool_calls=(call,)) for call in calls),
        Piece(text="", finish_reason="tool_calls", usage=usage),
    )
    (call,) = joined_calls(one for piece in pieces for one in piece.tool_calls)
    assert call.arguments == f'{{"key": "{key}", "to": "{ALICE}"}}'.replace("\n", "\\n")
    assert sum(piece.tokens for piece in pieces) == 4


def test_no_more_tokens_are_counted_than_the_mesh_would_believe():
    of = placeholders()
    text = of.hide("ip 8.8.8.8")
    pieces = RestoredPieces(of.values)
    shown = pieces.push(
        Piece(text=text, tokens=200, finish_reason="stop", usage=Usage(prompt_tokens=1, completion_tokens=200))
    )
    assert shown is not None
    assert shown.usage is not None
    assert shown.tokens == shown.usage.completion_tokens == len("ip 8.8.8.8") + 32


async def test_texts_for_vectors_are_numbered_each_by_itself():
    assert await hidden_texts((ALICE, f"{BOB} too"), RedactionSpec(), None) == ("<EMAIL_1>", "<EMAIL_1> too")
    assert await hidden_texts((ALICE,), RedactionSpec(), "off") == (ALICE,)


async def test_a_request_may_ask_for_less_only_where_the_operator_lets_it():
    request = Generate(messages=(Message(role="user", content="did:web:example.com and 203.0.113.9"),), redaction="off")
    assert await hidden(request, RedactionSpec()) is None
    kept = await hidden(request, RedactionSpec(may_weaken=False))
    assert kept is not None
    assert kept.request.messages[0].content == "did:web:example.com and <IP_1>"
    strict = RedactionSpec(level="off", may_weaken=False).level_for("strict")
    assert strict == "strict"


async def test_long_texts_are_looked_through_beside_the_loop():
    request = Generate(messages=(Message(role="user", content=f"{ALICE} " * 1_000),))
    of = await hidden(request, RedactionSpec())
    assert of is not None
    assert of.request.messages[0].content == "<EMAIL_1> " * 1_000
