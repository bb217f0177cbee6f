"""Looking at seats, scoring those that no filter passes over, and drawing one: the pure core of placement."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.scheduling import filters, scores
from gateway.scheduling.placement import Placement
from streams.placing import Candidate, Part, Rejects

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.scheduling.case import Case
    from gateway.scheduling.fleet import Seats
    from gateway.scheduling.policy import Policy, Weighted
    from gateway.scheduling.seat import Seat

LOOK_AT_ALL: Final = 64
"""Up to so many seats, each is looked at; of more, some are drawn."""

ENOUGH: Final = 24
"""So many able seats of a large mesh are compared: the best of them is seldom worse than the best of all by much."""

_TOLD: Final = 8
"""How many able seats a record names, and how many that were passed over."""

_TOLD_IN_PARTS: Final = 3
"""For how many it says how the score came about."""

_STRIDE: Final = 2_654_435_761
"""A prime larger than any number of seats: steps of it meet each of them once."""


class _Able(NamedTuple):
    """A seat that can have the task; the larger one comes first."""

    has_not_failed: bool
    score: float
    node: str
    model: str
    seat: Seat
    parts: tuple[float, ...]
    first_token_s: float
    finish_s: float


class _Look:
    """What has been seen of seats so far."""

    def __init__(self, case: Case, policy: Policy) -> None:
        self.able: list[_Able] = []
        self.passed_over: list[tuple[Seat, str]] = []
        self.counts: dict[str, int] = {}
        self._case = case
        wish = case.wish
        self._filters = [each for each in policy.filters if (asks := filters.MATTERS.get(each)) is None or asks(wish)]
        self.scores = [each for each in policy.scores if (asks := scores.MATTERS.get(each.score)) is None or asks(wish)]

    def at(self, seat: Seat) -> None:
        case = self._case
        case.look_at(seat)
        for each in self._filters:
            reason = each(case)
            if reason is not None:
                self.counts[reason] = self.counts.get(reason, 0) + 1
                if len(self.passed_over) < _TOLD:
                    self.passed_over.append((seat, reason))
                return
        case.reckon()
        parts = tuple([score(case) * weight for score, weight in self.scores])
        has_failed = seat.node in case.wish.avoid
        able = _Able(
            not has_failed,
            sum(parts),
            *(seat.node, seat.model, seat),
            parts,
            *(case.first_token_s, case.finish_s),
        )
        self.able.append(able)


def choose(case: Case, among: Sequence[Seats], policy: Policy, *, first: Iterable[Seat] = ()) -> Placement:
    """Choose a seat.

    Args:
        case: the wish, and all that is known at this moment.
        among: the seats of each model that may answer.
        policy: the rule.
        first: seats that are looked at whatever is drawn, such as those that have read the prompt before.
    """
    look = _Look(case, policy)
    serving = sum(len(seats.all) for seats in among)
    if serving <= LOOK_AT_ALL:
        for seats in among:
            for seat in seats.all.values():
                look.at(seat)
    else:
        _look_at_some(look, among, first, _number(case.wish.seed, "seats"))
    ranked = sorted(look.able, reverse=True)
    chosen = _drawn(ranked, policy, case) if ranked else None
    return Placement(
        node=None if chosen is None else chosen.node,
        model="" if chosen is None else chosen.model,
        policy=policy.label,
        candidates=(*_told(ranked, chosen, case.wish.model, look.scores), *_passed_over(look, case.wish.model)),
        rejects=tuple(Rejects(reason=reason, count=count) for reason, count in sorted(look.counts.items())),
        serving=serving,
        continues=chosen is None or chosen.seat.replica.continues,
    )


def _look_at_some(look: _Look, among: Sequence[Seats], first: Iterable[Seat], start: int) -> None:
    seen = set(first)
    for seat in seen:
        look.at(seat)
    for seats in among:
        busy = len(seats.all) - len(seats.free)
        if busy:
            look.counts[filters.BUSY] = look.counts.get(filters.BUSY, 0) + busy
        enough = len(look.able) + ENOUGH
        for seat in _strides(seats.free, start):
            if seat not in seen:
                look.at(seat)
                if len(look.able) >= enough:
                    break


def _strides(seats: Sequence[Seat], start: int) -> Iterator[Seat]:
    """Every seat once, in an order that ``start`` draws."""
    count = len(seats)
    for step in range(count):
        yield seats[(start + step * _STRIDE) % count]


def _number(seed: str, purpose: str) -> int:
    """What is drawn for a task: 64 bits, others for each purpose."""
    return int.from_bytes(hashlib.blake2b(f"{purpose} {seed}".encode(), digest_size=8).digest(), "big")


def _chance(seed: str) -> float:
    return _number(seed, "node") / 2**64


def _drawn(ranked: Sequence[_Able], policy: Policy, case: Case) -> _Able:
    """Draw one; those that have failed the task only where there is no other.

    Where the best one's report is overdue, the better of two that are drawn: all dispatchers that are as blind would
    choose the same best one.
    """
    equals = [each for each in ranked if each.has_not_failed == ranked[0].has_not_failed]
    match policy.draw:
        case "best" if len(equals) > 1 and ranked[0].seat.is_overdue(case.now_s):
            return _better_of_two(equals, _chance(case.wish.seed))
        case "best":
            return ranked[0]
        case "uniform":
            return equals[int(_chance(case.wish.seed) * len(equals))]
        case "weighted":
            return _by_odds(equals[: policy.top], policy.halving_s, _chance(case.wish.seed))


def _better_of_two(ranked: Sequence[_Able], chance: float) -> _Able:
    pair = int(chance * len(ranked) * (len(ranked) - 1))
    one, other = divmod(pair, len(ranked) - 1)
    return ranked[min(one, other + (other >= one))]


def _by_odds(ranked: Sequence[_Able], halving_s: float, chance: float) -> _Able:
    odds = [2.0 ** ((each.score - ranked[0].score) / halving_s) for each in ranked]
    left = chance * sum(odds)
    for each, share in zip(ranked, odds, strict=True):
        left -= share
        if left < 0:
            return each
    return ranked[0]


def _told(ranked: Sequence[_Able], chosen: _Able | None, model: str, scored: Sequence[Weighted]) -> Iterator[Candidate]:
    told = list(ranked[:_TOLD])
    if chosen is not None and chosen not in told:
        told.append(chosen)
    for place, each in enumerate(told):
        is_in_parts = place < _TOLD_IN_PARTS or each is chosen
        yield Candidate(
            node=each.node,
            model=None if each.model == model else each.model,
            score=round(each.score, 6),
            has_failed=not each.has_not_failed,
            parts=_parts(each, scored) if is_in_parts else (),
            first_token_s=round(each.first_token_s, 4) if is_in_parts else None,
            finish_s=round(each.finish_s, 4) if is_in_parts else None,
        )


def _parts(able: _Able, scored: Sequence[Weighted]) -> tuple[Part, ...]:
    named = zip(scored, able.parts, strict=True)
    return tuple(Part(name=each.name, value=value) for each, part in named if (value := round(part, 4)))


def _passed_over(look: _Look, model: str) -> Iterator[Candidate]:
    for seat, reason in look.passed_over:
        yield Candidate(node=seat.node, model=None if seat.model == model else seat.model, rejected=reason)
