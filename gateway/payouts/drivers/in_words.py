"""A payout in words: for whoever pays outside of this mesh, and knows what the payee's address means."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from gateway.errors import PayoutError

if TYPE_CHECKING:
    from streams.payouts.payout import Payout

_MOST_ADDRESS: Final = 512


def any_address(address: str) -> str:
    """Return a printable text without what surrounds it: what it means is between the operator and the payee.

    Raises:
        PayoutError: if it is empty, too long or not printable in one line.
    """
    text = address.strip()
    if not text or len(text) > _MOST_ADDRESS or not text.isprintable():
        raise PayoutError(f"an address is 1 to {_MOST_ADDRESS} printable characters in one line")
    return text


def in_json(payout: Payout) -> bytes:
    """Return a payout as one JSON object, without a line's end; amounts are texts, so that no reader rounds them."""
    fields = {
        "id": payout.id,
        "payee": payout.payee,
        "amount": payout.amount_text,
        "amount_nano": str(payout.amount_nano),
        "currency": payout.currency,
        "address": payout.address,
    }
    return json.dumps(fields, ensure_ascii=False).encode()
