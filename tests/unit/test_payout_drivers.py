"""Ways of paying out: each pays once, however often it is told, and says what it does not know."""

import asyncio
import hashlib
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from msgspec.structs import replace

from gateway.errors import PayoutError
from gateway.payouts.drivers.driver import Fate, PayoutDriver
from gateway.payouts.drivers.erc20 import Erc20Driver, Erc20Terms, checksum
from gateway.payouts.drivers.ethereum_rpc import EthereumRpc
from gateway.payouts.drivers.file import FileDriver
from gateway.payouts.drivers.webhook import WebhookDriver, signature, verify
from streams.payouts.payout import Payout
from streams.tokens import Token
from tests.ethereum_chain import CHAIN_ID, TOKEN, EthereumChain
from tests.served_app import served

PAYOUT = Payout(
    id="p1", node=Token("n1"), amount_nano=1_500_000_001, currency="IG3", driver="file", address="IBAN of Ada"
)
SECRET = b"0123456789abcdef0123456789abcdef"


async def pay(driver: PayoutDriver, payout: Payout = PAYOUT) -> Fate:
    return (await driver.hand_over(payout, await driver.prepare(payout, underway=()))).fate


# --- a file ------------------------------------------------------------------------------------------------------


async def test_a_payout_is_a_line_of_a_private_file_once_however_often_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "payouts.jsonl"
    driver = FileDriver(path)
    assert [await pay(driver), await pay(driver), await pay(driver, replace(PAYOUT, id="p2"))] == [Fate.CONFIRMED] * 3
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["id"] for line in lines] == ["p1", "p2"]
    assert lines[0]["amount"] == "1.500000001"
    assert lines[0]["address"] == "IBAN of Ada"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_payout_that_many_hand_over_at_once_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "payouts.jsonl"
    for number in range(10):
        payout = replace(PAYOUT, id=f"p{number}")
        await asyncio.gather(*(pay(FileDriver(path), payout) for _ in range(8)))
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == [f"p{number}" for number in range(10)]


async def test_half_a_line_that_a_power_cut_left_hides_no_payout(tmp_path: Path) -> None:
    path = tmp_path / "payouts.jsonl"
    path.write_text('{"id": "p1", "pay')
    assert await pay(FileDriver(path)) is Fate.CONFIRMED
    assert json.loads(path.read_text().splitlines()[1])["id"] == "p1"


async def test_a_file_that_cannot_be_written_leaves_the_payout_unpaid(tmp_path: Path) -> None:
    with pytest.raises(PayoutError, match="cannot be written"):
        await pay(FileDriver(tmp_path / "nowhere" / "payouts.jsonl"))


@pytest.mark.parametrize("address", ["", "  ", "two\nlines", "x" * 513])
def test_an_address_that_is_no_line_of_text_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(PayoutError, match="printable"):
        FileDriver(tmp_path / "x").check_address(address)


# --- a webhook ---------------------------------------------------------------------------------------------------


