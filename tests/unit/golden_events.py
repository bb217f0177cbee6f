"""What the files in ``tests/golden/`` mean: each name here is a file there, written once and never again.

A new version, or a new field or word of an old one, gets a new entry; then ``python -m tests.unit.golden_events``
writes the files that are missing. Names are ``<tag>``, or ``<tag>.<what is special>``.
"""

import sys
from pathlib import Path

from streams.codec import encode
from streams.events import (
    AttemptFailure,
    AttemptShare,
    ChunkSignature,
    DeadDropped,
    DeadKept,
    DeadRedriven,
    Event,
    RequestKeyed,
    ResponseDeleted,
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
)
from streams.tasks.answer_parts import LikelyToken, TokenLogprob, ToolCallPiece
from streams.tasks.chat import Usage
from streams.tasks.placing import Candidate, Hedge, Part, Rejects
from streams.tasks.vectors import Vectors
from tests.unit.golden_billing import BILLING
from tests.unit.golden_files import BATCHES, FILES
from tests.unit.golden_metered import HITS, METERED
from tests.unit.golden_registers import ACCESS, GROUPS, NONCES, REGISTERS
from tests.unit.golden_rewards import REWARDS
from tests.unit.golden_stores import STORES
from tests.unit.golden_submitted import SUBMITTED

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

_HEDGES = {
    "hedged": Hedge(attempt=1, beside="node-a", node="node-b", waited_s=0.75, samples=64, outcome="won"),
    "hedged-lost": Hedge(attempt=1, beside="node-a", node="node-b", waited_s=1.5, outcome="lost"),
    "hedged-left": Hedge(attempt=1, beside="node-a", node="node-b", waited_s=0.0, outcome="left"),
    "hedged-over": Hedge(attempt=2, beside="node-a", node="node-b", waited_s=0.5),
}

_SIGNATURE = ChunkSignature(algorithm="ed25519", signature_base64="AAECAwQFBgcICQoLDA0ODw==")

