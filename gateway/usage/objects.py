"""Usage and costs as clients see them: OpenAI's shapes, with amounts as decimal strings."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

UsageObject = Literal["organization.usage.completions.result", "organization.usage.embeddings.result"]
"""Whether words were written, or vectors made."""


class UsageResult(Struct, frozen=True, kw_only=True):
    """What was used on a day; ``model`` and ``api_key_id`` are told where it is grouped by them."""

    object: UsageObject
    input_tokens: int
    """With those out of a cache."""
    output_tokens: int
    input_cached_tokens: int
    num_model_requests: int
    """Tasks that have ended."""
    num_cached_answers: int
    """Answers out of the response cache, which took no model."""
    model: str | None
    api_key_id: str | None


class UsageBucket(Struct, frozen=True, kw_only=True):
    """One day (UTC), in Unix seconds."""

    object: Literal["bucket"] = "bucket"
    start_time: int
    end_time: int
    results: tuple[UsageResult, ...]


class UsageList(Struct, frozen=True, kw_only=True):
    """Days, the oldest first."""

    object: Literal["page"] = "page"
    data: tuple[UsageBucket, ...]
    has_more: bool
    next_page: str | None


class Amount(Struct, frozen=True, kw_only=True):
    """Money: never a float, so nothing is lost of it."""

    value: str
    currency: str


class CostResult(Struct, frozen=True, kw_only=True):
    """What was charged on a day, in one currency."""

    object: Literal["organization.costs.result"] = "organization.costs.result"
    amount: Amount
    line_item: str | None
    """The model, where it is grouped by it; ``correction``: what corrections have charged for it."""
    model: str | None
    api_key_id: str | None


class CostBucket(Struct, frozen=True, kw_only=True):
    """One day (UTC), in Unix seconds."""

    object: Literal["bucket"] = "bucket"
    start_time: int
    end_time: int
    results: tuple[CostResult, ...]


class CostList(Struct, frozen=True, kw_only=True):
    """Days, the oldest first."""

    object: Literal["page"] = "page"
    data: tuple[CostBucket, ...]
    has_more: bool
    next_page: str | None
