"""Looking at seats, scoring those that no filter passes over, and drawing one: the pure core of placement."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from gateway.scheduling import filters
from gateway.scheduling.placement import Placement
from gateway.scheduling.rule import rule_for
from gateway.scheduling.seat import Seat
from gateway.scheduling.wish import kind_of
from streams.tasks.placing import Candidate, Part, Rejects

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.scheduling.case import Case
    from gateway.scheduling.fleet import Seats
    from gateway.scheduling.policy import Policy
    from gateway.scheduling.rule import Rule

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


class _Able(Struct, order=True):
    """A seat that can have the task; the larger one comes first. The cheapest kind of value there is to make."""

    has_not_failed: bool
    score: float
    node: str
    model: str
    seat: Seat
    parts: list[float]
    first_token_s: float
    finish_s: float


class _Look:
    """What has been seen of seats so far."""

    def __init__(self, case: Case, rule: Rule) -> None:
        self.able: list[_Able] = []
        self.passed_over: list[tuple[Seat, str]] = []
        self.counts: dict[str, int] = {}
        self._case = case
        self._avoid = case.wish.avoid
        self._filters = rule.filters
        self._scores = rule.scores

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
        parts = [score(case) * weight for score, weight in self._scores]
        node = seat.node
        able = _Able(
            node not in self._avoid, sum(parts), node, seat.model, seat, parts, case.first_token_s, case.finish_s
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
    rule = rule_for(policy, kind_of(case.wish))
    look = _Look(case, rule)
    serving = sum([len(seats.all) for seats in among])
    if serving <= LOOK_AT_ALL:
        for seats in among:
            for seat in seats.all.values():
                look.at(seat)
    else:
        _look_at_some(look, among, first, _number(case.wish.seed, "seats"))
    ranked = look.able
    ranked.sort(reverse=True)
    chosen = _drawn(ranked, policy, case) if ranked else None
    told = _told(ranked, chosen, case.wish.model, rule)
    return Placement(
        node=None if chosen is None else chosen.node,
        model="" if chosen is None else chosen.model,
        policy=rule.label,
        candidates=(*told, *_passed_over(look, case.wish.model)),
        rejects=tuple([Rejects(reason=reason, count=look.counts[reason]) for reason in sorted(look.counts)]),
        serving=serving,
        continues=chosen is None or chosen.seat.replica.continues,
    )


def _look_at_some(look: _Look, among: Sequence[Seats], first: Iterable[Seat], start: int) -> None:
    seen = set(first)
    for seat in sorted(seen, key=lambda seat: (seat.node, seat.model)):
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
    best = ranked[0]
    if len(ranked) == 1 or (policy.draw == "best" and not best.seat.is_overdue(case.now_s)):
        return best
    equals = [each for each in ranked if each.has_not_failed == best.has_not_failed]
    match policy.draw:
        case "best":
            return best if len(equals) == 1 else _better_of_two(equals, _chance(case.wish.seed))
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


def _told(ranked: Sequence[_Able], chosen: _Able | None, model: str, rule: Rule) -> list[Candidate]:
    told = [
        _in_short(each, model) if place >= _TOLD_IN_PARTS and each is not chosen else _in_parts(each, model, rule)
        for place, each in enumerate(ranked[:_TOLD])
    ]
    if chosen is not None and not any(each is chosen for each in ranked[:_TOLD]):
        told.append(_in_parts(chosen, model, rule))
    return told


def _in_short(able: _Able, model: str) -> Candidate:
    return Candidate(
        node=able.node,
        model=None if able.model == model else able.model,
        score=round(able.score * 1e6) / 1e6,
        has_failed=not able.has_not_failed,
    )


def _in_parts(able: _Able, model: str, rule: Rule) -> Candidate:
    # Rounded by hand: ``round`` to decimals takes as long as all else that is done for a figure.
    figures = zip(rule.names, able.parts, strict=True)
    return Candidate(
        node=able.node,
        model=None if able.model == model else able.model,
        score=round(able.score * 1e6) / 1e6,
        has_failed=not able.has_not_failed,
        parts=tuple(
            [Part(name=name, value=value / 1e4) for name, part in figures if part and (value := round(part * 1e4))]
        ),
        first_token_s=round(able.first_token_s * 1e4) / 1e4,
        finish_s=round(able.finish_s * 1e4) / 1e4,
    )


def _passed_over(look: _Look, model: str) -> list[Candidate]:
    return [
        Candidate(node=seat.node, model=None if seat.model == model else seat.model, rejected=reason)
        for seat, reason in look.passed_over
    ]
