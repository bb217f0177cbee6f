"""What all tests of the ledger have: patience with this machine."""

from collections.abc import Iterator

import pytest

from gateway.cache import nats_store
from gateway.usage.ledger_reads import LedgerReads
from tests.patient_links import LONG, wait_for_answers


@pytest.fixture(scope="module", autouse=True)
def answers() -> Iterator[None]:
    """No answer of the broker, of a ledger or of the cache counts as lost because this machine is slow."""
    with pytest.MonkeyPatch.context() as patch:
        wait_for_answers(patch)
        patch.setattr(LedgerReads._asked, "__defaults__", (LONG,))
        patch.setattr(nats_store, "_LONGEST", LONG)
        yield
