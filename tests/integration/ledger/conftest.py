"""What all tests of the ledger have: patience with this machine."""

from collections.abc import Iterator

import pytest

from tests.patient_links import wait_for_answers


@pytest.fixture(scope="module", autouse=True)
def answers() -> Iterator[None]:
    """No answer of the broker counts as lost because this machine is slow."""
    with pytest.MonkeyPatch.context() as patch:
        wait_for_answers(patch)
        yield