class Listener:
    """Plays the operator's server: checks signatures, and answers what it is told to."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.bodies: set[bytes] = set()
        self.answer: tuple[int, str] = (200, '{"state": "confirmed"}')

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        assert verify(SECRET, request.headers["ig3-signature"], body, now_s=1000.0)
        self.ids.append(request.headers["idempotency-key"])
        self.bodies.add(body)
        status, text = self.answer
        return web.Response(status=status, text=text)


@pytest.fixture
async def listener() -> AsyncIterator[tuple[Listener, WebhookDriver]]:
    played = Listener()
    app = web.Application()
    app.router.add_post("/pay", played.take)
    async with served(app) as url:
        yield played, WebhookDriver(f"{url}/pay", SECRET, clock=lambda: 1000.0)


async def test_a_webhook_is_told_the_same_signed_body_each_time(listener: tuple[Listener, WebhookDriver]) -> None:
    played, driver = listener
    assert [await pay(driver), await pay(driver)] == [Fate.CONFIRMED] * 2
    assert played.ids == ["p1", "p1"]
    assert json.loads(played.bodies.pop())["amount_nano"] == "1500000001"
    assert not played.bodies


@pytest.mark.parametrize(
    ("status", "text", "fate"),
    [
        (200, '{"state": "underway", "detail": "at the bank"}', Fate.UNDERWAY),
        (200, '{"state": "failed"}', Fate.FAILED),
        (200, "OK", Fate.UNDERWAY),
        (200, '{"state": "paid"}', Fate.UNDERWAY),
        (202, "", Fate.UNDERWAY),
        (302, "", Fate.UNDERWAY),
        (401, "", Fate.UNDERWAY),
        (422, "no such payee", Fate.FAILED),
        (429, "", Fate.UNDERWAY),
        (500, "", Fate.UNDERWAY),
    ],
)
async def test_only_a_clear_answer_of_a_webhook_ends_a_payout(
    listener: tuple[Listener, WebhookDriver], status: int, text: str, fate: Fate
) -> None:
    played, driver = listener
    played.answer = (status, text)
    assert await pay(driver) is fate


async def test_a_webhook_that_is_not_there_or_talks_without_end_leaves_the_payout_open(
    listener: tuple[Listener, WebhookDriver],
) -> None:
    with pytest.raises(PayoutError, match="did not answer"):
        await pay(WebhookDriver("http://127.0.0.1:9/pay", SECRET))
    played, driver = listener
    played.answer = (200, "x" * 100_000)
    with pytest.raises(PayoutError, match="longer than"):
        await pay(driver)


@pytest.mark.parametrize("header", ["", "t=1000", "t=1000,v1=00", "v1=ab", "t=x,v1=ab", "t=600,v1={}"])
def test_a_signature_that_is_wrong_or_old_does_not_verify(header: str) -> None:
    old = signature(SECRET, 600, b"{}").partition("v1=")[2]
    assert not verify(SECRET, header.format(old), b"{}", now_s=1000.0)
    assert not verify(SECRET, signature(SECRET, 1000, b"{}"), b"{ }", now_s=1000.0)


@pytest.mark.parametrize("url", ["http://pay.example.com/", "ftp://127.0.0.1:1/", "http://127.0.0.1.example.com/", ""])
def test_amounts_are_told_over_https_only(url: str) -> None:
    with pytest.raises(PayoutError, match="https"):
        WebhookDriver(url, SECRET)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(PayoutError, match="16 bytes"):
        WebhookDriver("https://pay.example.com/", b"short")


# --- a token -----------------------------------------------------------------------------------------------------

KEY = hashlib.sha256(b"who pays in tests").digest()
PAYEE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
TOKENS = replace(PAYOUT, driver="erc20", address=PAYEE)
UNITS = 1_500_000_001 * 10**9


@pytest.fixture
async def chain() -> AsyncIterator[EthereumChain]:
    async with EthereumChain().running() as running:
        yield running


def paying(chain: EthereumChain, **terms: int) -> Erc20Driver:
    whole = Erc20Terms(chain_id=CHAIN_ID, token=TOKEN, confirmations=3)
    driver = Erc20Driver(EthereumRpc(chain.url), replace(whole, **terms), KEY)
    chain.balances.setdefault(driver.sender.lower(), 10 * UNITS)
    return driver


async def test_a_transfer_is_confirmed_once_it_is_deep_enough(chain: EthereumChain) -> None:
    driver = paying(chain)
    prepared = await driver.prepare(TOKENS, underway=())
    fates: list[Fate] = []
    for blocks in (0, 1, 1, 1):
        if blocks:
            chain.mine(blocks)
        fates.append((await driver.hand_over(TOKENS, prepared)).fate)
    assert fates == [Fate.UNDERWAY] * 3 + [Fate.CONFIRMED]
    assert chain.balances[PAYEE.lower()] == UNITS
    assert set(chain.received) == {prepared.reference}


async def test_nothing_leaves_before_it_is_handed_over(chain: EthereumChain) -> None:
    await paying(chain).prepare(TOKENS, underway=())
    assert chain.received == []


async def test_a_lost_answer_and_a_second_driver_send_the_same_transaction_and_pay_once(chain: EthereumChain) -> None:
    driver = paying(chain)
    prepared = await driver.prepare(TOKENS, underway=())
    chain.loses_answers = 1
    with pytest.raises(PayoutError, match="did not answer"):
        await driver.hand_over(TOKENS, prepared)
    assert (await paying(chain).hand_over(TOKENS, prepared)).fate is Fate.UNDERWAY
    chain.mine(3)
    assert (await paying(chain).hand_over(TOKENS, prepared)).fate is Fate.CONFIRMED
    assert chain.received == [prepared.reference] * 2
    assert chain.balances[PAYEE.lower()] == UNITS


async def test_payouts_that_are_prepared_and_not_sent_keep_their_nonces(chain: EthereumChain) -> None:
    driver = paying(chain)
    first = await driver.prepare(TOKENS, underway=())
    assert first.sequence == 0
    second = await driver.prepare(replace(TOKENS, id="p2"), underway=(0,))
    assert second.sequence == 1
    await driver.hand_over(TOKENS, second)
    await driver.hand_over(TOKENS, first)
    chain.mine()
    chain.mine(3)
    assert (await driver.hand_over(TOKENS, second)).fate is Fate.CONFIRMED


async def test_a_nonce_that_somebody_else_has_used_fails_the_payout_once_that_is_sure(
    chain: EthereumChain,
) -> None:
    driver = paying(chain)
    ours = await driver.prepare(TOKENS, underway=())
    other = await driver.prepare(replace(TOKENS, amount_nano=10**9), underway=())
    await driver.hand_over(TOKENS, other)
    chain.mine()
    with pytest.raises(PayoutError, match="nonce too low"):
        await driver.hand_over(TOKENS, ours)
    chain.mine(3)
    assert (await driver.hand_over(TOKENS, ours)).fate is Fate.FAILED


async def test_a_transfer_that_is_reverted_fails(chain: EthereumChain) -> None:
    driver = paying(chain)
    prepared = await driver.prepare(TOKENS, underway=())
    chain.balances[driver.sender.lower()] = 0
    await driver.hand_over(TOKENS, prepared)
    chain.mine(3)
    assert (await driver.hand_over(TOKENS, prepared)).fate is Fate.FAILED


@pytest.mark.parametrize(
    ("world", "terms", "says"),
    [
        ({"chain_id": 1}, {}, "chain 1"),
        ({"base_fee_wei": 10**12}, {}, "gas costs"),
        ({"decimals": 6}, {}, "6 decimals"),
        ({"decimals": 200}, {}, "no token"),
    ],
)
async def test_a_transfer_that_should_not_be_made_is_not_signed(
    world: dict[str, int], terms: dict[str, int], says: str, chain: EthereumChain
) -> None:
    for name, number in world.items():
        setattr(chain, name, number)
    with pytest.raises(PayoutError, match=says):
        await paying(chain, **terms).prepare(TOKENS, underway=())


async def test_more_than_the_sender_has_is_not_signed(chain: EthereumChain) -> None:
    driver = paying(chain)
    chain.balances[driver.sender.lower()] = 1
    with pytest.raises(PayoutError, match="exceeds balance"):
        await driver.prepare(TOKENS, underway=())


def test_an_address_is_taken_with_its_checksum_or_without_one() -> None:
    assert checksum(PAYEE) == checksum(PAYEE.lower()) == PAYEE


@pytest.mark.parametrize("address", ["", "0x12", PAYEE[:-1], PAYEE.replace("C51", "c51"), PAYEE + "0", "0x" + "g" * 40])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(PayoutError, match=r"address|checksum"):
        checksum(address)


@pytest.mark.parametrize("address", [TOKEN, "0x" + "0" * 40])
def test_where_tokens_would_be_lost_nothing_is_paid(address: str) -> None:
    driver = Erc20Driver(EthereumRpc("http://127.0.0.1:9"), Erc20Terms(chain_id=1, token=TOKEN), KEY)
    with pytest.raises(PayoutError, match="lost"):
        driver.check_address(address)


def test_a_key_that_is_none_is_refused_and_not_shown() -> None:
    with pytest.raises(PayoutError, match="64 hex digits") as caught:
        Erc20Driver(EthereumRpc("http://127.0.0.1:9"), Erc20Terms(chain_id=1, token=TOKEN), b"\0" * 31)
    assert caught.value.__cause__ is None
