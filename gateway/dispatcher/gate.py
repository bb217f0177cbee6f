"""The gate that every task passes, however it came: what is wrong with it, said as HTTP would have said it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from gateway.intake.demands import demand_error
from gateway.scheduling.policies import POLICIES
from mesh.bus.headers import CONTENT_TYPE, header
from streams.clock import now_ms as clock_ms
from streams.codec import decode
from streams.errors import InvalidTaskId, UndecodableEvent
from streams.events import TaskError, TaskSubmitted
from streams.subjects import CHECKS
from streams.tasks.chat import Sampling
from streams.tasks.task_id import check_age, created_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.bus.work import Work
    from streams.subjects import TaskKey
    from streams.tokens import Token

UNREADABLE: Final = "unknown"
"""Stands for the model in the end event of a task whose body could not be read."""


_ONE_OF: Final = (
    "A task has either 'messages', to be answered, a 'prompt', to be gone on with, or 'texts', to become vectors."
)


class _Acknowledgement(Struct):
    stream: str
    seq: int


_acknowledgement: Final = msgspec.json.Decoder(_Acknowledgement)


def is_acknowledgement(work: Work) -> bool:
    """Whether the broker wrote this, not a user.

    The broker acknowledges a message wherever its reply subject says, and that may be where tasks are submitted, of
    anybody's account (FACTS): nobody has asked for such a task.
    """
    if work.headers:
        return False
    try:
        _acknowledgement.decode(work.data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def read_submission(work: Work) -> TaskSubmitted | TaskError:
    """Decode what was submitted, or say what is wrong with it."""
    try:
        return decode(work.data, TaskSubmitted, content_type=header(work.headers, CONTENT_TYPE))
    except UndecodableEvent as error:
        return TaskError(code="invalid_request_error", message=str(error), status=400)


def check_submission(
    key: TaskKey, submission: TaskSubmitted, *, now_ms: int, retention: timedelta, is_known: Callable[[str], bool]
) -> TaskError | None:
    """Say why a task that can be read is not accepted, or None."""
    if (submission.check_of is None) == (key.account == CHECKS):
        message = f"Answers are checked by the mesh itself, under the account {CHECKS}, which is for nothing else."
        return TaskError(code="invalid_request_error", message=message, status=400, param="check_of")
    if (error := _question_error(submission)) is not None:
        return error
    try:
        check_age(key.task, now_ms=now_ms, retention=retention)
    except InvalidTaskId as error:
        return TaskError(code="invalid_task_id", message=str(error), status=400)
    if submission.rules is not None and submission.rules.policy not in {"", *POLICIES}:
        message = f"There is no policy {submission.rules.policy!r}: use one of {', '.join(POLICIES)}."
        return TaskError(code="invalid_value", message=message, status=400, param="rules.policy")
    if not is_known(submission.model):
        message = f"The model {submission.model!r} does not exist on this mesh."
        return TaskError(code="model_not_found", message=message, status=404, param="model")
    return demand_error(submission)


def _question_error(submission: TaskSubmitted) -> TaskError | None:
    """Say what is wrong with what is asked: messages, a raw prompt, or texts to turn into vectors, and only one."""
    given = [name for name in ("messages", "prompt", "texts") if getattr(submission, name)]
    if len(given) > 1:
        message = f"{_ONE_OF} This one has {' and '.join(map(repr, given))}."
        return TaskError(code="invalid_request_error", message=message, status=400, param=given[-1])
    if not given:
        message = f"{_ONE_OF} This one has none of them."
        return TaskError(code="invalid_request_error", message=message, status=400, param="messages")
    if submission.prompt and (error := _raw_prompt_error(submission)) is not None:
        return error
    if submission.texts and submission.sampling != Sampling():
        message = "Vectors are not sampled: leave 'sampling' out where 'texts' are given."
        return TaskError(code="invalid_request_error", message=message, status=400, param="sampling")
    if submission.dimensions is not None and not submission.texts:
        message = "Only vectors have 'dimensions': leave it out where no 'texts' are given."
        return TaskError(code="invalid_request_error", message=message, status=400, param="dimensions")
    return None


def _raw_prompt_error(submission: TaskSubmitted) -> TaskError | None:
    """Nothing may be put into a raw prompt, nor be made of what comes behind it."""
    for name in ("tools", "format", "grounding", "response"):
        if getattr(submission, name) is not None:
            message = f"A raw 'prompt' goes to the model as it stands: leave {name!r} out, or send 'messages'."
            return TaskError(code="invalid_request_error", message=message, status=400, param=name)
    if submission.sampling.max_tokens is None:
        message = "What goes on with a raw 'prompt' need not come to an end: say 'max_tokens'."
        return TaskError(code="invalid_request_error", message=message, status=400, param="max_tokens")
    return None


def deadline_ms(task: Token, submission: TaskSubmitted, *, default: timedelta) -> int:
    """When the task must have ended, in Unix milliseconds; a longer wish than the default is granted."""
    if submission.deadline_at_ms is not None:
        return submission.deadline_at_ms
    return created_ms(task) + round(default.total_seconds() * 1000)


def time_left(task: Token, submission: TaskSubmitted, *, default: timedelta) -> timedelta:
    """How long from now the task may take."""
    return timedelta(milliseconds=deadline_ms(task, submission, default=default) - clock_ms())


def deadline_error(*, waited_for: str) -> TaskError:
    """What a task ends with when its time is up."""
    return TaskError(code="deadline_exceeded", message=f"The deadline passed while {waited_for}.", status=504)


def ledger_away_error(reason: str) -> TaskError:
    """What a task ends with that has a price, while nobody can put that aside."""
    message = f"The mesh cannot settle what this would cost now; send it again in a moment. ({reason})"
    return TaskError(code="billing_unavailable", message=message, status=503)


def too_many_error(service_class: str, limit: int, *, retry_after_s: int) -> TaskError:
    """What a task ends with whose account has far too many of its class open already.

    A gateway says so before it accepts; this is for tasks that were published straight on the bus.
    """
    message = (
        f"The account has {limit} {service_class} tasks open at this dispatcher, or the whole class is full. "
        f"Try again in {retry_after_s} s."
    )
    return TaskError(code="rate_limit_exceeded", message=message, status=429)
