"""What the broker answers to an append, as one error of ours or another: what is a verdict, and what a question."""

import json

import pytest

from mesh.bus.appends import is_not_now, sequence_of
from mesh.bus.direct_client import Delivery
from mesh.errors import BusError, FenceMismatch, PublishRefused, PublishUnknown, StoreFull, SubjectTaken


def answer(err_code: int, description: str, code: int = 400) -> Delivery:
    body = {"error": {"code": code, "err_code": err_code, "description": description}}
    return Delivery("_INBOX.x", "", json.dumps(body).encode(), b"")


@pytest.mark.parametrize(
    ("err_code", "description", "raised"),
    [
        (10071, "wrong last sequence: 7", FenceMismatch),
        (10164, "expected last sequence per subject temporarily unavailable", FenceMismatch),
        (10077, "maximum messages per subject exceeded", SubjectTaken),
        (10047, "insufficient storage resources available", StoreFull),
        (10008, "JetStream system temporarily unavailable", PublishUnknown),
        (10005, "no suitable peers for placement", PublishUnknown),
        (10118, "stream is offline", PublishUnknown),
        (10052, "maximum messages exceeded", PublishRefused),
    ],
)
def test_each_error_has_its_meaning(err_code: int, description: str, raised: type[BusError]) -> None:
    with pytest.raises(BusError) as caught:
        sequence_of("results.0.a.t.n", answer(err_code, description))
    assert caught.type is raised


def test_a_full_disk_is_not_a_subject_that_is_taken() -> None:
    with pytest.raises(BusError) as caught:
        sequence_of("ended.0.a.t", answer(10077, "write /data/1.blk: no space left on device"))
    assert not isinstance(caught.value, SubjectTaken)


def test_an_acknowledgement_is_a_sequence() -> None:
    assert sequence_of("x", Delivery("_INBOX.x", "", b'{"stream":"S","seq":42}', b"")) == 42


def test_what_cannot_be_read_is_a_question() -> None:
    with pytest.raises(PublishUnknown):
        sequence_of("x", Delivery("_INBOX.x", "", b"not json", b""))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (answer(10008, "JetStream system temporarily unavailable", 503), True),
        (answer(10118, "stream is offline", 500), True),
        (answer(10059, "stream not found", 404), False),
        (Delivery("_INBOX.x", "", b'{"total":3,"streams":["A"]}', b""), False),
        (Delivery("_INBOX.x", "", b"", b"NATS/1.0 404 Message Not Found\r\n\r\n"), False),
    ],
)
def test_a_cluster_that_cannot_serve_now_is_told_from_everything_else(given: Delivery, expected: bool) -> None:
    assert is_not_now(given) is expected
