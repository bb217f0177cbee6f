"""The fold of DEVICES: who may take part, whatever order the events come in."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.devices.fold import Device, Devices, Standing
from streams.events import (
    DeviceAdmitted,
    DeviceEvent,
    DeviceLost,
    DeviceRegistered,
    DeviceReturned,
    DeviceRevoked,
    DeviceSuspended,
    DeviceUnconfirmed,
    DeviceVerified,
)
from streams.tokens import Token

A, B = Token("a"), Token("b")
ALICE, BOB = "did:key:alice", "did:key:bob"


def verified(node: Token, did: str) -> DeviceVerified:
    return DeviceVerified(at_ms=1, node=node, did=did, proved_by="subject")


def admitted(node: Token, did: str | None = None) -> DeviceAdmitted:
    return DeviceAdmitted(at_ms=2, node=node, by="operator", did=did)


def suspended(node: Token) -> DeviceSuspended:
    return DeviceSuspended(at_ms=3, node=node, by="operator", reason="odd", task="t1")


def revoked(node: Token) -> DeviceRevoked:
    return DeviceRevoked(at_ms=4, node=node, by="operator", reason="stolen")


def fold(*events: DeviceEvent) -> Devices:
    devices = Devices()
    for event in events:
        devices.apply(Token(event.node), event)
    return devices


def standing(devices: Devices, node: Token = A) -> Standing | None:
    device = devices.device(node)
    return None if device is None else device.standing


def test_a_device_that_proved_itself_waits_to_be_admitted() -> None:
    devices = fold(verified(A, ALICE))
    assert standing(devices) is Standing.VERIFIED
    assert devices.waiting() == 1
    assert standing(fold(verified(A, ALICE), admitted(A))) is Standing.ADMITTED


def test_a_name_belongs_to_the_first_did_and_a_did_has_one_name() -> None:
    devices = fold(verified(A, ALICE), verified(A, BOB), verified(B, ALICE))
    assert devices.all() == (
        Device(node=A, did=ALICE, standing=Standing.VERIFIED, verified_at_ms=1, proved_by="subject", changed_at_ms=1),
        Device(node=B),
    )
    assert devices.device_of(BOB) is None
    assert devices.device_of(ALICE) == devices.device(A)


def test_a_name_can_be_kept_for_a_did_that_is_still_to_come() -> None:
    expected = fold(admitted(A, ALICE))
    assert standing(expected) is Standing.UNPROVEN
    assert standing(fold(admitted(A, ALICE), verified(A, BOB))) is Standing.UNPROVEN
    come = fold(admitted(A, ALICE), verified(A, ALICE)).device(A)
    assert come is not None
    assert (come.standing, come.is_expected) == (Standing.ADMITTED, False)


def test_a_name_without_a_did_is_kept_for_nobody() -> None:
    devices = fold(DeviceRegistered(at_ms=1, node=A, software="x"), admitted(A), verified(A, BOB))
    assert standing(devices) is Standing.VERIFIED


def test_a_suspended_device_can_be_admitted_again_and_a_revoked_one_never() -> None:
    assert standing(fold(verified(A, ALICE), admitted(A), suspended(A))) is Standing.SUSPENDED
    assert standing(fold(verified(A, ALICE), admitted(A), suspended(A), admitted(A))) is Standing.ADMITTED
    gone = fold(verified(A, ALICE), admitted(A), revoked(A), admitted(A), suspended(A), verified(A, ALICE))
    assert standing(gone) is Standing.REVOKED
    assert standing(fold(verified(A, ALICE), revoked(A), verified(B, ALICE)), B) is Standing.UNPROVEN


def owned(node: Token, owner: str | None = None, stake: int | None = None) -> DeviceAdmitted:
    return DeviceAdmitted(at_ms=2, node=node, by="operator", owner=owner, stake=stake)


def test_an_owner_and_a_stake_hold_until_an_operator_says_otherwise() -> None:
    known = (verified(A, ALICE), owned(A, "lab", 5))

    def of(*events: DeviceEvent) -> tuple[str | None, int]:
        device = fold(*known, *events).device(A)
        assert device is not None
        return device.owner, device.stake

    assert of() == ("lab", 5)
    assert of(suspended(A), admitted(A), verified(A, ALICE)) == ("lab", 5)
    assert of(owned(A, "other")) == ("other", 5)
    assert of(owned(A, "", 0)) == (None, 0)


def test_proving_anew_lifts_no_suspension() -> None:
    assert standing(fold(verified(A, ALICE), suspended(A), verified(A, ALICE))) is Standing.SUSPENDED


def test_a_device_that_was_let_in_by_an_old_reading_says_so_and_stands_where_it_stood() -> None:
    unconfirmed = DeviceUnconfirmed(at_ms=9, node=A, did=ALICE, read_at_ms=7, reason="the chain is out")
    before = fold(verified(A, ALICE), admitted(A)).device(A)
    after = fold(verified(A, ALICE), admitted(A), unconfirmed).device(A)
    assert before is not None
    assert after == replace(before, stale_read_at_ms=7)
    assert fold(verified(A, BOB), unconfirmed).device(A) == fold(verified(A, BOB)).device(A)


def test_a_suspension_names_its_evidence_until_the_device_is_admitted() -> None:
    device = fold(verified(A, ALICE), suspended(A)).device(A)
    assert device is not None
    assert (device.reason, device.task, device.is_shut_out) == ("odd", "t1", True)
    again = fold(verified(A, ALICE), suspended(A), admitted(A)).device(A)
    assert again is not None
    assert (again.reason, again.task, again.is_shut_out) == ("", None, False)


EVENTS = st.lists(
    st.builds(
        lambda make, node, did: make(node, did),
        st.sampled_from(
            [
                verified,
                admitted,
                lambda node, _: suspended(node),
                lambda node, _: revoked(node),
                lambda node, _: DeviceLost(at_ms=5, node=node, reason="silent"),
                lambda node, _: DeviceReturned(at_ms=6, node=node),
            ]
        ),
        st.sampled_from([A, B, Token("c")]),
        st.sampled_from([ALICE, BOB]),
    ),
    max_size=30,
)


@given(EVENTS)
def test_no_two_devices_have_one_did_and_nobody_is_admitted_who_proved_nothing(events: list[DeviceEvent]) -> None:
    devices = fold(*events)
    owned = [device.did for device in devices.all() if device.did is not None]
    assert len(owned) == len(set(owned))
    for device in devices.all():
        if device.standing is Standing.ADMITTED:
            assert device.verified_at_ms is not None
            assert device.did is not None


@given(EVENTS, EVENTS)
def test_a_snapshot_goes_on_as_the_log_does(before: list[DeviceEvent], after: list[DeviceEvent]) -> None:
    loaded = Devices()
    loaded.load(fold(*before).dump())
    for event in after:
        loaded.apply(Token(event.node), event)
    assert loaded.dump() == fold(*before, *after).dump()
    assert [loaded.device_of(did) for did in (ALICE, BOB)] == [
        fold(*before, *after).device_of(did) for did in (ALICE, BOB)
    ]


@given(EVENTS)
def test_revoked_is_for_ever(events: list[DeviceEvent]) -> None:
    assert standing(fold(revoked(A), *events)) is Standing.REVOKED
