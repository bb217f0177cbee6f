"""Messages of Sign-In with Ethereum (EIP-4361): read strictly, line by line, and written.

Everything must stand in its place, in the one order, in the letters that the standard allows, and the address with its
checksum. What is signed is the text itself, by ``personal_sign`` (EIP-191).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct

from gateway.auth.refusal import BAD_REQUEST, SignInRefused
from gateway.auth.uri import is_authority, is_pchars, is_scheme, is_uri
from mesh.errors import InvalidEncoding
from mesh.identity.evm import checksum_address, parse_address, recover_personal_sign

MAX_CHARACTERS: Final = 8192
_CODE: Final = "invalid_siwe_message"
_UNTIMELY: Final = "message_not_valid_now"

_ASKS: Final = " wants you to sign in with your Ethereum account:"
_STATEMENT: Final = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;= ]+")
_NONCE: Final = re.compile(r"[A-Za-z0-9]{8,}")
_CHAIN: Final = re.compile(r"[0-9]{1,78}")
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


class SiweMessage(Struct, frozen=True, kw_only=True):
    """What a message says. Times are Unix milliseconds."""

    domain: str
    address: bytes
    uri: str
    chain_id: int
    nonce: str
    issued_at_ms: int
    scheme: str | None = None
    statement: str | None = None
    expires_at_ms: int | None = None
    not_before_ms: int | None = None
    request_id: str | None = None
    resources: tuple[str, ...] = ()


def parse_siwe(text: str) -> SiweMessage:
    """Read a message.

    Raises:
        SignInRefused: naming the line that is wrong.
    """
    if len(text) > MAX_CHARACTERS:
        raise _wrong(f"it is longer than {MAX_CHARACTERS} characters")
    lines = _Lines(text)
    scheme, domain = _asker(lines.take("the line that says who asks"))
    address = _address(lines.take("the address"))
    lines.take_empty("the address")
    statement = lines.take("the statement")
    if statement:
        if _STATEMENT.fullmatch(statement) is None:
            raise _wrong("the statement holds letters that may not stand there")
        lines.take_empty("the statement")
    uri = lines.field("URI")
    if not is_uri(uri):
        raise _wrong("the URI is none (RFC 3986)")
    if lines.field("Version") != "1":
        raise _wrong("the version must be 1")
    message = SiweMessage(
        scheme=scheme,
        domain=domain,
        address=address,
        statement=statement or None,
        uri=uri,
        chain_id=int(_matching(lines.field("Chain ID"), _CHAIN, "the chain id must be a number")),
        nonce=_matching(lines.field("Nonce"), _NONCE, "the nonce must be 8 or more letters and digits"),
        issued_at_ms=_time(lines.field("Issued At"), "Issued At"),
        expires_at_ms=_optional_time(lines, "Expiration Time"),
        not_before_ms=_optional_time(lines, "Not Before"),
        request_id=_request_id(lines),
        resources=_resources(lines),
    )
    lines.end()
    return message


def write_siwe(message: SiweMessage) -> str:
    """Write a message; reading it gives the same again."""
    asker = message.domain if message.scheme is None else f"{message.scheme}://{message.domain}"
    lines = [f"{asker}{_ASKS}", checksum_address(message.address), ""]
    lines += [""] if message.statement is None else [message.statement, ""]
    lines += [f"URI: {message.uri}", "Version: 1", f"Chain ID: {message.chain_id}", f"Nonce: {message.nonce}"]
    lines.append(f"Issued At: {write_time(message.issued_at_ms)}")
    if message.expires_at_ms is not None:
        lines.append(f"Expiration Time: {write_time(message.expires_at_ms)}")
    if message.not_before_ms is not None:
        lines.append(f"Not Before: {write_time(message.not_before_ms)}")
    if message.request_id is not None:
        lines.append(f"Request ID: {message.request_id}")
    if message.resources:
        lines += ["Resources:", *(f"- {resource}" for resource in message.resources)]
    return "\n".join(lines)


def check_times(message: SiweMessage, *, now_ms: int, issued_within_ms: int) -> None:
    """Return if a message may be used now.

    Raises:
        SignInRefused: if it may not be used yet or no longer, or was not issued about now.
    """
    if message.expires_at_ms is not None and now_ms >= message.expires_at_ms:
        raise SignInRefused("The message has expired: sign a new one.", code=_UNTIMELY)
    if message.not_before_ms is not None and now_ms < message.not_before_ms:
        raise SignInRefused("The message may not be used yet (Not Before).", code=_UNTIMELY)
    if abs(now_ms - message.issued_at_ms) > issued_within_ms:
        raise SignInRefused(
            "The message was not issued about now: sign a new one, and check the clock.", code=_UNTIMELY
        )


def is_signed(message: SiweMessage, text: str, signature: bytes) -> bool:
    """Whether the account that the message names has signed the text."""
    return recover_personal_sign(text.encode(), signature) == message.address


def write_time(at_ms: int) -> str:
    """Write a time as RFC 3339 does, in UTC."""
    at = _EPOCH + at_ms * _MILLISECOND
    return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


class _Lines:
    """The lines of a message, one after the other."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._next = 0

    def take(self, what: str) -> str:
        if self._next >= len(self._lines):
            raise _wrong(f"it ends before {what}")
        self._next += 1
        return self._lines[self._next - 1]

    def take_empty(self, behind: str) -> None:
        if self.take(f"the empty line behind {behind}"):
            raise _wrong(f"an empty line must stand behind {behind}")

    def field(self, name: str) -> str:
        value = self.optional(name)
        if value is None:
            raise _wrong(f"the line {name!r} is missing, or not in its place")
        return value

    def optional(self, name: str) -> str | None:
        """What a line says if it is the next one."""
        prefix = f"{name}: "
        if self._next >= len(self._lines) or not self._lines[self._next].startswith(prefix):
            return None
        return self.take(name).removeprefix(prefix)

    def rest_behind(self, title: str) -> list[str]:
        """All lines behind a title that stands next; none if another does."""
        if self._next >= len(self._lines) or self._lines[self._next] != title:
            return []
        rest = self._lines[self._next + 1 :]
        self._next = len(self._lines)
        return rest

    def end(self) -> None:
        if self._next < len(self._lines):
            raise _wrong(f"line {self._next + 1} is none of a message, or not in its place")


