"""Sign-In with Ethereum: the cases of the public vectors of spruceid/siwe, made anew, and some of our own."""

import json
import random
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.challenge import read_hex
from gateway.auth.refusal import SignInRefused
from gateway.auth.siwe import MAX_CHARACTERS, SiweMessage, check_times, is_signed, parse_siwe, write_siwe
from gateway.auth.uri import is_authority, is_scheme, is_uri
from mesh.identity.evm import checksum_address, parse_address, sign_personal
from mesh.identity.keys import SigningKey

VECTORS: dict[str, Any] = json.loads(Path(__file__).with_name("siwe_vectors.json").read_text())
ADDRESS = "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2"
LINES = (
    "service.org wants you to sign in with your Ethereum account:",
    ADDRESS,
    "",
    "I accept the terms: https://service.org/tos",
    "",
    "URI: https://service.org/login",
    "Version: 1",
    "Chain ID: 1",
    "Nonce: 32891757",
    "Issued At: 2021-09-30T16:25:24.000Z",
    "Expiration Time: 2023-03-17T12:45:13.610Z",
    "Not Before: 2022-03-17T12:45:13.610Z",
    "Request ID: some_id",
    "Resources:",
    "- ipfs://Qme7ss3ARVgxv6rXqVPiikMJ8u2NLgmgszg13pYrDKEoiu",
    "- https://example.com/my-web2-claim.json",
)
FULL = "\n".join(LINES)


def at_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def refused(text: str) -> str:
    with pytest.raises(SignInRefused) as caught:
        parse_siwe(text)
    return str(caught.value)


def test_a_message_says_all_of_its_fields() -> None:
    assert parse_siwe(FULL) == SiweMessage(
        domain="service.org",
        address=parse_address(ADDRESS),
        statement="I accept the terms: https://service.org/tos",
        uri="https://service.org/login",
        chain_id=1,
        nonce="32891757",
        issued_at_ms=at_ms("2021-09-30T16:25:24Z"),
        expires_at_ms=at_ms("2023-03-17T12:45:13.610Z"),
        not_before_ms=at_ms("2022-03-17T12:45:13.610Z"),
        request_id="some_id",
        resources=(LINES[14][2:], LINES[15][2:]),
    )
    assert write_siwe(parse_siwe(FULL)) == FULL


@pytest.mark.parametrize("name", VECTORS["parsing_positive"])
def test_a_message_that_the_standard_allows_is_read(name: str) -> None:
    vector = VECTORS["parsing_positive"][name]
    message, fields = parse_siwe(vector["message"]), vector["fields"]
    read = {name: value for name, value in msgspec.structs.asdict(message).items() if value not in (None, ())}
    read["address"] = checksum_address(message.address)
    assert {name: read[name] for name in fields} == fields
    assert set(read) == {*fields, "issued_at_ms"}


@pytest.mark.parametrize("name", VECTORS["parsing_negative"])
def test_a_message_that_the_standard_does_not_allow_is_refused(name: str) -> None:
    refused(VECTORS["parsing_negative"][name])


@pytest.mark.parametrize("text", VECTORS["uris_negative"])
def test_a_uri_that_is_none_is_refused(text: str) -> None:
    assert not is_uri(text)
    assert "the URI" in refused(FULL.replace("https://service.org/login", text, 1))


@pytest.mark.parametrize("text", VECTORS["uris_positive"])
def test_a_uri_of_any_form_is_read(text: str) -> None:
    assert parse_siwe(FULL.replace("https://service.org/login", text, 1)).uri == text


@pytest.mark.parametrize("letter", [*'`<>{|}^\\"', "é", "\t", "\0", "\x7f"])
def test_a_statement_has_the_letters_of_a_uri_and_blanks(letter: str) -> None:
    assert "statement" in refused(FULL.replace("I accept", f"I{letter}accept"))


