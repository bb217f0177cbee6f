"""An epoch is closed once whatever dies, and what it gave leaves the books once: a real broker, a played chain."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.errors import PayoutError, RewardError
from gateway.payouts.drivers.driver import Fate, Outcome, Prepared
from gateway.payouts.drivers.erc20 import Erc20Driver, Erc20Terms
from gateway.payouts.drivers.ethereum_rpc import EthereumRpc
from gateway.payouts.drivers.file import FileDriver
from gateway.payouts.outbox import Amount, Outbox, read_payouts, request, set_destination
from gateway.rewards import closing
from gateway.rewards.closing import CHAIN, close_epoch, read_rewards, recompute
from mesh.bus.link import Link
from mesh.history.book import read_book, write_book
from streams.billing.events import LedgerPosted, Posting, Transaction, Used
from streams.billing.money import PPM
from streams.billing.subjects import account_chain, book_chain
from streams.codec import encode
from streams.devices.events import DeviceAdmitted, DeviceEvent, DeviceLost, DeviceRegistered, DeviceVerified
from streams.errors import UndecodableEvent
from streams.ledger.moves import transactions_of
from streams.payouts.book import PayoutRecord, PayoutState
from streams.rewards.epochs import parse_epoch
from streams.rewards.events import RewardMachineSet, RewardRulesSet
from streams.rewards.rules import IG3_RULES
from streams.subjects import DeviceKind, device
from streams.tokens import Token
from tests.ethereum_chain import CHAIN_ID, TOKEN, EthereumChain
from tests.mesh_in_process import InProcessMesh
from tests.patient_links import wait_for_answers

EPOCH = parse_epoch("2026-11-26")
BEGAN, ENDED = EPOCH.begins_at_ms, EPOCH.ends_at_ms
AFTER = ENDED + 3_600_000
UNIT = 10**9
KEY = hashlib.sha256(b"who pays in tests").digest()
PAYEE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
N1, N2 = Token("n1"), Token("n2")


def later() -> int:
    return AFTER


@pytest.fixture(autouse=True)
def answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer of the broker counts as lost because this machine is slow."""
    wait_for_answers(monkeypatch)


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Link]:
    async with InProcessMesh(folder=tmp_path / "mesh") as mesh:
        yield mesh.bus.core


async def happened(core: Link, kind: DeviceKind, event: DeviceEvent) -> None:
    await core.append(device(Token(event.node), kind), encode(event))


async def joined(core: Link, node: Token, *, owner: str, stake: int, at_ms: int) -> None:
    """Have a device come, prove itself and be let in."""
    await happened(core, "registered", DeviceRegistered(at_ms=at_ms, node=node, software="x"))
    did = f"did:key:z{node}"
    await happened(core, "verified", DeviceVerified(at_ms=at_ms, node=node, did=did, proved_by="subject"))
    await happened(core, "admitted", DeviceAdmitted(at_ms=at_ms, node=node, by="op", owner=owner, stake=stake))


def charge(name: str, *nodes: Token, at_ms: int = BEGAN + 5, outcome: str = "completed") -> Transaction:
    """A charge of an answer that these nodes wrote; it cost nothing."""
    return Transaction(
        id=f"charge:{name}",
        kind="charge",
        at_ms=at_ms,
        currency="XXX",
        postings=tuple(Posting(account=f"node:{node}", amount_nano=0, attempt=1) for node in nodes),
        used=Used(model="m", price_version=0, outcome="completed" if outcome == "completed" else "failed"),
    )


async def charged(core: Link, *transactions: Transaction) -> None:
    event = LedgerPosted(at_ms=BEGAN + 5, transactions=transactions)
    await write_book(core, account_chain(Token("acme")), lambda _: event)


async def set_rules(core: Link, version: str = "ig3-1", **changes: int) -> None:
    rules = replace(IG3_RULES, version=version, **changes)
    await write_book(core, CHAIN, lambda _: RewardRulesSet(at_ms=BEGAN, rules=rules, from_epoch=0))


async def two_devices(core: Link) -> None:
    """n1 was there for the whole epoch and did five tasks, n2 for half of it and did none."""
    await set_rules(core)
    for node, machine in ((N1, "M1E"), (N2, "M1")):
        await write_book(core, CHAIN, lambda _, n=node, m=machine: RewardMachineSet(at_ms=BEGAN, node=n, machine=m))
    await joined(core, N1, owner="lab", stake=32, at_ms=BEGAN - 5)
    await joined(core, N2, owner="home", stake=1, at_ms=BEGAN - 5)
    half = (BEGAN + ENDED) // 2
    await happened(core, "lost", DeviceLost(at_ms=half, node=N2, reason="it has left the bus"))
    await charged(
        core,
        *(charge(f"t{n}", N1) for n in range(4)),
        charge("shared", N1, N2),
        charge("shared-too", N1, N2),
        charge("failed", N1, outcome="failed"),
        charge("too-early", N1, at_ms=BEGAN - 1),
        charge("too-late", N1, at_ms=ENDED),
    )


