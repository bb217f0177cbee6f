"""What lies in suspense is corrected once, by a person, and the books stay whole."""

import json
from pathlib import Path

import pytest

from gateway.commands import ledger_books, ledger_show
from gateway.commands import suspense as suspense_command
from gateway.errors import LedgerError
from gateway.ledger.correcting import correct, read_suspense
from gateway.ledger.entries import deposit
from gateway.ledger.sealing import seal
from gateway.ledger.verifying import verify
from mesh.history.snapshots import SnapshotStore
from streams.billing.events import LedgerPosted, Posting, Transaction
from streams.billing.subjects import account_chain
from streams.codec import encode
from streams.errors import UndecodableEvent
from streams.ledger.chain import month_of
from streams.ledger.corrections import read_part
from streams.ledger.periods import ends_ms, month_after
from streams.tokens import Token
from tests.books import (
    CURRENCY,
    MODEL,
    UNIT,
    ask_hold,
    completed,
    end,
    key_of,
    open_books,
    paid_in,
    priced,
    running_ledger,
)
from tests.ledger_shell import ledger_shell
from tests.mesh_in_process import InProcessMesh
from tests.processes import until

ACME = Token("acme")
HELD = 10 * 10 + 20 * 100


async def test_an_entry_in_suspense_is_corrected_once_and_the_books_stay_whole(tmp_path: Path) -> None:
    async with InProcessMesh(folder=tmp_path / "mesh") as mesh:
        core = mesh.bus.core
        await priced(core)
        await paid_in(core, ACME)
        async with running_ledger(mesh) as ledger:
            state, key = ledger.books.state, key_of(ACME)
            await ask_hold(core, key, prompt=10, completion=20)
            await end(core, key, completed(prompt=10, completion=21))
            await until(lambda: state.balance("suspense", CURRENCY) == HELD)
            (entry,) = (await read_suspense(core)).newest_first
            assert (entry.account, entry.code, entry.lies_nano) == (ACME, "above_hold", HELD)
            books = await open_books(core)
            with pytest.raises(LedgerError, match="no entry"):
                await correct(books, ACME, "charge:none", (read_part("back", ACME),), by="op")
            with pytest.raises(UndecodableEvent, match=r"billing\.acme, and is not written"):
                await deposit(books, ACME, 7, "e u", reference="nobody could read that again", by="op")
            month = month_of(state.chain(account_chain(ACME).subject).at_ms)
            sealed = await seal(core, month, at_ms=ends_ms(month))
            assert sealed.is_new
            parts = (read_part("fees=0.0000005", ACME), read_part("back", ACME))
            assert await correct(books, ACME, entry.id, parts, by="op", note="seen")
            assert not await correct(books, ACME, entry.id, (read_part("fees", ACME),), by="op")
            await books.stop()
            await ledger.books.catch_up()
            has = {name: state.balance(name, CURRENCY) for name in ("suspense", "held:acme", "fees", "user:acme")}
            assert has == {"suspense": 0, "held:acme": 0, "fees": 500, "user:acme": UNIT - 500}
            page = state.usage.page(ACME, "2000-01-01", "9999-12-31")
            # On the invoice of the month that is open, however far behind the clock of whoever corrects is.
            shown = [(row.day, row.model, row.corrections, row.tasks, row.amount_nano) for row in page.rows]
            assert shown == [(f"{month_after(month)}-01", MODEL, 1, 0, 500)]
            # And in the budget of the month of the hold, where all of it had counted.
            chain = state.chain(account_chain(ACME).subject)
            assert [chain.spent_nano(each, CURRENCY) for each in (month, month_after(month))] == [500, 0]
            store = SnapshotStore(tmp_path)
            assert (await verify(core, store)).differences == ()
            (after,) = (await read_suspense(core, ACME)).newest_first
            assert after.correction is not None
            assert (after.correction.note, after.lies_nano) == ("seen", 0)

            chain = ledger.books.state.chain(account_chain(ACME).subject)
            forged = Transaction(
                id="correction:charge:nothing",
                kind="correction",
                at_ms=chain.at_ms,
                currency=CURRENCY,
                postings=(
                    Posting(account="suspense", amount_nano=-7),
                    Posting(account="user:acme", amount_nano=7),
                ),
            )
            event = LedgerPosted(at_ms=chain.at_ms, previous=chain.digest, transactions=(forged,))
            await core.append(account_chain(ACME).subject, encode(event))
            (difference,) = (await verify(core, store)).differences
            assert "corrects what is not in suspense" in difference.detail


async def test_the_commands_show_what_lies_there_and_what_became_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with InProcessMesh(folder=tmp_path / "mesh") as mesh:
        core = mesh.bus.core
        await priced(core)
        await paid_in(core, ACME)
        async with running_ledger(mesh) as ledger:
            key = key_of(ACME)
            await ask_hold(core, key, prompt=10, completion=20)
            await end(core, key, b"garbage")
            await until(lambda: ledger.books.state.balance("suspense", CURRENCY) == HELD)

        ig3 = ledger_shell(mesh, tmp_path, monkeypatch, ledger_books, suspense_command, ledger_show)
        entry = f"charge:{key.task}"
        (line,) = map(json.loads, (await ig3("suspense", "--open", "--json")).splitlines())
        assert (line["entry"], line["code"], line["amount"]) == (entry, "unreadable", "0.0000021")
        said = await ig3("correct", "acme", entry, "--to", "node:n1=0.000002", "--to", "back", "--note", "by hand")
        assert said == f"{entry}: 0.000002 to node:n1, 0.0000001 to user:acme\n"
        said = await ig3("correct", "acme", entry, "--to", "fees", "--note", "again")
        assert said == f"{entry} was corrected before (0.000002 to node:n1, 0.0000001 to user:acme): nothing moved\n"
        assert await ig3("suspense", "--open", "--json") == ""
        assert "node:n1, user:acme: by hand" in await ig3("suspense", "--account", "acme")
        *_, last = map(json.loads, (await ig3("statement", "acme", "--json")).splitlines())
        assert (last["kind"], last["change"]) == ("correction", "0.0000001")
        assert last["note"] == "0.000002 to node:n1, 0.0000001 to user:acme: by hand"
