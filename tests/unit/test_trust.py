"""What a dispatcher makes of a node, from what is stored of it: whether its answers count, and how it is regarded."""

from typing import Any, cast

import pytest

from gateway.dispatcher.regards import Regards
from gateway.dispatcher.result_check import ResultCheck
from gateway.dispatcher.task_run import TaskRun
from gateway.scheduling.wish import Wish
from mesh.identity.device_log import DeviceLog
from streams.clock import now_ms
from streams.devices.events import DeviceAdmitted, DeviceEvent, DeviceRevoked, DeviceSuspended, DeviceVerified
from streams.devices.fold import Devices
from streams.events import AttemptFailure, AttemptShare, TaskCompleted, TaskSubmitted
from streams.subjects import TaskKey
from streams.tasks.chat import Message, Usage
from streams.tasks.task import TaskState
from streams.tasks.task_id import new_task_id
from streams.tokens import Token
from tests.unit.scheduling.fleets import node, scheduler

NODE = Token("n1")
VERIFIED = DeviceVerified(at_ms=1, node=NODE, did="did:key:z6Mk", proved_by="subject")
ASKED = TaskSubmitted(model="m", messages=(Message(role="user", content="hello"),))


class Known:
    """A log of devices that was read to its end."""

    def __init__(self, *events: DeviceEvent) -> None:
        self.devices = Devices()
        for event in events:
            self.devices.apply(NODE, event)

    async def catch_up(self) -> None:
        return None


def log_of(*events: DeviceEvent) -> DeviceLog:
    return cast("DeviceLog", Known(*events))


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ((), "no DID of n1 is known"),
        ((VERIFIED, DeviceSuspended(at_ms=2, node=NODE, by="operator", reason="odd")), "n1 is suspended"),
        ((VERIFIED, DeviceRevoked(at_ms=2, node=NODE, by="operator", reason="stolen")), "n1 is revoked"),
        (
            (DeviceVerified(at_ms=1, node=NODE, did="did:key:z6Mk", proved_by="#key-of-its-document"),),
            "proved its DID by a key that is not the DID's own",
        ),
    ],
    ids=["unknown", "suspended", "revoked", "by its document"],
)
async def test_no_answer_counts_of_a_device_that_is_shut_out_or_cannot_be_checked(
    events: tuple[DeviceEvent, ...], why: str
) -> None:
    record = TaskRun(cast("Any", None), TaskKey(Token("local"), new_task_id()))
    record.state = TaskState(node=NODE)
    fault = await ResultCheck(log_of(*events)).fault(record, ASKED)
    assert fault is not None
    assert why in fault.message
    assert not fault.is_lie, "nobody is suspended for what an operator decided"


def test_what_a_node_has_done_and_how_it_was_checked_make_its_regard() -> None:
    regards = Regards(cast("Any", None), log_of(VERIFIED))
    assert regards.of(NODE).reputation == 1.0
    failed = tuple(AttemptFailure(attempt=n, node=NODE, code="engine_error", message="") for n in (1, 2, 3))
    regards.work.apply(
        TaskCompleted(
            at_ms=now_ms(),
            model="m",
            final_n=3,
            finish_reason="stop",
            usage=Usage(prompt_tokens=1, completion_tokens=1),
            shares=(AttemptShare(attempt=4, node="other", chars=1, tokens=1),),
            failures=failed,
        )
    )
    by_work = Regards(cast("Any", None), log_of(VERIFIED))
    by_work.work = regards.work
    assert 0.5 < by_work.of(NODE).reputation < 1.0
    caught = DeviceSuspended(at_ms=now_ms(), node=NODE, by="dispatcher", reason="a lie", task="t")
    assert Regards(cast("Any", None), log_of(VERIFIED, caught)).of(NODE).reputation < by_work.of(NODE).reputation


def test_a_node_whose_answers_nobody_could_check_is_objected_to() -> None:
    by_document = DeviceVerified(at_ms=1, node=NODE, did="did:key:z6Mk", proved_by="#key")
    assert "cannot be checked" in (Regards(cast("Any", None), log_of(by_document)).of(NODE).objection or "")
    assert Regards(cast("Any", None), log_of(VERIFIED)).of(NODE).objection is None


def test_a_device_whose_proof_is_not_read_yet_is_given_nothing_until_it_is() -> None:
    known = Known()
    regards = Regards(cast("Any", None), cast("DeviceLog", known))
    mesh = scheduler(node(NODE), regard_of=regards.of)
    admitted = DeviceAdmitted(at_ms=1, node=NODE, by="operator", owner="a")
    waits = mesh.place(Wish(model="m"), now_s=1.0)
    known.devices.apply(NODE, admitted)
    expected = Regards(cast("Any", None), cast("DeviceLog", known))
    assert waits.node is None
    assert [each.reason for each in waits.rejects] == ["its DID is not known here yet"]
    assert expected.of(NODE).objection is not None, "an operator who expects it has not seen its proof either"

    known.devices.apply(NODE, VERIFIED)
    device = known.devices.device(NODE)
    assert device is not None
    regards._on_device(device)
    assert mesh.place(Wish(model="m"), now_s=1.0).node == NODE
