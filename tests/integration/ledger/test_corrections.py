"""What lies in suspense is corrected once, by a person, and the books stay whole."""

from pathlib import Path

import pytest

from gateway.errors import LedgerError
from gateway.ledger.correcting import correct, read_suspense
from gateway.ledger.verifying import verify
from mesh.history.snapshots import SnapshotStore
from streams.billing_events import LedgerPosted, Posting, Transaction
from streams.billing_subjects import account_chain
from streams.codec import encode
from streams.ledger.corrections import read_part
from streams.tokens import Token
from tests.books import CURRENCY, UNIT, ask_hold, completed, end, key_of, open_books, paid_in, priced, running_ledger
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
            parts = (read_part("fees=0.0000005", ACME), read_part("back", ACME))
            assert await correct(books, ACME, entry.id, parts, by="op", note="seen")
            assert not await correct(books, ACME, entry.id, (read_part("fees", ACME),), by="op")
            await books.stop()
            await ledger.books.catch_up()
            has = {name: state.balance(name, CURRENCY) for name in ("suspense", "held:acme", "fees", "user:acme")}
            assert has == {"suspense": 0, "held:acme": 0, "fees": 500, "user:acme": UNIT - 500}
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
