"""What outlasts a process of what it knew of the chain, and what several processes know together."""

import asyncio

import pytest

from mesh.errors import NotProven, ResolverUnavailable
from mesh.identity.accounts import substrate_account
from mesh.identity.did import did_peaq
from mesh.identity.keys import SigningKey
from mesh.identity.peaq import readings
from mesh.identity.peaq.options import DEFAULT_ATTRIBUTE, CacheOptions
from mesh.identity.peaq.readings import Readings, ReadingStore, Remembered
from mesh.identity.peaq.resolver import Authenticated, DidResolver
from mesh.identity.peaq.rules import ResolverOptions
from mesh.identity.subject_proof import Proof, prove
from tests.unit.peaq_source import Chain

CHALLENGE = b"challenge"
KEY = SigningKey.generate("sr25519")
DID = did_peaq(substrate_account(KEY.public))
OPTIONS = CacheOptions(found_s=300, missing_s=30, stale_s=3600, wait_s=5)
UNIX_S = 1_767_225_600
"""What clocks on the wall show when that of the chain shows 0."""


class Store:
    """Keeps what it is given, unless it is away."""

    def __init__(self) -> None:
        self.kept: dict[str, Remembered] = {}
        self.is_away = False

    async def recall(self, name: str) -> Remembered | None:
        return None if self.is_away else self.kept.get(name)

    async def remember(self, name: str, remembered: Remembered) -> None:
        self.kept[name] = remembered


class Process:
    """An identity service, as far as it reads the chain. Clocks that only count begin anew with each process."""

    def __init__(self, chain: Chain, store: ReadingStore) -> None:
        begun_s = chain.now_s
        self.readings = Readings(
            chain, OPTIONS, clock=lambda: chain.now_s - begun_s, wall_clock=lambda: UNIX_S + chain.now_s
        )
        self.resolver = DidResolver(ResolverOptions(methods=("peaq",), attribute=DEFAULT_ATTRIBUTE), self.readings)
        self.resolver.share(store)

    async def log_in(self, proof: Proof | None = None) -> Authenticated:
        found = await self.resolver.authenticate(DID, proof or prove(DID, KEY, CHALLENGE), CHALLENGE)
        await self.readings.close()
        return found


@pytest.fixture
def chain() -> Chain:
    made = Chain()
    made.put(DID)
    return made


@pytest.fixture
def store() -> Store:
    return Store()


async def test_a_did_that_was_proven_before_a_restart_is_known_during_an_outage_up_to_the_same_limit(
    chain: Chain, store: Store
) -> None:
    await Process(chain, store).log_in()
    read_at_ms = (UNIX_S + 1000) * 1000
    chain.is_down = True
    for passed_s in (1800, 1799, 1):
        chain.now_s += passed_s
        found = await Process(chain, store).log_in()
        assert (found.is_stale, found.unconfirmed, found.read_at_ms) == (True, "down", read_at_ms)
    chain.now_s += 1
    with pytest.raises(ResolverUnavailable):
        await Process(chain, store).log_in()


async def test_one_that_nobody_proved_is_not_remembered(chain: Chain, store: Store) -> None:
    with pytest.raises(NotProven):
        await Process(chain, store).log_in(Proof(algorithm="sr25519", signature=bytes(64)))
    chain.is_down = True
    with pytest.raises(ResolverUnavailable):
        await Process(chain, store).log_in()
    assert store.kept == {}


async def test_what_is_remembered_lets_nobody_else_in(chain: Chain, store: Store) -> None:
    await Process(chain, store).log_in()
    chain.is_down = True
    with pytest.raises(NotProven):
        await Process(chain, store).log_in(Proof(algorithm="sr25519", signature=bytes(64)))


async def test_what_one_process_read_a_moment_ago_serves_another_without_asking_again(
    chain: Chain, store: Store
) -> None:
    await Process(chain, store).log_in()
    for passed_s, reads in ((300, 1), (1, 2)):
        chain.now_s += passed_s
        assert (await Process(chain, store).log_in()).is_stale is False
        assert chain.reads == reads


async def test_that_a_did_was_removed_is_known_to_all_as_soon_as_one_has_seen_it(chain: Chain, store: Store) -> None:
    first, second = Process(chain, store), Process(chain, store)
    await first.log_in()
    await second.log_in()
    chain.now_s += 301
    chain.entries.clear()
    with pytest.raises(NotProven, match="not_on_chain"):
        await first.log_in()
    await first.readings.close()
    chain.is_down = True
    chain.now_s += 31
    for process in (first, second, Process(chain, store)):
        with pytest.raises(ResolverUnavailable):
            await process.log_in()


async def test_a_later_reading_of_its_own_is_not_given_up_for_an_older_one(chain: Chain, store: Store) -> None:
    await Process(chain, store).log_in()
    older = store.kept[DID.text]
    chain.now_s += 3000
    process = Process(chain, store)
    await process.log_in()
    store.kept[DID.text] = older
    chain.is_down = True
    chain.now_s += 3000
    assert (await process.log_in()).read_at_ms == older.read_at_ms + 3_000_000


async def test_a_reading_from_the_future_is_not_believed(chain: Chain, store: Store) -> None:
    await Process(chain, store).log_in()
    chain.is_down = True
    for ahead_s, is_believed in ((59, True), (61, False)):
        at_ms = int(UNIX_S + chain.now_s + ahead_s) * 1000
        store.kept[DID.text] = store.kept[DID.text]._replace(read_at_ms=at_ms)
        if is_believed:
            assert (await Process(chain, store).log_in()).age_s == 0
        else:
            with pytest.raises(ResolverUnavailable):
                await Process(chain, store).log_in()


async def test_a_store_that_is_away_takes_nothing_from_those_who_can_be_looked_up(chain: Chain, store: Store) -> None:
    store.is_away = True
    assert (await Process(chain, store).log_in()).is_stale is False
    chain.is_down = True
    with pytest.raises(ResolverUnavailable):
        await Process(chain, store).log_in()


async def test_while_the_chain_is_silent_one_who_is_known_does_not_wait_until_the_broker_gives_up(
    chain: Chain, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readings, "_FIRST_PATIENCE_S", 0.05)
    await Process(chain, store).log_in()
    chain.now_s += 301
    chain.gate = asyncio.Event()
    process = Process(chain, store)
    found = await process.resolver.authenticate(DID, prove(DID, KEY, CHALLENGE), CHALLENGE)
    assert found.unconfirmed == "the chain was not read within 0.05 s"
    await process.readings.close()
