"""The books as bytes, for snapshots and for comparing: the same state gives the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from streams.billing.events import PlanSet, PricesSet
from streams.devices.replica import ModelKind
from streams.ledger.chain import ChainState, OpenHold, SpentKey
from streams.ledger.fold import Fault
from streams.ledger.prices import Prices
from streams.ledger.usage import Tally, UsageBook, UsageKey

if TYPE_CHECKING:
    from streams.ledger.fold import LedgerState

_TASK_BYTES: Final = 16


class _Chain(Struct, frozen=True, kw_only=True, array_like=True):
    subject: str
    last_sequence: int
    digest: str
    at_ms: int
    forgotten_ms: int
    settled: bytes
    others: tuple[str, ...]
    holds: tuple[tuple[str, OpenHold], ...]
    suspended: tuple[tuple[str, OpenHold], ...]
    spent: tuple[tuple[SpentKey, int], ...]
    plan: PlanSet | None


class _Row(Struct, frozen=True, kw_only=True, array_like=True):
    account: str
    day: str
    model: str
    kind: ModelKind
    key: str
    currency: str
    is_correction: bool
    sums: tuple[int, int, int, int, int, int, int]


class _State(Struct, frozen=True, kw_only=True):
    chains: tuple[_Chain, ...]
    balances: tuple[tuple[str, str, int], ...]
    prices: tuple[PricesSet, ...]
    usage: tuple[_Row, ...]
    transactions: int
    suspensions: int
    fault_count: int
    faults: tuple[Fault, ...]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_State)


def dump(state: LedgerState) -> bytes:
    """Return the whole state. A chain on which nothing stands is none, whoever has asked about it."""
    chains = sorted(subject for subject, chain in state.chains.items() if chain.last_sequence)
    return _encoder.encode(
        _State(
            chains=tuple(_chain(subject, state.chains[subject]) for subject in chains),
            balances=tuple((*place, amount) for place, amount in sorted(state.balances.items())),
            prices=tuple(state.prices),
            usage=tuple(_row(*row) for row in state.usage.rows()),
            transactions=state.transactions,
            suspensions=state.suspensions,
            fault_count=state.fault_count,
            faults=tuple(state.faults),
        )
    )


def load(state: LedgerState, data: bytes) -> None:
    """Replace a whole state by a dumped one.

    Raises:
        ValueError: if it cannot be read.
    """
    read: _State = _decoder.decode(data)
    state.chains = {each.subject: _chain_of(each) for each in read.chains}
    state.balances = {(account, currency): amount for account, currency, amount in read.balances}
    state.prices = Prices(read.prices)
    state.usage = UsageBook()
    for row in read.usage:
        place = UsageKey(row.day, row.model, row.kind, row.key, row.currency, row.is_correction)
        state.usage.put(row.account, place, Tally(*row.sums))
    state.transactions, state.suspensions = read.transactions, read.suspensions
    state.fault_count, state.faults = read.fault_count, list(read.faults)


def _chain(subject: str, chain: ChainState) -> _Chain:
    return _Chain(
        subject=subject,
        last_sequence=chain.last_sequence,
        digest=chain.digest,
        at_ms=chain.at_ms,
        forgotten_ms=chain.forgotten_ms,
        settled=b"".join(sorted(chain.settled)),
        others=tuple(sorted(chain.others)),
        holds=tuple(sorted(chain.holds.items(), key=_first)),
        suspended=tuple(sorted(chain.suspended.items(), key=_first)),
        spent=tuple(sorted(chain.spent.items(), key=_whose)),
        plan=chain.plan,
    )


def _chain_of(read: _Chain) -> ChainState:
    chain = ChainState()
    chain.last_sequence, chain.digest = read.last_sequence, read.digest
    chain.at_ms, chain.forgotten_ms = read.at_ms, read.forgotten_ms
    chain.settled = {read.settled[begin : begin + _TASK_BYTES] for begin in range(0, len(read.settled), _TASK_BYTES)}
    chain.others, chain.holds = set(read.others), dict(read.holds)
    chain.suspended, chain.spent, chain.plan = dict(read.suspended), dict(read.spent), read.plan
    return chain


def _row(account: str, place: UsageKey, tally: Tally) -> _Row:
    sums: Any = tally.sums
    return _Row(
        account=account,
        day=place.day,
        model=place.model,
        kind=place.kind,
        key=place.key,
        currency=place.currency,
        is_correction=place.is_correction,
        sums=sums,
    )


def _first(item: tuple[str, OpenHold]) -> str:
    return item[0]


def _whose(item: tuple[SpentKey, int]) -> tuple[str, str, str]:
    place = item[0]
    return place.month, place.currency, place.key or ""
