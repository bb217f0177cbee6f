"""Everything the pure core can refuse, as one small hierarchy."""

from __future__ import annotations


class StreamsError(Exception):
    """Root of every error raised by ``streams``."""


class InvalidToken(StreamsError, ValueError):
    """A name cannot stand in a subject; use 1 to 64 of ``A-Z a-z 0-9 _ -``."""


class InvalidSubject(StreamsError, ValueError):
    """A subject does not have the shape of the family it was read as."""


class InvalidTaskId(StreamsError, ValueError):
    """A task id is not a UUIDv7 in 32 lower-case hex digits, or it lies outside the retention window."""


class InvalidAmount(StreamsError, ValueError):
    """A text is no amount of money that can be held exactly."""


class InvalidPeriod(StreamsError, ValueError):
    """A text names no month."""


class InvalidLedgerAccount(StreamsError, ValueError):
    """A text names no account of the ledger."""


class UndecodableEvent(StreamsError, ValueError):
    """Bytes are neither MessagePack nor JSON of the type that was expected there."""


class NewerEvent(UndecodableEvent):
    """An event in the form of ours, of a kind or with words that this version does not know: a newer one wrote it."""

    def __init__(self, tag: str, n: int, reason: str) -> None:
        """Name what cannot be read."""
        super().__init__(f"{tag} cannot be read by this version ({reason}): a newer one wrote it; upgrade this process")
        self.tag = tag
        self.n = n
        """Its counter, where it has one; else 0."""


class InvalidEpoch(StreamsError, ValueError):
    """A number or a day names no epoch of rewards."""


class InvalidRewardRules(StreamsError, ValueError):
    """Rules of rewards contradict themselves, or ask for what cannot be computed."""
