"""What the files in ``tests/golden/`` mean: each name here is a file there, written once and never again.

A new version, or a new field or word of an old one, gets a new entry; then ``python -m tests.unit.golden_events``
writes the files that are missing. Names are ``<tag>``, or ``<tag>.<what is special>``.
"""

import sys
from pathlib import Path

from streams.chat import Message, Sampling, Usage
from streams.codec import encode
from streams.events import (
    AccountClosed,
    AccountErased,
    AccountOpened,
    AttemptFailure,
    AttemptShare,
    Candidate,
    DeadDropped,
    DeadKept,
    DeadRedriven,
    DeviceAdmitted,
    DeviceLost,
    DeviceRegistered,
    DeviceReturned,
    DeviceRevoked,
    DeviceSuspended,
    DeviceVerified,
    Event,
    KeyIssued,
    KeyRevoked,
    MemberJoined,
    MemberLeft,
    ModelAnnounced,
    ModelWithdrawn,
    NonceSpent,
    RequestKeyed,
    SubmissionUnreadable,
    TaskAccepted,
    TaskAssigned,
    TaskCancelled,
    TaskChunk,
    TaskCompleted,
    TaskDead,
    TaskEnded,
    TaskError,
    TaskFailed,
    TaskHalted,
    TaskQueued,
    TaskRequeued,
    TaskSubmitted,
)
from streams.replica import Replica

FOLDER = Path(__file__).parents[1] / "golden"

_AT_MS = 1_767_225_600_123
_MODEL = "smollm2-135m-instruct"
_ERROR = TaskError(
    code="context_length_exceeded", message="9,001 tokens do not fit in 8,192.", status=400, param="messages"
)
_SHARES = (
    AttemptShare(attempt=1, node="node-a", chars=12, tokens=4),
    AttemptShare(attempt=2, node="node-b", chars=0, tokens=0),
)

SUBMITTED = {
    "task.submitted.v1": TaskSubmitted(
        model="org/Modèle 7B:q4",
        messages=(
            Message(role="system", content="Be brief."),
            Message(role="developer", content="Answer in verse."),
            Message(role="user", content="Grüße, 世界 🙂\r\n\0", name="ada"),
            Message(role="assistant", content=""),
            Message(role="tool", content="42"),
        ),
        sampling=Sampling(
            max_tokens=1_000_000,
            temperature=2.0,
            top_p=1.0,
            seed=-(2**63),
            stop=("\n\n", "END", "。", "4"),
            presence_penalty=-2.0,
            frequency_penalty=2.0,
        ),
        deadline_at_ms=253_402_300_799_999,
    ),
    "task.submitted.v1.redrive": TaskSubmitted(
        model=_MODEL, messages=(Message(role="user", content="hi"),), redrive_of="019b7a3e00007abc8def012345678900"
    ),
    "task.submitted.v1.minimal": TaskSubmitted(model=_MODEL, messages=(Message(role="user", content="hi"),)),
}

RESULTS = {
    "task.accepted.v1": TaskAccepted(n=1, at_ms=_AT_MS),
    "task.queued.v1": TaskQueued(n=2, at_ms=_AT_MS, position=70_000, reason="no node serves the model"),
    "task.assigned.v1": TaskAssigned(
        n=3,
        at_ms=_AT_MS,
        attempt=2,
        node="node-b",
        policy="least-loaded.v1",
        candidates=(Candidate(node="node-a", rejected="lost"), Candidate(node="node-b", score=0.75)),
        offset=12,
    ),
    "task.assigned.v1.minimal": TaskAssigned(n=1, at_ms=_AT_MS, attempt=1, node="n", policy="p"),
    "task.assigned.v1.continued": TaskAssigned(
        n=6, at_ms=_AT_MS, attempt=2, node="node-b", policy="p", offset=12, seam="continued"
    ),
    "task.assigned.v1.replayed": TaskAssigned(
        n=6, at_ms=_AT_MS, attempt=2, node="node-b", policy="p", offset=12, seam="replayed"
    ),
    "task.assigned.v1.restarted": TaskAssigned(
        n=6, at_ms=_AT_MS, attempt=3, node="node-c", policy="p", seam="restarted"
    ),
    "task.assigned.v1.failed": TaskAssigned(
        n=7,
        at_ms=_AT_MS,
        attempt=3,
        node="node-b",
        policy="p",
        candidates=(Candidate(node="node-b", score=0.25), Candidate(node="node-a", score=80.5, has_failed=True)),
    ),
    "task.requeued.v1": TaskRequeued(
        n=5,
        at_ms=_AT_MS,
        attempt=1,
        node="node-a",
        code="node_lost",
        message="node-a has left the bus",
        retry_at_ms=_AT_MS + 250,
    ),
    "task.halted.v1.failing": TaskHalted(n=4, at_ms=_AT_MS, reason="node_lost", error=_ERROR),
    "task.halted.v1": TaskHalted(n=4, at_ms=_AT_MS, reason="cancelled by the client"),
    "task.chunk.v1": TaskChunk(
        n=4_294_967_296,
        attempt=2,
        offset=12,
        text="Grüße, 世界 🙂",
        tokens=9,
        finish_reason="stop",
        usage=Usage(prompt_tokens=31, completion_tokens=13, cached_prompt_tokens=16),
    ),
    "task.chunk.v1.length": TaskChunk(
        n=3,
        attempt=1,
        offset=300,
        text="",
        finish_reason="length",
        usage=Usage(prompt_tokens=1, completion_tokens=64),
    ),
    "task.chunk.v1.minimal": TaskChunk(n=2, attempt=1, offset=0, text="Hello"),
    "task.ended.v1": TaskEnded(n=9, at_ms=_AT_MS, outcome="failed", error=_ERROR),
    "task.ended.v1.cancelled": TaskEnded(n=2, at_ms=_AT_MS, outcome="cancelled"),
    "task.ended.v1.dead": TaskEnded(
        n=40, at_ms=_AT_MS, outcome="dead", error=TaskError(code="node_lost", message="Gone.", status=503)
    ),
    "task.ended.v1.minimal": TaskEnded(n=6, at_ms=_AT_MS, outcome="completed"),
}

