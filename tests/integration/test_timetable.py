"""What is due by the calendar is done once, whoever was off, dies or has a wrong clock: a real broker, played times."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.commands import payout_policy as payout_policy_command
from gateway.ledger.entries import deposit
from gateway.ledger.sealing import read_seals
from gateway.ledger.settings import LedgerSettings
from gateway.ledger.timetable import Timetable
from gateway.ledger.verifying import verify
from gateway.payouts.drivers.file import FileDriver
from gateway.payouts.outbox import Amount, read_payouts, request, set_destination
from gateway.rewards import closing
from gateway.rewards.closing import CHAIN, read_rewards
from mesh.bus.link import Link
from mesh.history.book import read_book, write_book
from mesh.history.snapshots import SnapshotStore
from mesh.history.stream_facts import stream_facts
from mesh.telemetry.telemetry import Telemetry
from streams.billing.events import LedgerPosted, Posting, Transaction
from streams.billing.subjects import account_chain, book_chain
from streams.codec import encode
from streams.devices.events import DeviceAdmitted, DeviceEvent, DeviceRegistered, DeviceVerified
from streams.ledger.chain import month_of
from streams.ledger.periods import ends_ms, month_after
from streams.payouts.events import HOUR_MS, PayoutPolicySet
from streams.rewards.epochs import EPOCH_MS, Epoch, epoch_at
from streams.rewards.events import RewardEpochClosed, RewardGranted, RewardMachineSet, RewardRulesSet
from streams.rewards.rules import IG3_RULES
from streams.subjects import DeviceKind, device
from streams.tokens import Token
from streams.topology import BILLING, DEVICES
from tests.books import CURRENCY, open_books, running_ledger
from tests.ledger_shell import ledger_shell
from tests.mesh_in_process import InProcessMesh
from tests.patient_links import wait_for_answers
from tests.processes import until

N1 = Token("n1")
UNIT = 10**9
DAY_MS = 24 * HOUR_MS
PAYOUTS = book_chain("payouts")
A_WEEK_NANO = 2333 * UNIT


class Ledgers:
    """Two ledgers' timetables, whose clock a test sets."""

    def __init__(self, mesh: InProcessMesh, archive: Path) -> None:
        self.mesh = mesh
        self.core = mesh.bus.core
        self.archive = archive
        self.at_ms = 0
        self.tables: list[Timetable] = []

    async def start(self) -> None:
        self.books = [await open_books(self.core) for _ in range(2)]
        settings = LedgerSettings(books_archive=self.archive)
        self.tables = [Timetable(books, settings, Telemetry.off(), self.now) for books in self.books]

    async def stop(self) -> None:
        for each in self.books:
            await each.stop()

    async def now(self) -> int:
        return self.at_ms

    async def look(self, *, times: int = 1) -> None:
        """Both look at once; each knows what stands there, and perhaps not what the other writes now."""
        for _ in range(times):
            await asyncio.gather(*(books.catch_up() for books in self.books))
            await asyncio.gather(*(table.look() for table in self.tables))


