"""How large an answer may be and how long it may take: more is refused where it is asked for, and else not given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from streams.events import TaskError

if TYPE_CHECKING:
    from streams.access.limits import Bounds
    from streams.events import TaskSubmitted


def answer_error(asked: TaskSubmitted, bounds: Bounds) -> TaskError | None:
    """Say why an answer may not be as long as was asked for, or None."""
    most, wanted = bounds.most_output_tokens, asked.sampling.max_tokens
    if most is None or wanted is None or wanted <= most:
        return None
    message = f"max_tokens is too large: {wanted}. Answers to this key or account have at most {most} tokens."
    return TaskError(code="invalid_value", message=message, status=400, param="max_tokens")


def time_error(wanted_ms: int, bounds: Bounds, *, param: str) -> TaskError | None:
    """Say why an answer may not take as long as was asked for, or None."""
    if bounds.most_seconds is None or wanted_ms <= bounds.most_seconds * 1000:
        return None
    message = f"{param} is too late: answers to this key or account take at most {bounds.most_seconds} s."
    return TaskError(code="invalid_value", message=message, status=400, param=param)


def capped(asked: TaskSubmitted, bounds: Bounds) -> TaskSubmitted:
    """Return a task whose answer is no longer than it may be, where it does not say how long it is to be."""
    most = bounds.most_output_tokens
    # Vectors are not sampled.
    if most is None or asked.texts or asked.sampling.max_tokens is not None:
        return asked
    return replace(asked, sampling=replace(asked.sampling, max_tokens=most))


def shortened(asked: TaskSubmitted, bounds: Bounds) -> TaskSubmitted:
    """Return a task whose answer is no longer than it may be, whatever it says."""
    if answer_error(asked, bounds) is None:
        return capped(asked, bounds)
    return replace(asked, sampling=replace(asked.sampling, max_tokens=bounds.most_output_tokens))
