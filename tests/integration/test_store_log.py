"""A store's chain over a real broker: two who write at once both count, and what was erased is gone for all."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio

from gateway.retrieval.errors import StoreOver, TooManyStores
from gateway.retrieval.passage_log import PassageLog
from gateway.retrieval.store_log import StoreLog
from mesh.bus.appends import Fence
from mesh.inspection.account_erasure import AccountErasure
from streams.stores.events import StoreClosed, StoreFileAdded, StoreOpened
from streams.stores.fold import StoreState
from streams.stores.passages import Passage, PassageBatch, Place
from streams.stores.subjects import PassagesKey, StoreKey, passages_of_store
from streams.tokens import Token
from streams.topology import stream_specs
from tests.mesh_in_process import InProcessMesh

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("patient_answers")]

OPENED = StoreOpened(at_ms=1, model="m")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[InProcessMesh]:
    async with InProcessMesh(folder=tmp_path_factory.mktemp("mesh")) as running:
        yield running


@pytest.fixture
def account() -> Token:
    """One that no other test writes to."""
    return Token(f"a{uuid4().hex}")


async def add(log: StoreLog, key: StoreKey, number: int) -> None:
    def decide(state: StoreState) -> StoreFileAdded | None:
        file = f"file-{number}"
        return None if file in state.files else StoreFileAdded(at_ms=2, file=file, filename="a")

    await log.note(key, decide)


async def test_two_who_write_at_once_both_count_and_a_third_reads_what_they_wrote(
    mesh: InProcessMesh, account: Token
) -> None:
    one, other, third = (StoreLog(mesh.bus.core) for _ in range(3))
    opened = await one.open(account, OPENED)
    for number in range(0, 300, 2):
        await asyncio.gather(add(one, opened.key, number), add(other, opened.key, number + 1))
    standings = [await log.find(opened.key) for log in (one, other, third)]
    assert {None if found is None else (found.sequence, len(found.state.files)) for found in standings} == {
        (opened.sequence + 300, 300)
    }
    assert await third.list_all(account) == (opened.key.store,)
    assert await third.find(StoreKey(Token("other"), opened.key.store)) is None


async def test_a_store_that_is_forgotten_while_something_is_noted_on_it_is_read_again(
    mesh: InProcessMesh, account: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.retrieval.store_log._REMEMBERED", 1)
    log, core = StoreLog(mesh.bus.core), mesh.bus.core
    key, other = [(await log.open(account, OPENED)).key for _ in range(2)]
    append = core.append

    async def read_another(subject: str, data: bytes, fence: Fence) -> int:
        sequence = await append(subject, data, fence=fence)
        await log.find(other)
        return sequence

    monkeypatch.setattr(core, "append", read_another)
    noted = await log.note(key, lambda _: StoreFileAdded(at_ms=2, file="file-1", filename="a"))
    assert noted is not None
    assert (noted.key, list(noted.state.files)) == (key, ["file-1"])


async def test_nothing_is_noted_on_a_store_that_is_closed(mesh: InProcessMesh, account: Token) -> None:
    log = StoreLog(mesh.bus.core)
    key = (await log.open(account, OPENED)).key
    await log.note(key, lambda _: StoreClosed(at_ms=2))
    await add(StoreLog(mesh.bus.core), key, 1)
    found = await log.find(key)
    assert found is not None
    assert (found.state.is_closed, found.state.files) == (True, {})


async def test_of_two_who_open_the_last_store_that_an_account_may_have_one_does(
    mesh: InProcessMesh, account: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.retrieval.store_log.MOST_STORES", 3)
    logs = [StoreLog(mesh.bus.core) for _ in range(4)]
    ends = await asyncio.gather(*(log.open(account, OPENED) for log in logs for _ in range(2)), return_exceptions=True)
    opened = [end for end in ends if not isinstance(end, BaseException)]
    assert (len(opened), sum(isinstance(end, TooManyStores) for end in ends)) == (3, 5)
    assert sorted(await logs[0].list_all(account)) == sorted(one.key.store for one in opened)
    assert (await logs[0].open(Token(f"b{account}"), OPENED)).state.files == {}


async def test_stores_that_were_closed_or_have_expired_take_nobodys_place(
    mesh: InProcessMesh, account: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.retrieval.store_log.MOST_STORES", 2)
    log, passing = StoreLog(mesh.bus.core), StoreOpened(at_ms=1, model="m", expires_after_days=1)
    closed, said, unsaid = [(await log.open(account, one)).key for one in (OPENED, passing, passing)]
    await log.note(closed, lambda _: StoreClosed(at_ms=2))
    await log.note(said, lambda _: None)
    assert (await log.open(account, OPENED)).sequence < (await log.open(account, OPENED)).sequence
    with pytest.raises(TooManyStores):
        await log.open(account, OPENED)
    listed = await log.list_all(account)
    assert (len(listed), closed.store in listed, {said.store, unsaid.store} < {*listed}) == (4, False, True)


async def test_whoever_writes_to_a_store_whose_time_is_over_says_so_first(mesh: InProcessMesh, account: Token) -> None:
    log = StoreLog(mesh.bus.core)
    opened = await log.open(account, StoreOpened(at_ms=1, model="m", expires_after_days=1))
    with pytest.raises(StoreOver):
        await add(log, opened.key, 1)
    found = await StoreLog(mesh.bus.core).find(opened.key)
    assert found is not None
    assert (found.sequence, found.state.is_expired, found.state.files) == (opened.sequence + 1, True, {})
    closed = await log.note(opened.key, lambda _: StoreClosed(at_ms=2))
    assert closed is not None
    assert closed.state.is_closed


async def test_a_store_of_an_account_that_was_erased_is_gone_for_whoever_remembers_it(
    mesh: InProcessMesh, account: Token
) -> None:
    log = StoreLog(mesh.bus.core)
    key = (await log.open(account, OPENED)).key
    await (await AccountErasure.begin(mesh.bus, account, stream_specs())).run()
    assert await log.find(key) is None
    assert await log.list_all(account) == ()


async def test_two_who_sweep_the_same_passages_both_succeed(mesh: InProcessMesh, account: Token) -> None:
    key, log = StoreKey(account, Token("vs_1")), PassageLog(mesh.bus.core)
    passage = Passage(number=0, text="a", place=Place(first=0, last=1), tokens=1, vector=bytes(4))
    for part in range(40):
        await log.put(PassagesKey(key, Token("file-1"), 7, part), PassageBatch(model="m", passages=(passage,)))
    wanted = PassagesKey(key, Token("file-1"), 7, 3)
    sweeps = [log.sweep(passages_of_store(key), lambda held: held == wanted) for _ in range(4)]
    assert sum(await asyncio.gather(*sweeps)) >= 39
    assert await log.held(passages_of_store(key)) == [wanted]