ENDED = {
    "task.completed.v1": TaskCompleted(
        at_ms=_AT_MS,
        model=_MODEL,
        final_n=17,
        finish_reason="stop",
        usage=Usage(prompt_tokens=31, completion_tokens=13, cached_prompt_tokens=16),
        shares=_SHARES,
    ),
    "task.completed.v1.minimal": TaskCompleted(
        at_ms=_AT_MS,
        model=_MODEL,
        final_n=2,
        finish_reason="length",
        usage=Usage(prompt_tokens=0, completion_tokens=0),
        shares=(),
    ),
    "task.failed.v1": TaskFailed(at_ms=_AT_MS, model=_MODEL, final_n=8, error=_ERROR, shares=_SHARES),
    "task.failed.v1.minimal": TaskFailed(
        at_ms=_AT_MS,
        model=_MODEL,
        final_n=0,
        error=TaskError(code="model_not_found", message="No such model.", status=404),
    ),
    "task.cancelled.v1": TaskCancelled(
        at_ms=_AT_MS, model=_MODEL, final_n=5, reason="cancelled by the client", shares=_SHARES
    ),
    "task.dead.v1": TaskDead(
        at_ms=_AT_MS,
        model=_MODEL,
        final_n=21,
        error=TaskError(code="attempts_exhausted", message="3 attempts came to nothing.", status=502, param="messages"),
        failures=(
            AttemptFailure(attempt=1, node="node-a", code="node_lost", message="node-a has left the bus"),
            AttemptFailure(attempt=2, node="node-b", code="node_lost", message="node-b does not report"),
        ),
        shares=_SHARES,
    ),
    "task.dead.v1.minimal": TaskDead(
        at_ms=_AT_MS,
        model=_MODEL,
        final_n=2,
        error=TaskError(code="attempts_exhausted", message="1 attempt came to nothing.", status=502),
        failures=(),
    ),
    "task.cancelled.v1.minimal": TaskCancelled(at_ms=_AT_MS, model=_MODEL, final_n=0, reason="deadline"),
}

DEAD = {
    "dead.kept.v1": DeadKept(at_ms=_AT_MS, model=_MODEL, error=_ERROR),
    "dead.redriven.v1": DeadRedriven(at_ms=_AT_MS, task="019b7a3e00007abc8def012345678900"),
    "dead.dropped.v1": DeadDropped(at_ms=_AT_MS, reason="the prompt was a test"),
}

KEYS = {
    "request.keyed.v1": RequestKeyed(at_ms=_AT_MS, task="019b7a3e00007abc8def012345678900", body_digest="0" * 64),
}

UNREADABLE = {
    "submission.unreadable.v1": SubmissionUnreadable(
        at_ms=_AT_MS,
        subject="tasks.standard.0.local.no-id.submitted",
        reason="no task id",
        body_base64="AP9hbnkgYnl0ZXM=",
    ),
}