@pytest.mark.parametrize(
    ("place", "letters"),
    [("userinfo", "@[]%^"), ("host", "[]^`|%@"), ("path", "^`|%["), ("fragment", "#[")],
)
def test_letters_that_have_no_place_in_a_part_of_a_uri_are_refused(place: str, letters: str) -> None:
    parts = {"userinfo": "x://a{}b@c", "host": "x://u@a{}b", "path": "x:/a{}b", "fragment": "x:/a#b{}"}
    assert [letter for letter in letters if is_uri(parts[place].format(letter))] == []


@pytest.mark.parametrize("text", [" http", ":", "#", "1a", "", "ht~tp", "é"])
def test_what_is_no_scheme_is_none(text: str) -> None:
    assert not is_scheme(text)


@pytest.mark.parametrize(
    "text",
    ["", "a b", "a/b", "a?b", "a#b", "a@b@c", "a[b@c", "[::1", "[::g]", "[fe80::1%25eth0]", "a:b:c", "a:8x", "[v1.]"],
)
def test_what_is_no_authority_is_none(text: str) -> None:
    assert not is_authority(text)


@pytest.mark.parametrize("line", range(len(LINES)))
def test_a_line_that_is_missing_moved_or_twice_is_refused_unless_it_is_optional(line: int) -> None:
    optional = {10, 11, 12, 14, 15}
    without = "\n".join(LINES[:line] + LINES[line + 1 :])
    if line in optional:
        parse_siwe(without)
    elif line != 3:  # without the statement, the empty lines around it are those of none
        refused(without)
    if LINES[line] and line not in (14, 15):
        refused("\n".join(LINES[: line + 1] + LINES[line:]))
        refused("\n".join((*LINES[:line], *LINES[line + 1 :], LINES[line])) if line < 13 else f"{FULL}\n{LINES[line]}")


@pytest.mark.parametrize("ending", ["\n", "\r\n", " ", "\n\n", "\r"])
def test_nothing_may_follow(ending: str) -> None:
    refused(FULL + ending)
    refused("\n".join(LINES[:10]) + ending)
    refused(FULL.replace("\n", "\r\n"))


@pytest.mark.parametrize(
    "time",
    [
        "2021-09-30T16:25:24",
        "2021-09-30 16:25:24Z",
        "2021-09-30",
        "20210930T162524Z",
        "2021-13-30T16:25:24Z",
        "2020-02-32T00:00:00.000Z",
        "2021-09-30T25:25:24Z",
        "2021-09-30T16:25:60Z",
        "2021-09-30T16:25:24.Z",
        "2021-09-30T16:25:24+25:00",
        "2021-W39-4T16:25:24Z",
        "२०२१-09-30T16:25:24Z",
        "1632932724",
        "",
    ],
)
def test_a_time_is_written_as_rfc_3339_does(time: str) -> None:
    assert "must be a time" in refused(FULL.replace("2021-09-30T16:25:24.000Z", time))


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59.999999999-23:59", "0001-01-01T00:00:00+23:59"])
def test_a_time_at_the_ends_of_the_calendar_is_one(time: str) -> None:
    message = parse_siwe(FULL.replace("2021-09-30T16:25:24.000Z", time))
    with pytest.raises(SignInRefused):
        check_times(message, now_ms=at_ms("2022-06-01T00:00:00Z"), issued_within_ms=600_000)


def test_an_offset_counts() -> None:
    message = parse_siwe(FULL.replace("2021-09-30T16:25:24.000Z", "2021-09-30T18:25:24+02:00"))
    assert message.issued_at_ms == at_ms("2021-09-30T16:25:24Z")


def test_a_message_is_used_between_its_times_and_soon_after_it_was_issued() -> None:
    message = parse_siwe(FULL)

    def check(now: str, within_ms: int = 10**12) -> None:
        check_times(message, now_ms=at_ms(now), issued_within_ms=within_ms)

    check("2022-03-17T12:45:13.610Z")
    check("2023-03-17T12:45:13.609Z")
    for now, problem in (("2022-03-17T12:45:13.609Z", "Not Before"), ("2023-03-17T12:45:13.610Z", "expired")):
        with pytest.raises(SignInRefused, match=problem):
            check(now)
    with pytest.raises(SignInRefused, match="not issued about now"):
        check("2022-06-01T00:00:00Z", 600_000)


