"""Who reads an answer here, with what they were let in by: taken away, it ends the reading, not the answer."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from gateway.http.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Generator

    from gateway.auth.caller import Door
    from gateway.http.following import Follower
    from mesh.access.caller import Caller
    from streams.access.events import Right

_MESSAGE: Final = (
    "The key or the session with which this was asked was revoked, or its account was closed. The task itself goes on."
)


class Reader:
    """One caller who reads one task."""

    def __init__(self, door: Door, caller: Caller, right: Right, follower: Follower) -> None:
        """Ask ``door`` whether the caller may go on, who needs ``right`` for it."""
        self._door = door
        self._caller = caller
        self._right: Right = right
        self._follower = follower

    def check(self) -> None:
        """Return if the caller may still read.

        Raises:
            ApiError: 401 if not.
        """
        if not self._may_go_on():
            raise ApiError(401, _MESSAGE, code="access_revoked")

    def look(self) -> None:
        """Wake the reading if it has to end."""
        if not self._may_go_on():
            self._follower.wake()

    def _may_go_on(self) -> bool:
        return self._door.may_go_on(self._caller, self._right)


class Readers:
    """All of one gateway."""

    def __init__(self, door: Door) -> None:
        """Ask ``door`` about each."""
        self._door = door
        self._reading: set[Reader] = set()

    @contextmanager
    def reading(self, caller: Caller, right: Right, follower: Follower) -> Generator[None]:
        """Hold a reader to what they may, inside a ``with`` block."""
        reader = Reader(self._door, caller, right, follower)
        follower.guard = reader.check
        self._reading.add(reader)
        try:
            yield
        finally:
            self._reading.discard(reader)

    def look(self) -> None:
        """Something has changed in who may do what."""
        for reader in self._reading:
            reader.look()
