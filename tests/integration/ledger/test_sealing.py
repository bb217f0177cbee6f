"""A month that is over is sealed once, whoever does it, and its archive is checked against the seal."""

import asyncio
import itertools
import stat
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.commands import ledger_show
from gateway.commands import seal as seal_command
from gateway.errors import LedgerError
from gateway.ledger import sealing
from gateway.ledger.archive import check_archive, write_archive
from gateway.ledger.entries import deposit
from gateway.ledger.sealing import CHAIN, due, read_seals, seal
from gateway.ledger.verifying import verify
from mesh.bus.link import Link
from mesh.history.book import write_book
from mesh.history.snapshots import SnapshotStore
from mesh.history.stream_facts import stream_facts
from streams.clock import now_ms
from streams.ledger.chain import month_of
from streams.ledger.periods import ends_ms, month_after
from streams.tokens import Token
from streams.topology import BILLING
from tests.books import CURRENCY, open_books
from tests.ledger_shell import ledger_shell
from tests.mesh_in_process import InProcessMesh
from tests.processes import until

ACME = Token("acme")
_REFERENCES = itertools.count(1)


async def pay_in(core: Link, times: int = 1) -> None:
    books = await open_books(core)
    for _ in range(times):
        reference = f"paid-{next(_REFERENCES)}"
        await deposit(books, ACME, 7, CURRENCY, reference=reference, by="a test")
    await books.stop()


async def test_a_month_is_sealed_once_when_it_is_over_and_its_archive_is_what_was_sealed(tmp_path: Path) -> None:
    async with InProcessMesh(folder=tmp_path / "mesh") as mesh:
        core, snapshots = mesh.bus.core, SnapshotStore(tmp_path / "snapshots")
        with pytest.raises(LedgerError, match="empty"):
            await due(core)
        await pay_in(core, 3)
        month = month_of(now_ms())
        over = ends_ms(month)
        for refused in (seal(core, month), seal(core, month, at_ms=over - 1), due(core)):
            with pytest.raises(LedgerError, match="not over"):
                await refused
        with pytest.raises(LedgerError, match=f"next month to seal is {month}"):
            await seal(core, month_after(month), at_ms=ends_ms(month_after(month)))

        both = await asyncio.gather(seal(core, month, at_ms=over), seal(core, month, at_ms=over))
        assert sorted(each.is_new for each in both) == [False, True]
        first = both[0].seal
        assert (first.first_sequence, first.last_sequence, first.events, first.transactions) == (1, 3, 3, 3)
        assert [(each.account, each.amount_nano) for each in first.totals] == [("outside", -21)]
        await pay_in(core, 2)
        assert await seal(core, month, at_ms=over) == (first, False)
        assert await due(core, at_ms=over) == [month]

        archive = await write_archive(core, first, tmp_path / "archive")
        again = await write_archive(core, first, tmp_path / "archive")
        assert archive == again
        assert archive.name == f"books-{month}-{first.digest[:16]}.jsonl"
        assert [path.name for path in archive.parent.iterdir()] == [archive.name]
        assert stat.S_IMODE(archive.stat().st_mode) == 0o600
        found = check_archive(archive, await read_seals(core))
        assert (found.period, found.events, found.differences) == (month, 3, ())

        following = month_after(month)
        assert await due(core, at_ms=ends_ms(following)) == [following]
        second = (await seal(core, following, at_ms=ends_ms(following))).seal
        # The seal of the month before is an event of this one.
        assert (second.first_sequence, second.last_sequence, second.events, second.transactions) == (4, 6, 3, 2)
        empty = (await seal(core, month_after(following), at_ms=ends_ms(month_after(following)))).seal
        assert (empty.first_sequence, empty.events) == (7, 1)
        report = await verify(core, snapshots)
        assert (report.differences, report.seals_compared) == ((), 3)

        forged = replace(empty, period=month_after(empty.period), events=5, first_sequence=8, last_sequence=8)
        await write_book(core, CHAIN, lambda _: forged)
        named = [each for each in (await verify(core, snapshots)).differences if each.where == CHAIN.subject]
        assert {each.detail for each in named} >= {f"{forged.period}: events is not what was sealed"}
        with pytest.raises(LedgerError, match="does not hold any more"):
            await write_archive(core, forged, tmp_path / "archive")
        assert [path.name for path in archive.parent.iterdir()] == [archive.name]