REGISTERS = {
    "model.announced.v1": ModelAnnounced(
        at_ms=_AT_MS,
        node="node-a",
        replica=Replica(
            model=_MODEL,
            engine="xllamacpp",
            context_tokens=8192,
            slots=4096,
            quantisation="Q4_1",
            parameters=134_515_008,
            file_bytes=98_765_432,
            memory_bytes=390_000_000,
            tokens_per_s=95.5,
            prompt_tokens_per_s=190.25,
        ),
    ),
    "model.announced.v1.minimal": ModelAnnounced(
        at_ms=_AT_MS, node="n", replica=Replica(model="m", engine="synthetic", context_tokens=1, slots=1)
    ),
    "model.announced.v1.restarts": ModelAnnounced(
        at_ms=_AT_MS,
        node="n",
        replica=Replica(model="m", engine="litellm", context_tokens=1, slots=1, continues=False),
    ),
    "model.withdrawn.v1": ModelWithdrawn(at_ms=_AT_MS, node="node-a", model=_MODEL, reason="not announced again"),
    "device.registered.v1": DeviceRegistered(at_ms=_AT_MS, node="node-a", software="ig3-edge-network/0.1.0"),
    "device.verified.v1": DeviceVerified(
        at_ms=_AT_MS, node="node-a", did="did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK", proved_by="subject"
    ),
    "device.admitted.v1": DeviceAdmitted(
        at_ms=_AT_MS,
        node="node-a",
        by="operator",
        reason="Ada's laptop",
        did="did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
    ),
    "device.admitted.v1.minimal": DeviceAdmitted(at_ms=_AT_MS, node="node-a", by="policy open"),
    "device.suspended.v1": DeviceSuspended(
        at_ms=_AT_MS,
        node="node-a",
        by="dispatcher",
        reason="claimed 9 tokens of 3",
        task="019b7a3e00007abc8def012345678900",
    ),
    "device.suspended.v1.minimal": DeviceSuspended(at_ms=_AT_MS, node="node-a", by="operator", reason="looked odd"),
    "device.revoked.v1": DeviceRevoked(at_ms=_AT_MS, node="node-a", by="operator", reason="the key was stolen"),
    "device.lost.v1": DeviceLost(at_ms=_AT_MS, node="node-a", reason="missed its reports"),
    "device.returned.v1": DeviceReturned(at_ms=_AT_MS, node="node-a"),
}

_DID = "did:pkh:eip155:1:0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"

ACCESS = {
    "account.opened.v1": AccountOpened(at_ms=_AT_MS, by="operator", owner=_DID),
    "account.opened.v1.minimal": AccountOpened(at_ms=_AT_MS, by="operator"),
    "member.joined.v1": MemberJoined(at_ms=_AT_MS, did=_DID, role="owner", by="operator"),
    "member.joined.v1.member": MemberJoined(at_ms=_AT_MS, did=_DID, role="member", by=_DID),
    "member.joined.v1.viewer": MemberJoined(at_ms=_AT_MS, did=_DID, role="viewer", by=_DID),
    "member.joined.v1.operator": MemberJoined(at_ms=_AT_MS, did=_DID, role="operator", by="operator"),
    "member.left.v1": MemberLeft(at_ms=_AT_MS, did=_DID, by=_DID),
    "key.issued.v1": KeyIssued(
        at_ms=_AT_MS,
        key_id="k7q2mzx4c5ta",
        digest="ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        name="Grüße, 世界",
        rights=("chat", "read", "admin"),
        models=(_MODEL, "org/Modèle 7B:q4"),
        expires_at_ms=_AT_MS + 86_400_000,
        by=_DID,
    ),
    "key.issued.v1.minimal": KeyIssued(
        at_ms=_AT_MS, key_id="k", digest="0" * 64, name="", rights=("chat",), by="operator"
    ),
    "key.revoked.v1": KeyRevoked(at_ms=_AT_MS, key_id="k7q2mzx4c5ta", by="operator", reason="it leaked"),
    "account.closed.v1": AccountClosed(at_ms=_AT_MS, by="operator", reason="asked for by its owner"),
    "account.erased.v1": AccountErased(at_ms=_AT_MS, by="operator", reason="asked for by its owner", messages=4096),
    "account.erased.v1.minimal": AccountErased(at_ms=_AT_MS, by="operator", reason="asked for by its owner"),
}

NONCES = {"nonce.spent.v1": NonceSpent(at_ms=_AT_MS)}

GOLDEN: dict[str, Event] = {
    **SUBMITTED,
    **RESULTS,
    **ENDED,
    **DEAD,
    **KEYS,
    **UNREADABLE,
    **REGISTERS,
    **ACCESS,
    **NONCES,
}


def golden_file(name: str, folder: Path = FOLDER) -> Path:
    return folder / f"{name}.msgpack"


def write_golden(name: str, folder: Path = FOLDER) -> None:
    """Write the bytes of one entry; FileExistsError if they were ever written."""
    with golden_file(name, folder).open("xb") as file:
        file.write(encode(GOLDEN[name]))


if __name__ == "__main__":
    missing = [name for name in GOLDEN if not golden_file(name).exists()]
    for missing_name in missing:
        write_golden(missing_name)
    sys.stdout.write(f"written: {', '.join(missing) or 'nothing, all are there'}\n")
