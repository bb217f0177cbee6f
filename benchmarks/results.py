"""What it costs a dispatcher to believe an answer (ADR 14): the chain, the signature, the counts, the reputation.

``python -m benchmarks.results``. Each figure is of one answer, once, in one process; medians over rounds.
"""

import hashlib
import time
from collections.abc import Callable
from statistics import median

from gateway.dispatcher.plausible import usage_fault
from mesh.identity.accounts import evm_account
from mesh.identity.chunk_proof import has_signed, sign_chunks
from mesh.identity.did import Did, did_key, did_peaq
from mesh.identity.keys import SigningKey
from streams.codec import decode_end_event, encode
from streams.devices.reputation import NOTHING, WorkDone, score
from streams.events import AttemptShare, TaskChunk, TaskCompleted, TaskSubmitted
from streams.subjects import TaskKey
from streams.tasks import chunk_chain
from streams.tasks.chat import Message, Usage
from streams.tasks.task import TaskState
from streams.tasks.task_id import new_task_id
from streams.tokens import token

ROUNDS = 9
CALLS = 200
KEY = TaskKey(token("local"), new_task_id())
QUESTION = TaskSubmitted(model="m", messages=(Message(role="user", content="a question of some length " * 40),))


def main() -> None:
    """Measure and print."""
    print(f"medians of {ROUNDS} rounds, in us per answer\n")
    signers = _signers()
    print(f"{'chunks':>8} {'chain':>8} {'counts':>8}  whole check by {', '.join(signers)}")
    for count in (1, 10, 100, 1000):
        chunks = _chunks(count)
        chain, counts = _cost_us(lambda chunks=chunks: _head(chunks)), _cost_us(lambda chunks=chunks: _faults(chunks))
        whole = [_whole_us(chunks, *signer) for signer in signers.values()]
        print(f"{count:8} {chain:8.1f} {counts:8.1f}  {'  '.join(f'{cost:8.1f}' for cost in whole)}")
    node, end = token("n1"), encode(_end())
    work = WorkDone()
    print(f"\n  an end, decoded and folded: {_cost_us(lambda: work.apply(decode_end_event(end))):.1f}")
    now_ms = time.time_ns() // 1_000_000
    print(f"  a score: {_cost_us(lambda: score(NOTHING, work.of(node), now_ms=now_ms)):.1f}")


def _signers() -> dict[str, tuple[Did, SigningKey]]:
    secret = hashlib.sha256(b"benchmark").digest()
    ed25519, sr25519, ecdsa = (SigningKey.from_secret(name, secret) for name in ("ed25519", "sr25519", "secp256k1"))
    return {
        "ed25519": (did_key(ed25519.public), ed25519),
        "sr25519": (did_key(sr25519.public), sr25519),
        "secp256k1": (did_key(ecdsa.public), ecdsa),
        "EVM": (did_peaq(evm_account(ecdsa.public)), ecdsa),
    }


def _chunks(count: int) -> tuple[TaskChunk, ...]:
    text = "some words "
    return tuple(
        TaskChunk(n=n + 2, attempt=1, offset=n * len(text), text=text, tokens=2, finish_reason=None)
        for n in range(count)
    )


def _head(chunks: tuple[TaskChunk, ...]) -> bytes:
    return chunk_chain.extend_all(chunk_chain.begin(KEY, 1, "n1"), chunks)


def _faults(chunks: tuple[TaskChunk, ...]) -> None:
    usage = Usage(prompt_tokens=200, completion_tokens=2 * len(chunks))
    state = TaskState(tokens=usage.completion_tokens, usage=usage)
    if usage_fault(QUESTION, state, usage, chunks, prefix_bytes=0) is not None:
        raise RuntimeError("the honest answer of the benchmark is not believed")


def _whole_us(chunks: tuple[TaskChunk, ...], did: Did, key: SigningKey) -> float:
    signature = sign_chunks(did, key, _head(chunks))

    def check() -> None:
        _faults(chunks)
        if not has_signed(did.text, signature, _head(chunks)):
            raise RuntimeError("the signature of the benchmark does not hold")

    return _cost_us(check)


def _end() -> TaskCompleted:
    return TaskCompleted(
        at_ms=time.time_ns() // 1_000_000,
        model="m",
        final_n=9,
        finish_reason="stop",
        usage=Usage(prompt_tokens=200, completion_tokens=20),
        shares=(AttemptShare(attempt=1, node="n1", chars=80, tokens=20, signed=True),),
    )


def _cost_us(work: Callable[[], object]) -> float:
    rounds: list[float] = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        for _ in range(CALLS):
            work()
        rounds.append((time.process_time() - begun) / CALLS * 1e6)
    return median(rounds)


if __name__ == "__main__":
    main()