_SIGNATURE_WITH_KEY = ChunkSignature(
    algorithm="secp256k1", signature_base64="AAECAwQFBgcICQoLDA0ODw==", public_key_base64="AgAAAAAAAA=="
)
_SIGNED_SHARES = (AttemptShare(attempt=1, node="node-a", chars=12, tokens=4, signed=True),)

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
    "task.assigned.v1.explained": TaskAssigned(
        n=1,
        at_ms=_AT_MS,
        attempt=1,
        node="node-b",
        policy="edge-first.v1",
        candidates=(
            Candidate(
                node="node-b",
                score=-1.25,
                parts=(Part(name="answer", value=-1.5), Part(name="cached", value=0.25)),
                model=_MODEL,
                first_token_s=0.125,
                finish_s=1.25,
            ),
            Candidate(node="node-a", rejected="all slots busy"),
        ),
        rejects=(Rejects(reason="all slots busy", count=9_998),),
        serving=10_000,
        model=_MODEL,
    ),
    **{
        f"task.assigned.v1.{name}": TaskAssigned(n=2, at_ms=_AT_MS, attempt=2, node="node-b", policy="p", hedge=hedge)
        for name, hedge in _HEDGES.items()
    },
    "task.requeued.v1": TaskRequeued(
        n=5,
        at_ms=_AT_MS,
        attempt=1,
        node="node-a",
        code="node_lost",
        message="node-a has left the bus",
        retry_at_ms=_AT_MS + 250,
    ),
    "task.requeued.v1.signed": TaskRequeued(
        n=5,
        at_ms=_AT_MS,
        attempt=1,
        node="node-a",
        code="node_stopping",
        message="the node was shut down before the end",
        retry_at_ms=_AT_MS,
        signature=_SIGNATURE,
    ),
    "task.requeued.v1.signed-with-key": TaskRequeued(
        n=5,
        at_ms=_AT_MS,
        attempt=1,
        node="node-a",
        code="node_stopping",
        message="the node was shut down before the end",
        retry_at_ms=_AT_MS,
        signature=_SIGNATURE_WITH_KEY,
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
    "task.chunk.v1.signed": TaskChunk(
        n=4,
        attempt=1,
        offset=5,
        text="!",
        tokens=1,
        finish_reason="stop",
        usage=Usage(prompt_tokens=31, completion_tokens=2),
        signature=_SIGNATURE,
    ),
    "task.chunk.v1.signed-with-key": TaskChunk(
        n=2,
        attempt=1,
        offset=0,
        text="Hello",
        tokens=1,
        finish_reason="stop",
        usage=Usage(prompt_tokens=31, completion_tokens=1),
        signature=_SIGNATURE_WITH_KEY,
    ),
    "task.chunk.v1.calls": TaskChunk(
        n=9,
        attempt=1,
        offset=3,
        text="So:",
        tokens=7,
        finish_reason="tool_calls",
        usage=Usage(prompt_tokens=3, completion_tokens=7),
        tool_calls=(
            ToolCallPiece(index=0, id="call_1", name="look-up", arguments='{"place":'),
            ToolCallPiece(index=0, arguments='"Zürich"}'),
        ),
        logprobs=(
            TokenLogprob(
                token="\ufffd", logprob=-0.25, raw=b"\xf0\x9f", top=(LikelyToken(token="So", logprob=-1.5, raw=b"So"),)
            ),
        ),
    ),
    "task.chunk.v1.vectors": TaskChunk(
        n=2,
        attempt=1,
        offset=16,
        text="",
        tokens=7,
        vectors=Vectors(count=2, floats=bytes.fromhex("0000803f000000000000000000000000000080bf00000000")),
    ),
    "task.chunk.v1.minimal": TaskChunk(n=2, attempt=1, offset=0, text="Hello"),
    "task.chunk.v1.first": TaskChunk(n=2, attempt=1, offset=0, text="Hello", tokens=1, prompt_tokens=31),
    "task.ended.v1": TaskEnded(n=9, at_ms=_AT_MS, outcome="failed", error=_ERROR),
    "task.ended.v1.cancelled": TaskEnded(n=2, at_ms=_AT_MS, outcome="cancelled"),
    "task.ended.v1.dead": TaskEnded(
        n=40, at_ms=_AT_MS, outcome="dead", error=TaskError(code="node_lost", message="Gone.", status=503)
    ),
    **{
        f"task.ended.v1.{name}": TaskEnded(n=6, at_ms=_AT_MS, outcome="completed", hedge=hedge)
        for name, hedge in _HEDGES.items()
    },
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
    "task.completed.v1.signed": TaskCompleted(
        at_ms=_AT_MS,
        model=_MODEL,
        final_n=17,
        finish_reason="stop",
        usage=Usage(prompt_tokens=31, completion_tokens=13),
        shares=(
            AttemptShare(attempt=1, node="node-a", chars=0, tokens=0),
            AttemptShare(attempt=2, node="node-b", chars=40, tokens=13, signed=True),
        ),
        failures=(AttemptFailure(attempt=1, node="node-a", code="invalid_result", message="node-a has not signed"),),
    ),
    **{
        f"task.completed.v1.{name}": TaskCompleted(
            at_ms=_AT_MS,
            model=_MODEL,
            final_n=5,
            finish_reason="stop",
            usage=Usage(prompt_tokens=31, completion_tokens=13),
            shares=(AttemptShare(attempt=1, node="node-a", chars=40, tokens=13, signed=True),),
            hedge=hedge,
        )
        for name, hedge in _HEDGES.items()
    },
    "task.completed.v1.minimal": TaskCompleted(
        at_ms=_AT_MS,
        model=_MODEL,
        final_n=2,
        finish_reason="length",
        usage=Usage(prompt_tokens=0, completion_tokens=0),
        shares=(),
    ),
    "task.completed.v1.calls": TaskCompleted(
        at_ms=_AT_MS,
        model=_MODEL,
        final_n=2,
        finish_reason="tool_calls",
        usage=Usage(prompt_tokens=0, completion_tokens=0),
        shares=(),
    ),
    "task.failed.v1": TaskFailed(at_ms=_AT_MS, model=_MODEL, final_n=8, error=_ERROR, shares=_SHARES),
    "task.failed.v1.signed": TaskFailed(at_ms=_AT_MS, model=_MODEL, final_n=8, error=_ERROR, shares=_SIGNED_SHARES),
    "task.cancelled.v1.signed": TaskCancelled(
        at_ms=_AT_MS, model=_MODEL, final_n=5, reason="cancelled by the client", shares=_SIGNED_SHARES
    ),
    "task.dead.v1.signed": TaskDead(
        at_ms=_AT_MS,
        model=_MODEL,
        final_n=4,
        error=TaskError(code="attempts_exhausted", message="1 attempt came to nothing.", status=502),
        failures=(AttemptFailure(attempt=1, node="node-a", code="engine_error", message="the engine failed"),),
        shares=_SIGNED_SHARES,
    ),
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
    **METERED,
}

DEAD = {
    "dead.kept.v1": DeadKept(at_ms=_AT_MS, model=_MODEL, error=_ERROR),
    "dead.redriven.v1": DeadRedriven(at_ms=_AT_MS, task="019b7a3e00007abc8def012345678900"),
    "dead.dropped.v1": DeadDropped(at_ms=_AT_MS, reason="the prompt was a test"),
}

KEYS = {
    "request.keyed.v1": RequestKeyed(at_ms=_AT_MS, task="019b7a3e00007abc8def012345678900", body_digest="0" * 64),
    "response.deleted.v1": ResponseDeleted(at_ms=_AT_MS, task="019b7a3e00007abc8def012345678900"),
}

UNREADABLE = {
    "submission.unreadable.v1": SubmissionUnreadable(
        at_ms=_AT_MS,
        subject="tasks.standard.0.local.no-id.submitted",
        reason="no task id",
        body_base64="AP9hbnkgYnl0ZXM=",
    ),
}

GOLDEN: dict[str, Event] = {
    **SUBMITTED,
    **RESULTS,
    **ENDED,
    **DEAD,
    **KEYS,
    **UNREADABLE,
    **HITS,
    **REGISTERS,
    **ACCESS,
    **NONCES,
    **GROUPS,
    **FILES,
    **BATCHES,
    **STORES,
    **BILLING,
    **REWARDS,
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
