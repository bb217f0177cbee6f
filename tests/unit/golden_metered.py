"""What golden files mean that say what was metered: a part of ``tests.unit.golden_events``."""

from msgspec import structs

from streams.cache.events import CacheHit
from streams.events import EndEvent, TaskCancelled, TaskCompleted, TaskDead, TaskError, TaskFailed
from streams.tasks.chat import Usage
from streams.tasks.metering import Metered

_AT_MS = 1_767_225_600_123
_MODEL = "smollm2-135m-instruct"
_ERROR = TaskError(
    code="context_length_exceeded", message="9,001 tokens do not fit in 8,192.", status=400, param="messages"
)

_METERED = (
    Metered(key="k7q2mzx4c5ta", kind="embedding", tier="cloud", prompt_tokens=9, cached_prompt_tokens=2),
    Metered(tier="group", prompt_tokens=31),
)
_PARTIAL: dict[str, EndEvent] = {
    "task.completed.v1": TaskCompleted(
        at_ms=_AT_MS,
        model=_MODEL,
        final_n=2,
        finish_reason="stop",
        usage=Usage(prompt_tokens=9, completion_tokens=0),
        shares=(),
    ),
    "task.failed.v1": TaskFailed(at_ms=_AT_MS, model=_MODEL, final_n=8, error=_ERROR),
    "task.cancelled.v1": TaskCancelled(at_ms=_AT_MS, model=_MODEL, final_n=5, reason="deadline"),
    "task.dead.v1": TaskDead(at_ms=_AT_MS, model=_MODEL, final_n=4, error=_ERROR, failures=()),
}

METERED = {
    f"{name}.metered-{metered.tier}": structs.replace(event, metered=metered)
    for name, event in _PARTIAL.items()
    for metered in _METERED
}

HITS = {
    "cache.hit.v1": CacheHit(
        at_ms=_AT_MS,
        batch="5ad7c1e09b3f4e6d",
        owner="acme",
        task="019b7a3e00007abc8def012345678900",
        model=_MODEL,
        usage=Usage(prompt_tokens=12, completion_tokens=34, cached_prompt_tokens=8),
        times=100,
    ),
    "cache.hit.v1.key": CacheHit(
        at_ms=_AT_MS,
        batch="0000000000000001",
        owner="acme",
        task="019b7a3e00007abc8def012345678900",
        model=_MODEL,
        usage=Usage(prompt_tokens=12, completion_tokens=34),
        times=1,
        key="k7Qx2mP9",
    ),
}
