"""All that is recognised in a text, each piece once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodes.personal_data.names import find_dids, find_emails, find_ips, find_wallets
from nodes.personal_data.numbers import find_cards, find_ibans, find_phones
from nodes.personal_data.secrets import find_random, find_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nodes.personal_data.found import Found
    from streams.tasks.placing import Redaction


def recognise(text: str, level: Redaction, countries: tuple[str, ...]) -> list[Found]:
    """Find what ``level`` names, in the order of the text; where two overlap, what is proven by more of its form."""
    chosen: list[Found] = []
    if level == "off":
        return chosen
    taken = bytearray(len(text))
    for found in _candidates(text, is_strict=level == "strict", countries=countries):
        if not any(taken[found.start : found.end]):
            taken[found.start : found.end] = b"\x01" * (found.end - found.start)
            chosen.append(found)
    return sorted(chosen)


def _candidates(text: str, *, is_strict: bool, countries: tuple[str, ...]) -> Iterator[Found]:
    yield from find_secrets(text)
    if is_strict:
        yield from find_dids(text)
        yield from find_wallets(text)
        yield from find_random(text)
    yield from find_emails(text)
    yield from find_ibans(text)
    yield from find_cards(text)
    yield from find_ips(text)
    yield from find_phones(text, countries)