def vector_text(vector: dict[str, Any]) -> str:
    return write_siwe(
        SiweMessage(
            domain=vector["domain"],
            address=parse_address(vector["address"]),
            statement=vector["statement"],
            uri=vector["uri"],
            chain_id=vector["chainId"],
            nonce=vector["nonce"],
            issued_at_ms=at_ms(vector["issuedAt"]),
            expires_at_ms=at_ms(vector["expirationTime"]) if "expirationTime" in vector else None,
            not_before_ms=at_ms(vector["notBefore"]) if "notBefore" in vector else None,
        )
    )


def is_good(vector: dict[str, Any]) -> bool:
    """Whether a vector passes all that a relying party checks, in the sense of its file."""
    text = vector_text(vector).replace("2021-01-05T00:00:00.000Z", "2021-01-05T00:00:00Z")
    message = parse_siwe(text)
    try:
        now = vector.get("time", "2026-01-01T00:00:00Z")
        check_times(message, now_ms=at_ms(now), issued_within_ms=10**13)
    except SignInRefused:
        return False
    if message.domain != vector.get("domainBinding", message.domain):
        return False
    if message.nonce != vector.get("matchNonce", message.nonce):
        return False
    try:
        return is_signed(message, text, read_hex(vector["signature"], "signature"))
    except SignInRefused:
        return False


@pytest.mark.parametrize("name", VECTORS["verification_positive"])
def test_a_message_that_was_signed_by_its_account_is(name: str) -> None:
    assert is_good(VECTORS["verification_positive"][name])


@pytest.mark.parametrize("name", VECTORS["verification_negative"])
def test_a_message_that_is_not_for_us_or_not_for_now_or_not_signed_is_not(name: str) -> None:
    assert not is_good(VECTORS["verification_negative"][name])


KEY = SigningKey("secp256k1", bytes(range(1, 33)))


def test_a_signature_over_any_other_message_is_none() -> None:
    chance = random.Random(4361)
    message = SiweMessage(
        domain="localhost:8080",
        address=parse_address("0x" + "11" * 20),
        uri="http://localhost:8080/",
        chain_id=1,
        nonce="a" * 17,
        issued_at_ms=0,
    )
    text = write_siwe(message)
    signature = sign_personal(KEY, text.encode())
    assert not is_signed(message, text, signature)  # the key of another account
    for _ in range(200):
        place = chance.randrange(len(signature))
        mutated = signature[:place] + bytes([signature[place] ^ 1 << chance.randrange(8)]) + signature[place + 1 :]
        assert not is_signed(message, text, mutated)
    for wrong in (b"", signature[:64], signature + b"\0", bytes(65)):
        assert not is_signed(message, text, wrong)


PLAIN = st.text(st.sampled_from("abcXYZ019-._~"), min_size=1, max_size=12)
TIMES = st.integers(at_ms("1970-01-01T00:00:00Z"), at_ms("2999-12-31T23:59:59.999Z"))


@given(
    st.builds(
        SiweMessage,
        domain=PLAIN.map(lambda text: f"{text}:8080"),
        address=st.binary(min_size=20, max_size=20),
        scheme=st.none() | st.sampled_from(["http", "https"]),
        statement=st.none() | PLAIN,
        uri=PLAIN.map(lambda text: f"https://{text}/?q#f"),
        chain_id=st.integers(0, 2**256 - 1),
        nonce=st.text(st.sampled_from("abcXYZ019"), min_size=8),
        issued_at_ms=TIMES,
        expires_at_ms=st.none() | TIMES,
        not_before_ms=st.none() | TIMES,
        request_id=st.none() | st.just("") | PLAIN,
        resources=st.lists(PLAIN.map(lambda text: f"ipfs://{text}"), max_size=3).map(tuple),
    )
)
def test_what_is_written_is_read_back(message: SiweMessage) -> None:
    assert parse_siwe(write_siwe(message)) == message


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    refused(text)


def test_a_text_without_end_is_refused_at_once() -> None:
    assert "longer than" in refused(FULL + "a" * MAX_CHARACTERS)
    refused("a" * 4000 + "://" * 1000)
