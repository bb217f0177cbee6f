"""The part of the event catalogue that KEYS and UNREADABLE hold: what came, beside the tasks that were made of it."""

from __future__ import annotations

from streams.event import Event


class RequestKeyed(Event, frozen=True, kw_only=True, tag="request.keyed.v1"):
    """The first request under a key is this task; a repeat must have the same body (ADR 9)."""

    at_ms: int
    task: str
    body_digest: str
    """SHA-256 of path and body, in hex."""


class ResponseDeleted(Event, frozen=True, kw_only=True, tag="response.deleted.v1"):
    """Its owner wants a response to be shown no more. The task itself stays as long as every other.

    Stands where an idempotency key of the name ``deleted-<task>`` would, which no SHA-256 is.
    """

    at_ms: int
    task: str


class SubmissionUnreadable(Event, frozen=True, kw_only=True, tag="submission.unreadable.v1"):
    """Somebody submitted under a subject that names no task, so that there is no id to answer to."""

    at_ms: int
    subject: str
    reason: str
    body_base64: str
    """What was submitted, which may be any bytes."""
