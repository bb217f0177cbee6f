"""One seat looked at for one wish: what filters and scores are asked with. One object serves a whole placement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.scheduling.wish import WELL_REGARDED

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from gateway.scheduling.seat import Seat
    from gateway.scheduling.wish import Regard, Wish


class Case:
    """``look_at`` sets the seat; ``reckon`` works out how long things would take there, once filters have passed it."""

    __slots__ = (
        "answer_s",
        "cached_tokens",
        "cached_tokens_at",
        "finish_s",
        "first_token_s",
        "losses_s",
        "now_s",
        "prompt_s",
        "regard",
        "regard_of",
        "saved_s",
        "seat",
        "suspected",
        "widest_context",
        "wish",
    )

    seat: Seat
    regard: Regard
    prompt_s: float
    """Time to read the whole prompt, as busy as the replica is."""
    saved_s: float
    """How much of that the node need not do: it has read a part before."""
    answer_s: float
    """Time to write the expected answer."""
    cached_tokens: int
    first_token_s: float
    """When the first token would be there."""
    finish_s: float
    """When the whole answer would be there."""

    def __init__(
        self,
        wish: Wish,
        *,
        now_s: float,
        regard_of: Callable[[str], Regard] | None = None,
        suspected: Container[str] = (),
        cached_tokens_at: Mapping[tuple[str, str], int] | None = None,
        widest_context: Callable[[], int] = lambda: 0,
    ) -> None:
        """Begin a placement.

        Args:
            wish: what the task needs.
            now_s: the clock that nodes are heard by.
            regard_of: what is thought of a node; nothing: all are well regarded.
            suspected: nodes that run a suspect.
            cached_tokens_at: how much of the prompt a node and model has read before.
            widest_context: asks for the most tokens that any live replica takes.
        """
        self.wish = wish
        self.now_s = now_s
        self.regard_of = regard_of
        self.suspected = suspected
        self.cached_tokens_at = cached_tokens_at
        self.widest_context = widest_context
        self.losses_s = dict(zip(wish.models, wish.losses_s, strict=False)) if wish.losses_s else None

    def look_at(self, seat: Seat) -> None:
        """Turn to a seat."""
        self.seat = seat
        self.regard = WELL_REGARDED if self.regard_of is None else self.regard_of(seat.node)

    def reckon(self) -> None:
        """Work out the times. A replica with slots in use is slower for each: as slow as if it shared itself out."""
        seat, wish = self.seat, self.wish
        free = seat.slots - seat.in_use
        crowding = seat.slots / free if free > 0 else float(seat.slots)
        cached = 0
        if self.cached_tokens_at:
            cached = min(self.cached_tokens_at.get((seat.node, seat.model), 0), wish.prompt_tokens)
        self.cached_tokens = cached
        a_prompt_token_s = seat.prompt_s * crowding
        self.prompt_s = wish.prompt_tokens * a_prompt_token_s
        self.saved_s = cached * a_prompt_token_s
        self.answer_s = wish.answer_tokens * seat.token_s * crowding
        read_s = seat.rtt_s + self.prompt_s - self.saved_s
        # Of texts that become vectors nothing is written.
        self.first_token_s = read_s + (seat.token_s if wish.answer_tokens else 0.0)
        self.finish_s = read_s + self.answer_s