def _asker(line: str) -> tuple[str | None, str]:
    asker, asks, rest = line.partition(_ASKS)
    if not asks or rest:
        raise _wrong(f"its first line must be that of a domain which{_ASKS}")
    scheme, separator, domain = asker.partition("://")
    if not separator:
        scheme, domain = "", asker
    if not is_authority(domain) or (separator and not is_scheme(scheme)):
        raise _wrong("its first line names no domain (RFC 3986)")
    return scheme or None, domain


def _address(line: str) -> bytes:
    try:
        address = parse_address(line)
    except InvalidEncoding as error:
        raise _wrong(f"its second line must be the address: {error}") from error
    if checksum_address(address) != line:
        raise _wrong("the address must have the letter case that is its checksum (EIP-55)")
    return address


def _matching(text: str, form: re.Pattern[str], problem: str) -> str:
    if form.fullmatch(text) is None:
        raise _wrong(problem)
    return text


def _time(text: str, name: str) -> int:
    problem = f"{name!r} must be a time like 2026-01-31T12:00:00Z (RFC 3339)"
    try:
        at = datetime.fromisoformat(_matching(text, _TIME, problem))
        # Compared as numbers: a time in the year 1 or 9999 cannot always be moved to UTC.
        return (at - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError) as error:
        raise _wrong(problem) from error


def _optional_time(lines: _Lines, name: str) -> int | None:
    text = lines.optional(name)
    return None if text is None else _time(text, name)


def _request_id(lines: _Lines) -> str | None:
    text = lines.optional("Request ID")
    if text is not None and not is_pchars(text):
        raise _wrong("the request id holds letters that may not stand there")
    return text


def _resources(lines: _Lines) -> tuple[str, ...]:
    found: list[str] = []
    for line in lines.rest_behind("Resources:"):
        mark, resource = line[:2], line[2:]
        if mark != "- " or not is_uri(resource):
            raise _wrong("each resource must be a URI (RFC 3986) on a line of its own behind '- '")
        found.append(resource)
    return tuple(found)


def _wrong(problem: str) -> SignInRefused:
    return SignInRefused(
        f"This is no message of Sign-In with Ethereum (EIP-4361): {problem}.", code=_CODE, status=BAD_REQUEST
    )
