"""When a broker takes no new tasks: before its store is full, and until there is clearly room again."""

import pytest
from msgspec.structs import replace

from mesh.broker.store_room import MIB, Measured, StoreLimits, may_start_again, shortage

LIMITS = StoreLimits(edge_bytes=750 * MIB, core_bytes=250 * MIB)
ROOMY = Measured(disk_free_bytes=1000 * MIB, edge_bytes=0, core_bytes=0)


def test_a_store_with_room_takes_tasks() -> None:
    assert shortage(LIMITS, ROOMY, was_short=False) is None


@pytest.mark.parametrize(
    ("limit_mib", "reserve_mib"), [(1000, 50), (64, 8), (1_000_000, 256)], ids=["a twentieth", "at least", "at most"]
)
def test_a_part_of_the_disk_is_kept_for_tasks_that_run(limit_mib: int, reserve_mib: int) -> None:
    limits = StoreLimits(edge_bytes=limit_mib * MIB // 2, core_bytes=limit_mib * MIB // 2)
    enough = replace(ROOMY, disk_free_bytes=reserve_mib * MIB)
    less = replace(ROOMY, disk_free_bytes=reserve_mib * MIB - 1)
    assert shortage(limits, enough, was_short=False) is None
    assert shortage(limits, less, was_short=False) == f"its disk has only {reserve_mib - 1} MiB left"


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (replace(ROOMY, edge_bytes=720 * MIB), "its store of answers holds 720 of 750 MiB (store_limit)"),
        (replace(ROOMY, core_bytes=240 * MIB), "its store of ends holds 240 of 250 MiB (store_limit)"),
        (replace(ROOMY, fault="no space left on device"), "its store takes nothing: no space left on device"),
    ],
)
def test_it_says_what_is_full(found: Measured, reason: str) -> None:
    assert shortage(LIMITS, found, was_short=False) == reason


def test_once_short_it_waits_for_half_a_reserve_more() -> None:
    a_little_more = replace(ROOMY, disk_free_bytes=60 * MIB)
    assert shortage(LIMITS, a_little_more, was_short=False) is None
    assert shortage(LIMITS, a_little_more, was_short=True) is not None
    assert shortage(LIMITS, replace(ROOMY, disk_free_bytes=75 * MIB), was_short=True) is None


def test_a_server_that_cannot_write_is_started_again_once_there_is_half_a_reserve() -> None:
    fault = replace(ROOMY, fault="no space left on device")
    assert may_start_again(LIMITS, replace(fault, disk_free_bytes=25 * MIB))
    assert not may_start_again(LIMITS, replace(fault, disk_free_bytes=25 * MIB - 1))