@pytest.fixture(autouse=True)
def answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer of the broker counts as lost because this machine is slow."""
    wait_for_answers(monkeypatch)


@pytest.fixture
async def ledgers(tmp_path: Path) -> AsyncIterator[Ledgers]:
    async with InProcessMesh(folder=tmp_path / "mesh") as mesh:
        running = Ledgers(mesh, tmp_path / "archive")
        await running.start()
        yield running
        await running.stop()


async def a_device(core: Link) -> Epoch:
    """Let n1 in, in the week that it is; returns that week."""

    async def happened(kind: DeviceKind, event: DeviceEvent) -> None:
        await core.append(device(N1, kind), encode(event))

    await happened("registered", DeviceRegistered(at_ms=0, node=N1, software="x"))
    first_at = (await stream_facts(core, DEVICES)).first_at
    assert first_at is not None
    week = epoch_at(int(first_at.timestamp() * 1000))
    at_ms = week.begins_at_ms
    await happened("verified", DeviceVerified(at_ms=at_ms, node=N1, did="did:key:zn1", proved_by="subject"))
    await happened("admitted", DeviceAdmitted(at_ms=at_ms, node=N1, by="op", owner="lab", stake=0))
    await write_book(core, CHAIN, lambda _: RewardMachineSet(at_ms=at_ms, node=N1, machine="M1"))
    return week


async def rules_set(core: Link) -> None:
    event = RewardRulesSet(at_ms=0, rules=IG3_RULES, from_epoch=0)
    await write_book(core, CHAIN, lambda _: event)


async def closed_weeks(core: Link) -> list[int]:
    events = (await read_book(core, CHAIN)).events
    granted = [
        (each.epoch, reward.node) for each in events if isinstance(each, RewardGranted) for reward in each.rewards
    ]
    assert len(granted) == len(set(granted))
    return [each.epoch for each in events if isinstance(each, RewardEpochClosed)]


async def test_weeks_are_closed_once_and_in_order_after_three_weeks_without_a_ledger(
    ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    core, week = ledgers.core, await a_device(ledgers.core)
    third_ends = week.ends_at_ms + 2 * EPOCH_MS
    ledgers.at_ms = third_ends + HOUR_MS
    await ledgers.look()
    assert await closed_weeks(core) == []  # nobody has set rules

    await rules_set(core)
    real, writes = closing.write_book, 0

    async def dies(*arguments: object) -> object:
        nonlocal writes
        writes += 1
        if writes == 3:
            raise ConnectionError("killed behind the first grant")
        return await real(*arguments)  # type: ignore[arg-type]  # what it is called with is what it takes

    monkeypatch.setattr(closing, "write_book", dies)
    await asyncio.gather(*(books.catch_up() for books in ledgers.books))
    await ledgers.tables[0].look()
    assert await closed_weeks(core) == []
    monkeypatch.setattr(closing, "write_book", real)

    ledgers.at_ms -= 1  # the third is not over for an hour yet
    await ledgers.look()
    assert await closed_weeks(core) == [week.number, week.number + 1]
    ledgers.at_ms += 1
    await ledgers.look(times=2)
    three = [week.number, week.number + 1, week.number + 2]
    assert await closed_weeks(core) == three
    ledgers.at_ms -= 5 * EPOCH_MS
    await ledgers.look()
    ledgers.at_ms = third_ends + EPOCH_MS + HOUR_MS
    await ledgers.look()
    assert await closed_weeks(core) == [*three, week.number + 3]
    assert {each.base_nano for each in (await read_rewards(core)).granted(week.number + 1)} == {A_WEEK_NANO}


async def test_months_are_sealed_once_and_in_order_and_each_has_its_archive(ledgers: Ledgers, tmp_path: Path) -> None:
    core = ledgers.core
    ledgers.at_ms = ends_ms("2999-12")  # a clock that has jumped ahead, and comes back
    await ledgers.look()
    assert await read_seals(core) == ()  # there is nothing to seal
    await deposit(ledgers.books[0], Token("acme"), 7, CURRENCY, reference="r", by="a test")
    first_at = (await stream_facts(core, BILLING)).first_at
    assert first_at is not None
    month = month_of(int(first_at.timestamp() * 1000))
    third = month_after(month_after(month))
    for at_ms, sealed in (
        (ends_ms(month) + 3 * DAY_MS - 1, 0),
        (ends_ms(third) + 3 * DAY_MS, 3),
        (ends_ms(month), 3),
    ):
        ledgers.at_ms = at_ms
        await ledgers.look()
        assert [each.period for each in await read_seals(core)] == [month, month_after(month), third][:sealed]
    archives = sorted(ledgers.archive.iterdir())
    assert len(archives) == 3
    archives[1].unlink()  # as if it had died behind the seal
    again = Timetable(ledgers.books[0], LedgerSettings(books_archive=ledgers.archive), Telemetry.off(), ledgers.now)
    ledgers.at_ms = ends_ms(third) + 3 * DAY_MS
    await again.look()
    assert sorted(ledgers.archive.iterdir()) == archives
    assert (await verify(core, SnapshotStore(tmp_path))).differences == ()


async def test_payouts_are_requested_by_what_was_said_and_only_then(
    ledgers: Ledgers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    core, week = ledgers.core, await a_device(ledgers.core)
    await rules_set(core)
    driver = FileDriver(tmp_path / "payouts.jsonl")
    await set_destination(core, N1, driver, "IBAN of Ada", by="op")
    ledgers.at_ms = week.ends_at_ms + HOUR_MS
    await ledgers.look(times=2)

    async def requested() -> list[int]:
        return [each.payout.amount_nano for each in (await read_payouts(core)).records.values()]

    assert await requested() == []
    step = 1000 * UNIT
    ig3 = ledger_shell(ledgers.mesh, tmp_path, monkeypatch, payout_policy_command, group="payouts")
    for _ in range(2):
        said = await ig3("policy", "IG3", "--least", "1000", "--step", "1000", "--every", "14d", "--by", "file")
        assert said == "every other node, IG3: from 1000 on, every 14d, where it goes by file\n"
    assert await ig3("policy", "IG3", "n2", "--off") == "n2, IG3: nothing by itself\n"
    assert "n2" in await ig3("policies")
    assert sum(isinstance(each, PayoutPolicySet) for each in (await read_book(core, PAYOUTS)).events) == 2
    await ledgers.look(times=2)
    assert await requested() == [2 * step]
    ledgers.at_ms -= 3 * DAY_MS
    await ledgers.look(times=2)
    ledgers.at_ms += 3 * DAY_MS + EPOCH_MS
    await ledgers.look(times=2)
    assert await requested() == [2 * step]  # one week more is there, and it is not time yet
    ledgers.at_ms += EPOCH_MS
    await ledgers.look(times=2)
    # What is left of each week before, and of two more: 333 + 2 x 2,333.
    assert await requested() == [2 * step, 4 * step]
    for books in ledgers.books:
        await books.catch_up()
        has = {name: books.state.balance(f"{name}:n1", "IG3") for name in ("node", "paying")}
        assert has == {"node": 3 * A_WEEK_NANO - 6 * step, "paying": 6 * step}


async def test_a_payout_is_of_all_that_the_weeks_gave_that_the_same_look_has_closed(
    ledgers: Ledgers, tmp_path: Path
) -> None:
    core, week = ledgers.core, await a_device(ledgers.core)
    await rules_set(core)
    await set_destination(core, N1, FileDriver(tmp_path / "payouts.jsonl"), "IBAN of Ada", by="op")
    policy = PayoutPolicySet(at_ms=1, currency="IG3", every_ms=14 * DAY_MS)
    await write_book(core, PAYOUTS, lambda _: policy)
    for books in ledgers.books:
        await books.catch_up()
        await books.stop()  # from here on it reads nothing by itself: as if it were always too late
    ledgers.at_ms = week.ends_at_ms + EPOCH_MS + HOUR_MS
    await ledgers.tables[0].look()
    assert await closed_weeks(core) == [week.number, week.number + 1]
    requested = [each.payout.amount_nano for each in (await read_payouts(core)).records.values()]
    assert requested == [2 * A_WEEK_NANO]


async def test_ledgers_and_a_person_who_ask_at_once_never_ask_for_more_than_there_is(
    ledgers: Ledgers, tmp_path: Path
) -> None:
    core = ledgers.core
    earned = Posting(account="suspense", amount_nano=-7), Posting(account="node:n1", amount_nano=7)
    correction = Transaction(id="correction:x", kind="correction", at_ms=1, currency=CURRENCY, postings=earned)
    event = LedgerPosted(at_ms=1, transactions=(correction,))
    await write_book(core, account_chain(Token("acme")), lambda _: event)
    await set_destination(core, N1, FileDriver(tmp_path / "payouts.jsonl"), "Ada", by="op")
    policy = PayoutPolicySet(at_ms=1, currency=CURRENCY)
    await write_book(core, PAYOUTS, lambda _: policy)
    seen = (await read_book(core, PAYOUTS)).last_sequence
    ledgers.at_ms = 7 * DAY_MS
    asked = [request(core, N1, Amount(6, CURRENCY), balance_nano=7, seen_sequence=seen) for _ in range(2)]
    await asyncio.gather(ledgers.look(times=3), *asked, return_exceptions=True)
    requested = [each.payout.amount_nano for each in (await read_payouts(core)).records.values()]
    assert requested in ([7], [6], [6, 1])  # whoever was first; what is left may follow, since clocks are years apart
    await ledgers.books[0].catch_up()
    assert ledgers.books[0].state.balance("node:n1", CURRENCY) == 7 - sum(requested)


async def test_a_ledger_that_starts_does_what_is_due_at_once(tmp_path: Path) -> None:
    async with InProcessMesh(folder=tmp_path / "mesh") as mesh:
        core = mesh.bus.core
        earned = Transaction(
            id="correction:x",
            kind="correction",
            at_ms=1,
            currency=CURRENCY,
            postings=(Posting(account="suspense", amount_nano=-7), Posting(account="node:n1", amount_nano=7)),
        )
        event = LedgerPosted(at_ms=1, transactions=(earned,))
        await write_book(core, account_chain(Token("acme")), lambda _: event)
        await set_destination(core, N1, FileDriver(tmp_path / "payouts.jsonl"), "Ada", by="op")
        policy = PayoutPolicySet(at_ms=1, node=N1, currency=CURRENCY)
        await write_book(core, PAYOUTS, lambda _: policy)
        async with running_ledger(mesh) as ledger:
            state = ledger.books.state
            await until(lambda: state.balance("paying:n1", CURRENCY) == 7)
            assert state.balance("node:n1", CURRENCY) == 0