async def test_a_month_has_the_events_that_the_broker_stored_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with InProcessMesh(folder=tmp_path / "mesh") as mesh:
        core = mesh.bus.core
        await pay_in(core, 2)
        last_at = (await stream_facts(core, BILLING)).last_at
        assert last_at is not None
        over = int(last_at.timestamp() * 1000) + 1
        await until(lambda: now_ms() > over)
        await pay_in(core)
        monkeypatch.setattr(sealing, "ends_ms", lambda _: over)
        found = (await seal(core, month_of(over))).seal
        assert (found.last_sequence, found.events) == (2, 2)


async def test_an_archive_that_is_not_what_was_sealed_is_named_line_by_line(tmp_path: Path) -> None:
    async with InProcessMesh(folder=tmp_path / "mesh") as mesh:
        core = mesh.bus.core
        await pay_in(core, 3)
        month = month_of(now_ms())
        sealed = (await seal(core, month, at_ms=ends_ms(month))).seal
        good = (await write_archive(core, sealed, tmp_path)).read_bytes()
    head, *lines = good.splitlines(keepends=True)
    changed = tmp_path / "changed.jsonl"

    def differences(content: bytes) -> list[tuple[str, str]]:
        changed.write_bytes(content)
        return [(each.where, each.detail.split(":")[0]) for each in check_archive(changed, (sealed,)).differences]

    not_sealed = (month, "these 2 events are not the 3 that were sealed")
    other_events = (month, "these 3 events are not the 3 that were sealed")
    assert differences(good) == []
    assert differences(b"".join((head, *lines[:2]))) == [not_sealed]
    assert differences(b"".join((head, lines[1], lines[0], lines[2]))) == [other_events]
    assert differences(good.replace(b'"amount_nano":7', b'"amount_nano":8', 1)) == [
        ("line 2", "it shows another event than its body is")
    ]
    assert differences(b"".join((head, lines[0], b"{}\n", lines[2]))) == [
        ("line 3", "it is no event of the books"),
        other_events,
    ]
    assert differences(good.replace(b'"events":3', b'"events":4')) == [
        ("line 1", f"that is not the seal of {month} that stands on the log")
    ]
    assert check_archive(tmp_path / changed.name, ()).differences[0].detail == "it is not sealed on the log"
    for content, why in ((b"", "no archive"), (head.replace(b"ig3-books 1", b"ig3-books 9"), "newer")):
        changed.write_bytes(content)
        with pytest.raises(LedgerError, match=why):
            check_archive(changed, (sealed,))
    with pytest.raises(LedgerError, match="cannot be read"):
        check_archive(tmp_path / "none", (sealed,))


async def test_the_commands_seal_what_is_over_and_check_its_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with InProcessMesh(folder=tmp_path / "mesh") as mesh:
        await pay_in(mesh.bus.core, 3)
        month = month_of(now_ms())

        async def later(_: Link) -> int:
            return ends_ms(month)

        monkeypatch.setattr(sealing, "by_both_clocks", later)
        ig3 = ledger_shell(mesh, tmp_path, monkeypatch, seal_command, ledger_show)
        (sealed,) = (await ig3("seal")).splitlines()
        assert sealed.startswith(f"{month} is sealed: 3 events up to 3, 3 transactions, ")
        again, archived = (await ig3("seal", month, "--archive", str(tmp_path / "books"))).splitlines()
        assert again == sealed.replace("is sealed", "was sealed before")
        (archive,) = (tmp_path / "books").iterdir()
        assert archived == f"archived to {archive}"
        said = await ig3("verify", "--archive", str(archive))
        assert said == f"{archive.name}: 3 events of {month}\nthey are what was sealed\n"
        assert "1 sealed months" in await ig3("verify")
        exported = (await ig3("export")).splitlines()
        assert exported[:3] == archive.read_text().splitlines()[1:]
        archive.write_text("".join(archive.read_text().splitlines(keepends=True)[:-1]))
        assert "these 2 events are not the 3" in await ig3("verify", "--archive", str(archive), status=1)
