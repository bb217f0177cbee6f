"""Closing an epoch: its inputs are stored, everybody is given what the rules say, and that is noted.

Each step is on the log before the next begins, so whoever dies in between is followed by anybody who runs it again:
inputs are taken once, nobody is given anything twice, and what was given is never changed.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.errors import RewardError
from gateway.rewards.inputs import read_inputs
from mesh.history.book import read_book, write_book
from streams.billing.subjects import book_chain
from streams.clock import now_ms
from streams.rewards.book import RewardBook
from streams.rewards.computing import rewards
from streams.rewards.events import MOST_DEVICES, RewardEpochClosed, RewardGranted, RewardInputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mesh.bus.link import Link
    from mesh.history.book import Book
    from streams.billing.log import AnyBillingEvent
    from streams.rewards.computing import DeviceInputs, Reward
    from streams.rewards.epochs import Epoch
    from streams.rewards.rules import RewardRules

SETTLED_AFTER: Final = timedelta(minutes=10)
"""Behind the end of an epoch all that was asked in it is charged."""

CHAIN: Final = book_chain("rewards")

_MS: Final = 1000


class Given(NamedTuple):
    """What an epoch gives, and by which rules."""

    rules: RewardRules
    rewards: tuple[Reward, ...]


async def read_rewards(core: Link) -> RewardBook:
    """Read the book of rewards as it stands.

    Raises:
        BusError: if it cannot be read.
    """
    return RewardBook((await read_book(core, CHAIN)).events)


async def close_epoch(core: Link, epoch: Epoch, *, clock_ms: Callable[[], int] = now_ms) -> RewardEpochClosed:
    """Give everybody what an epoch gives them; what was given already stays as it is.

    Raises:
        RewardError: if the epoch is not over, or there are no rules for it.
        BusError: if the logs cannot be read, or the books written.
    """
    book = await read_rewards(core)
    if (closed := book.closed.get(epoch.number)) is not None:
        return closed
    left_s = (epoch.ends_at_ms - clock_ms()) / _MS + SETTLED_AFTER.total_seconds()
    if left_s > 0:
        raise RewardError(f"epoch {epoch.number} ({epoch.day}) can be closed in {timedelta(seconds=round(left_s))}")
    rules_for(book, epoch)
    if book.inputs(epoch.number) is None:
        book = await _take_inputs(core, epoch, book, clock_ms)
    given = recompute(book, epoch, rules_for(book, epoch))
    for part in _parts(given.rewards):
        await _grant(core, epoch, given.rules, part, clock_ms())
    return await _close(core, epoch, given, clock_ms())


def rules_for(book: RewardBook, epoch: Epoch) -> RewardRules:
    """Return the rules that an epoch goes by.

    Raises:
        RewardError: if there are none.
    """
    rules = book.rules_of(epoch.number)
    if rules is None:
        raise RewardError(f"no rules hold for epoch {epoch.number} ({epoch.day}): set some by `ig3 rewards set FILE`")
    return rules


def recompute(book: RewardBook, epoch: Epoch, rules: RewardRules) -> Given:
    """Return what ``rules`` give for an epoch whose inputs are stored: the granted rules, or others to compare.

    Raises:
        RewardError: if nothing was read for the epoch yet.
    """
    inputs = book.inputs(epoch.number)
    if inputs is None:
        raise RewardError(f"epoch {epoch.number} ({epoch.day}) was not closed yet: there is nothing to compute from")
    return Given(rules, rewards(rules, inputs))


async def _take_inputs(core: Link, epoch: Epoch, book: RewardBook, clock_ms: Callable[[], int]) -> RewardBook:
    devices = await read_inputs(core, epoch, book.machines)
    parts = tuple(_device_parts(devices))
    take = uuid.uuid4().hex
    for number, part in enumerate(parts):
        event = RewardInputs(
            at_ms=clock_ms(), epoch=epoch.number, take=take, part=number, parts=len(parts), devices=part
        )
        await write_book(core, CHAIN, _unless_taken(event))
    return await read_rewards(core)


def _unless_taken(event: RewardInputs) -> Callable[[Book], AnyBillingEvent | None]:
    def decide(book: Book) -> AnyBillingEvent | None:
        folded = RewardBook(book.events)
        is_there = any(
            isinstance(each, RewardInputs) and (each.take, each.part) == (event.take, event.part)
            for each in book.events
        )
        return None if is_there or folded.inputs(event.epoch) is not None else event

    return decide


async def _grant(core: Link, epoch: Epoch, rules: RewardRules, part: tuple[Reward, ...], at_ms: int) -> None:
    def decide(book: Book) -> AnyBillingEvent | None:
        has = {each.node for each in RewardBook(book.events).granted(epoch.number)}
        missing = tuple(each for each in part if each.node not in has)
        if not missing:
            return None
        return RewardGranted(
            at_ms=at_ms, epoch=epoch.number, version=rules.version, currency=rules.currency, rewards=missing
        )

    await write_book(core, CHAIN, decide)


async def _close(core: Link, epoch: Epoch, given: Given, at_ms: int) -> RewardEpochClosed:
    event = RewardEpochClosed(
        at_ms=at_ms,
        epoch=epoch.number,
        version=given.rules.version,
        devices=len(given.rewards),
        base_nano=sum(each.base_nano for each in given.rewards),
        bonus_nano=sum(each.bonus_nano for each in given.rewards),
    )
    book = await write_book(core, CHAIN, lambda book: None if epoch.number in RewardBook(book.events).closed else event)
    return RewardBook(book.events).closed[epoch.number]


def _parts(given: tuple[Reward, ...]) -> Iterator[tuple[Reward, ...]]:
    for first in range(0, len(given), MOST_DEVICES):
        yield given[first : first + MOST_DEVICES]


def _device_parts(devices: tuple[DeviceInputs, ...]) -> Iterator[tuple[DeviceInputs, ...]]:
    # One part also of nothing: that there was no device is something that was read.
    for first in range(0, max(1, len(devices)), MOST_DEVICES):
        yield devices[first : first + MOST_DEVICES]