async def paid(core: Link) -> dict[str, int]:
    """What the accounts of nodes have by the books of rewards and payouts, each transaction counted once."""
    balances: dict[str, int] = {}
    seen: set[str] = set()
    for chain in (CHAIN, book_chain("payouts")):
        for event in (await read_book(core, chain)).events:
            for transaction in transactions_of(event):
                assert transaction.id not in seen
                seen.add(transaction.id)
                assert sum(posting.amount_nano for posting in transaction.postings) == 0
                for posting in transaction.postings:
                    balances[posting.account] = balances.get(posting.account, 0) + posting.amount_nano
    return balances


# --- rewards -----------------------------------------------------------------------------------------------------


async def test_an_epoch_gives_what_the_logs_say_by_the_rules(core: Link) -> None:
    await two_devices(core)
    closed = await close_epoch(core, EPOCH, clock_ms=later)
    first, second = (await read_rewards(core)).granted(EPOCH.number)
    assert (first.node, first.base_nano, first.score_ppm) == (N1, 8 * 2333 * UNIT, PPM + PPM // 2)
    assert (second.node, second.base_nano, second.score_ppm) == (N2, 2333 * UNIT // 2, PPM + PPM // 10)
    assert closed.devices == 2
    assert closed.base_nano + closed.bonus_nano == first.amount_nano + second.amount_nano
    assert await paid(core) == {
        "rewards": -closed.base_nano - closed.bonus_nano,
        "node:n1": first.amount_nano,
        "node:n2": second.amount_nano,
    }


async def test_closing_at_once_and_again_gives_everything_once(core: Link) -> None:
    await two_devices(core)
    closed = await asyncio.gather(*(close_epoch(core, EPOCH, clock_ms=later) for _ in range(3)))
    before = await paid(core)
    assert await close_epoch(core, EPOCH, clock_ms=later) == closed[0] == closed[1] == closed[2]
    assert await paid(core) == before


async def test_a_closing_that_died_half_way_is_gone_on_with(core: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "MOST_DEVICES", 1)
    await two_devices(core)
    real, writes = closing.write_book, 0

    async def dies(*arguments: object) -> object:
        nonlocal writes
        writes += 1
        if writes == 4:  # two parts of inputs, one of grants
            raise ConnectionError("killed")
        return await real(*arguments)  # type: ignore[arg-type]  # what it is called with is what it takes

    monkeypatch.setattr(closing, "write_book", dies)
    with pytest.raises(ConnectionError):
        await close_epoch(core, EPOCH, clock_ms=later)
    assert len((await read_rewards(core)).granted(EPOCH.number)) == 1

    # What happens meanwhile changes nothing of what was read.
    await set_rules(core, "ig3-2", base_nano=1)
    await happened(core, "lost", DeviceLost(at_ms=BEGAN, node=N1, reason="late news"))
    closed = await close_epoch(core, EPOCH, clock_ms=later)
    assert (closed.devices, closed.version) == (2, "ig3-1")
    assert set(await paid(core)) == {"rewards", "node:n1", "node:n2"}


async def test_other_rules_give_a_comparison_and_change_nothing(core: Link) -> None:
    await two_devices(core)
    await close_epoch(core, EPOCH, clock_ms=later)
    before = await paid(core)
    other = recompute(await read_rewards(core), EPOCH, replace(IG3_RULES, version="x", base_nano=0))
    assert [each.base_nano for each in other.rewards] == [0, 0]
    assert await paid(core) == before


async def test_an_epoch_that_is_not_over_and_one_without_rules_are_not_closed(core: Link) -> None:
    with pytest.raises(RewardError, match="can be closed in"):
        await close_epoch(core, EPOCH, clock_ms=lambda: ENDED)
    with pytest.raises(RewardError, match="no rules"):
        await close_epoch(core, EPOCH, clock_ms=later)
    assert (await read_book(core, CHAIN)).events == ()


async def test_what_nobody_could_read_again_is_not_written(core: Link) -> None:
    await set_rules(core)
    with pytest.raises(UndecodableEvent, match=r"books\.rewards, and is not written"):
        await write_book(core, CHAIN, lambda _: RewardMachineSet(at_ms=BEGAN, node=N1, machine="no name"))
    assert len((await read_book(core, CHAIN)).events) == 1


# --- payouts -----------------------------------------------------------------------------------------------------


async def asked(core: Link, node: Token = N1, nano: int = 5 * UNIT, *, has: int = 5 * UNIT) -> str:
    seen = (await read_book(core, book_chain("payouts"))).last_sequence
    made = await request(core, node, Amount(nano, "IG3"), balance_nano=has, seen_sequence=seen)
    return made.payout


async def state(core: Link, name: str) -> PayoutState:
    return (await read_payouts(core)).records[name].state


async def test_a_payout_leaves_once_though_two_look_after_it(core: Link, tmp_path: Path) -> None:
    driver = FileDriver(tmp_path / "payouts.jsonl")
    await set_destination(core, N1, driver, "IBAN of Ada", by="op")
    name = await asked(core)
    assert await state(core, name) is PayoutState.PENDING
    await asyncio.gather(*(Outbox(core, driver).look() for _ in range(3)))
    assert await state(core, name) is PayoutState.CONFIRMED
    assert len((tmp_path / "payouts.jsonl").read_text().splitlines()) == 1
    assert await paid(core) == {"node:n1": -5 * UNIT, "paying:n1": 0, "outside": 5 * UNIT}


async def test_a_payout_that_another_has_ended_meanwhile_is_not_ended_again(core: Link, tmp_path: Path) -> None:
    driver = FileDriver(tmp_path / "payouts.jsonl")
    await set_destination(core, N1, driver, "IBAN of Ada", by="op")
    name = await asked(core)
    pending = (await read_payouts(core)).records[name]
    await Outbox(core, driver).look()
    ended = await read_book(core, book_chain("payouts"))
    assert await Outbox(core, driver)._forward(pending) is PayoutState.CONFIRMED
    assert await read_book(core, book_chain("payouts")) == ended


async def test_what_cannot_be_paid_out_is_refused_before_it_is_set_aside(core: Link, tmp_path: Path) -> None:
    with pytest.raises(PayoutError, match="nobody has said"):
        await asked(core)
    await set_destination(core, N1, FileDriver(tmp_path / "x"), "Ada", by="op")
    for nano in (0, -1, 6 * UNIT):
        with pytest.raises(PayoutError, match="asked for"):
            await asked(core, nano=nano)
    await asked(core)
    with pytest.raises(PayoutError, match="have changed"):
        await request(core, N1, Amount(5 * UNIT, "IG3"), balance_nano=5 * UNIT, seen_sequence=0)


class Failing(FileDriver):
    """Says that it will never be paid."""

    async def hand_over(self, payout: object, prepared: Prepared, *, before: tuple[Prepared, ...] = ()) -> Outcome:
        return Outcome(fate=Fate.FAILED, detail="account closed")


async def test_a_payout_that_failed_gives_the_amount_back(core: Link, tmp_path: Path) -> None:
    driver = Failing(tmp_path / "x")
    await set_destination(core, N1, driver, "Ada", by="op")
    name = await asked(core)
    assert (await Outbox(core, driver).look()).failed == 1
    assert (await read_payouts(core)).records[name].detail == "account closed"
    assert await paid(core) == {"node:n1": 0, "paying:n1": 0}
    assert await Outbox(core, driver).look() == (0, 0, 0)


async def test_transfers_are_signed_once_whoever_dies_and_each_has_its_own_place(core: Link) -> None:
    async with EthereumChain().running() as chain:

        def driver() -> Erc20Driver:
            return Erc20Driver(EthereumRpc(chain.url), Erc20Terms(chain_id=CHAIN_ID, token=TOKEN, confirmations=2), KEY)

        chain.balances[driver().sender.lower()] = 100 * 10**18
        names: list[str] = []
        for node in (N1, N2):
            await set_destination(core, node, driver(), PAYEE, by="op")
            names.append(await asked(core, node))
        chain.loses_answers = 1  # as if whoever sent it had died behind that
        await asyncio.gather(*(Outbox(core, driver()).look() for _ in range(2)))
        places = [record.sent.place for record in (await read_payouts(core)).records.values() if record.sent]
        assert sorted(places, key=str) == [0, 1]
        for _ in range(3):
            chain.mine()
            await Outbox(core, driver()).look()
        assert [await state(core, name) for name in names] == [PayoutState.CONFIRMED] * 2
        assert chain.balances[PAYEE.lower()] == 10 * 10**18


class Played:
    """A chain on which transfers get stuck, and outboxes whose clock a test sets."""

    def __init__(self, core: Link, chain: EthereumChain) -> None:
        self.core = core
        self.chain = chain
        self.at_ms = AFTER
        chain.balances[self.driver().sender.lower()] = 100 * 10**18

    def driver(self, **terms: int) -> Erc20Driver:
        usual = Erc20Terms(chain_id=CHAIN_ID, token=TOKEN, confirmations=2, most_replacements=2)
        return Erc20Driver(EthereumRpc(self.chain.url), replace(usual, **terms), KEY)

    async def look(self, *, minutes: int = 0, **terms: int) -> None:
        """Two outboxes look at once, some time later."""
        self.at_ms += minutes * 60_000
        outboxes = (Outbox(self.core, self.driver(**terms), clock_ms=lambda: self.at_ms) for _ in range(2))
        await asyncio.gather(*(outbox.look() for outbox in outboxes))

    async def stuck(self) -> str:
        """Have a payout sent, and gas become too dear for it."""
        await set_destination(self.core, N1, self.driver(), PAYEE, by="op")
        name = await asked(self.core)
        await self.look()
        self.chain.base_fee_wei *= 50
        self.chain.mine(3)
        return name

    async def record(self, name: str) -> PayoutRecord:
        return (await read_payouts(self.core)).records[name]


@pytest.fixture
async def played(core: Link) -> AsyncIterator[Played]:
    async with EthereumChain().running() as chain:
        yield Played(core, chain)


async def test_a_stuck_transfer_is_sent_again_dearer_with_its_nonce_and_pays_once(played: Played) -> None:
    chain, name = played.chain, await played.stuck()
    await played.look(minutes=9)
    assert (await played.record(name)).replacements == ()
    await played.look(minutes=1)
    record = await played.record(name)
    assert record.sent is not None
    (replaced,) = record.replacements
    assert (replaced.place, record.state) == (record.sent.place, PayoutState.SENT)
    assert list(chain.pool) == [replaced.reference]
    assert list(chain.replaced) == [record.sent.reference]
    await played.look(minutes=9)
    for _ in range(3):
        chain.mine()
        await played.look()
    ended = await played.record(name)
    assert (ended.state, ended.replacements) == (PayoutState.CONFIRMED, (replaced,))
    assert replaced.reference in ended.detail
    assert chain.balances[PAYEE.lower()] == 5 * 10**18


async def test_the_first_transfer_may_be_taken_after_it_was_replaced_and_nothing_is_paid_twice(played: Played) -> None:
    chain, name = played.chain, await played.stuck()
    await played.look(minutes=10)
    record = await played.record(name)
    assert record.sent is not None
    chain.prefer(record.sent.reference)
    chain.base_fee_wei //= 50
    for _ in range(3):
        chain.mine()
        await played.look(minutes=10)
    ended = await played.record(name)
    assert (ended.state, len(ended.replacements)) == (PayoutState.CONFIRMED, 1)
    assert record.sent.reference in ended.detail
    assert chain.balances[PAYEE.lower()] == 5 * 10**18


async def test_replacing_has_bounds_and_goes_on_where_somebody_died_before_sending(played: Played) -> None:
    chain, name = played.chain, await played.stuck()
    await played.look(minutes=10, most_fee_gwei=100)
    assert (await played.record(name)).replacements == ()  # gas costs more than is paid
    await played.look(minutes=10)
    for _ in range(4):
        chain.base_fee_wei *= 2
        chain.loses_answers = 2  # as if whoever sent it had died behind that
        await played.look(minutes=10)
    record = await played.record(name)
    assert len(record.replacements) == 2
    assert record.sent is not None
    assert set(chain.received) == {record.sent.reference, *(each.reference for each in record.replacements)}
    chain.base_fee_wei = 10**9
    for _ in range(3):
        chain.mine()
        await played.look()
    assert (await played.record(name)).state is PayoutState.CONFIRMED
    assert chain.balances[PAYEE.lower()] == 5 * 10**18


async def test_a_payout_is_not_called_failed_by_who_has_not_seen_what_replaced_it(played: Played) -> None:
    chain, core, name = played.chain, played.core, await played.stuck()
    driver, at_ms = played.driver(), played.at_ms

    class Behind(Outbox):
        """Has read the book, and then sleeps while others replace the transfer and the chain takes that."""

        async def _hand_over(self, record: PayoutRecord) -> Outcome:
            await played.look(minutes=10)
            chain.mine(3)
            return await super()._hand_over(record)

    await Behind(core, driver, clock_ms=lambda: at_ms).look()
    assert (await played.record(name)).state is PayoutState.SENT
    await played.look()
    assert (await played.record(name)).state is PayoutState.CONFIRMED
    assert chain.balances[PAYEE.lower()] == 5 * 10**18
