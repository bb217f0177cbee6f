"""Numbers whose digits prove what they are: IBANs, credit cards, telephone numbers. Each costs bounded time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import phonenumbers
from stdnum import iban, luhn

from nodes.personal_data.found import Found, first_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nodes.personal_data.found import Kind

_IBAN: Final = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?: ?[A-Za-z0-9]){11,30}")
_CARD: Final = re.compile(r"(?<![\w.+-])[2-6](?:[ -]?[0-9]){13,18}")
_CARDS: Final = re.compile(
    r"4(?:[0-9]{15}|[0-9]{18})"
    r"|(?:5[1-5]|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12,14}"
    r"|3[47][0-9]{13}"
    r"|(?:6011|62|64[4-9]|65)[0-9]{12,17}"
    r"|35[0-9]{14}"
    r"|3(?:0|6|8|9)[0-9]{12}"
)
"""First digits and lengths of the schemes, as ISO/IEC 7812 gives them out; what is too long fails its own length."""
_LENGTHS: Final = {"2": {16}, "3": {14, 15, 16}, "4": {16, 19}, "5": {16}, "6": {16, 17, 18, 19}}
_PHONE: Final = re.compile(r"(?<![\w.+-])(?:\+|\()?[0-9](?:[ ./()-]{0,3}[0-9]){5,14}")
_NATIONAL: Final = re.compile(r"\(?0[0-9]|\([2-9][0-9]{2}\) ?[0-9]{3}-[0-9]{4}$|[2-9][0-9]{2}([-.])[0-9]{3}\1[0-9]{4}$")
"""Begins with the trunk prefix, or is written as in North America: bare digits may be anything."""
_BASE: Final = 36
_MODULUS: Final = 97
_DATE: Final = re.compile(r"[0-9]{1,4}[./-][0-9]{1,2}[./-][0-9]{1,4}")


def find_ibans(text: str) -> Iterator[Found]:
    """Those whose country, length and check digits agree (ISO 13616)."""
    return _find(text, _IBAN, "IBAN", _is_iban)


def find_cards(text: str) -> Iterator[Found]:
    """Those of a scheme's length and first digits, by Luhn's check."""
    return _find(text, _CARD, "CARD", _is_card)


def find_phones(text: str, countries: tuple[str, ...]) -> Iterator[Found]:
    """Those with a country code, and those of ``countries``, that the numbering plans have."""
    return _find(text, _PHONE, "PHONE", lambda part: _is_phone(part, countries), is_alone=True)


def _find(
    text: str, form: re.Pattern[str], kind: Kind, is_whole: Callable[[str], bool], *, is_alone: bool = False
) -> Iterator[Found]:
    """Try what has the form at each of its ends; what follows a find may be the next one.

    With ``is_alone`` it is not looked for within what has the form and is none: groups of digits of something else.
    """
    match = form.search(text)
    while match is not None:
        start, longest = match.span()
        end = first_end(text, start, longest, is_whole)
        if end is not None:
            yield Found(start, end, kind)
        again = longest if is_alone else start + 2
        match = form.search(text, again if end is None else end)


def _is_iban(part: str) -> bool:
    digits = "".join([str(int(char, _BASE)) for char in part[4:] + part[:4] if char != " "])
    if int(digits) % _MODULUS != 1:  # which is quickly found out
        return False
    # The plans of single countries are not asked: they know of banks that are gone, and not of new ones.
    return bool(iban.is_valid(part, check_country=False))


def _is_card(part: str) -> bool:
    digits = part.replace(" ", "").replace("-", "")
    if len(digits) not in _LENGTHS.get(digits[0], ()) or not _CARDS.fullmatch(digits):
        return False
    return bool(luhn.is_valid(digits))


def _is_phone(part: str, countries: tuple[str, ...]) -> bool:
    if part.startswith("+"):
        return _is_valid(part, None)
    if part.startswith("00"):
        return _is_valid(f"+{part[2:]}", None)
    if _DATE.fullmatch(part) or not _NATIONAL.match(part):
        return False
    return any(_is_valid(part, country) for country in countries)


def _is_valid(part: str, country: str | None) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(part, country))
    except phonenumbers.NumberParseException:
        return False
