"""A mesh whose books a test keeps: holds are asked for, tasks end, and the ledger is a real one."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from gateway.ledger.books import Books
from gateway.ledger.entries import deposit, set_prices
from gateway.ledger.service import Ledger
from gateway.ledger.settings import LedgerSettings
from mesh.bus.link import Link
from mesh.bus.service_bus import Bus
from mesh.history.ordered import OrderedReader
from mesh.history.snapshots import SnapshotStore
from streams import subjects
from streams.billing.events import LedgerPosted, LedgerSuspended, PriceRule, Transaction
from streams.billing.log import AnyBillingEvent
from streams.billing.messages import Held, HoldRefused, HoldWanted, LedgerRefusal
from streams.billing.money import NANO_PER_UNIT
from streams.billing.subjects import account_chain, ledger_api
from streams.clock import now_ms
from streams.codec import decode_billing_event, encode
from streams.events import AttemptShare, EndEvent, TaskCompleted
from streams.ledger.answers import read_answer
from streams.subjects import TaskKey
from streams.tasks.chat import Usage
from streams.tasks.task_id import new_task_id
from streams.tokens import Token
from streams.topology import BILLING
from tests.mesh_in_process import InProcessMesh

MODEL = "m-small"
CURRENCY = "EUR"
PROMPT, CACHED, COMPLETION, FEE_PPM = 10, 5, 100, 100_000
RULES = (PriceRule(model="m-*", prompt=PROMPT, cached_prompt=CACHED, completion=COMPLETION),)
UNIT = NANO_PER_UNIT
_NUMBERS = itertools.count(1)

HoldReply = Held | HoldRefused | LedgerRefusal


@dataclass(kw_only=True)
class RunningLedger:
    """A ledger on a bus of its own."""

    bus: Bus
    ledger: Ledger

    @property
    def books(self) -> Books:
        return self.ledger.books

    async def stop(self) -> None:
        """Stop in good order."""
        await self.ledger.stop()
        await self.bus.close()

    async def vanish(self) -> None:
        """Cut the bus first, as by a power cut: nothing is handed back."""
        await self.bus.close()
        await self.ledger.stop()


@asynccontextmanager
async def running_ledger(mesh: InProcessMesh, snapshots: SnapshotStore | None = None) -> AsyncIterator[RunningLedger]:
    """Start a ledger, and stop it if the test has not."""
    running = await start_ledger(mesh, snapshots)
    try:
        yield running
    finally:
        if running.bus.core.is_connected:
            await running.stop()


async def start_ledger(mesh: InProcessMesh, snapshots: SnapshotStore | None = None) -> RunningLedger:
    bus = await mesh.new_bus(f"ledger-{next(_NUMBERS)}")
    ledger = Ledger(bus.core, LedgerSettings(), snapshots=snapshots)
    await ledger.start()
    return RunningLedger(bus=bus, ledger=ledger)


async def open_books(core: Link) -> Books:
    books = Books(core)
    await books.start()
    return books


async def priced(core: Link, rules: tuple[PriceRule, ...] = RULES, *, cached_answer_ppm: int = 250_000) -> None:
    """Write a price list that holds from now on."""
    books = await open_books(core)
    await set_prices(
        books,
        currency=CURRENCY,
        rules=rules,
        fee_ppm=FEE_PPM,
        cached_answer_ppm=cached_answer_ppm,
        after_ms=0,
        by="a test",
    )
    await books.stop()


async def paid_in(core: Link, account: Token, units: int = 1) -> None:
    books = await open_books(core)
    await deposit(books, account, units * UNIT, CURRENCY, reference=f"{account}-1", by="a test")
    await books.stop()


def key_of(account: Token) -> TaskKey:
    return TaskKey(account, new_task_id())


async def ask_hold(
    core: Link,
    key: TaskKey,
    *,
    model: str = MODEL,
    prompt: int = 100,
    completion: int = 100,
    api_key: str | None = None,
    timeout_s: float = 20,
) -> HoldReply:
    """Ask whichever ledger is there."""
    want = HoldWanted(
        account=key.account,
        task=key.task,
        model=model,
        key=api_key,
        prompt_tokens_most=prompt,
        completion_tokens_most=completion,
    )
    answer = await core.request(ledger_api("hold"), encode(want), timeout=timedelta(seconds=timeout_s))
    said = read_answer(answer.data)
    assert isinstance(said, Held | HoldRefused | LedgerRefusal)
    return said


def share(node: str, tokens: int, *, attempt: int = 1, signed: bool = True) -> AttemptShare:
    return AttemptShare(attempt=attempt, node=node, chars=4 * tokens, tokens=tokens, signed=signed)


def completed(
    *shares: AttemptShare,
    prompt: int = 10,
    cached: int = 0,
    completion: int = 20,
    at_ms: int | None = None,
    model: str = MODEL,
) -> TaskCompleted:
    return TaskCompleted(
        at_ms=now_ms() if at_ms is None else at_ms,
        model=model,
        final_n=3,
        finish_reason="stop",
        usage=Usage(prompt_tokens=prompt, cached_prompt_tokens=cached, completion_tokens=completion),
        shares=shares or (share("node-a", completion),),
    )


async def end(core: Link, key: TaskKey, event: EndEvent | bytes) -> int:
    """Write the end of a task, as a dispatcher does."""
    data = event if isinstance(event, bytes) else encode(event)
    return await core.append(subjects.ended(key), data)


async def stored_on(core: Link, subject: str) -> list[bytes]:
    """All that stands on a chain."""
    found: list[bytes] = []
    async with OrderedReader(core, BILLING, filters=(subject,)) as reader:
        while not reader.is_caught_up:
            found += [each.data for each in await reader.take(wait_s=5)]
    return found


async def events_of(core: Link, account: Token) -> list[AnyBillingEvent]:
    """All that stands on an account's chain."""
    return [decode_billing_event(data) for data in await stored_on(core, account_chain(account).subject)]


async def transactions_of(core: Link, account: Token) -> list[Transaction]:
    """All that was posted there, in order, what is in suspense too."""
    found: list[Transaction] = []
    for event in await events_of(core, account):
        match event:
            case LedgerPosted():
                found += event.transactions
            case LedgerSuspended():
                found.append(event.transaction)
            case _:
                continue
    return found
