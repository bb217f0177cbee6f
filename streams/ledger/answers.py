"""Reading what a ledger has answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from streams.billing.messages import Balance, Held, HoldRefused, LedgerRefusal, PricesShown, UsagePage
from streams.errors import UndecodableEvent

if TYPE_CHECKING:
    from collections.abc import Callable

LedgerAnswer = Held | HoldRefused | UsagePage | Balance | PricesShown | LedgerRefusal

_decode: Final[Callable[[bytes], Any]] = msgspec.msgpack.Decoder(LedgerAnswer).decode


def read_answer(data: bytes) -> LedgerAnswer:
    """Read an answer to any question to the ledger.

    Raises:
        UndecodableEvent: if it is none.
    """
    try:
        answer: LedgerAnswer = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UndecodableEvent(f"not an answer of a ledger: {error}") from error
    return answer
