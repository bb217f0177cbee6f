"""Failed authentications are slowed per address and per key: growing waits, answered with 429 and ``Retry-After``.

An address that waits is turned away before anything is looked at, so that guessing costs neither signatures nor
questions to the bus. Who has proved something here before is not kept waiting by others behind the same address. A key
whose secret is guessed at never waits for its holder: only wrong secrets are told to wait.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

from gateway.client_address import FORWARDED_FOR, client_address
from gateway.errors import GatewayError
from mesh.access.api_keys import parse_key
from mesh.identity.slowdown import Patience, Slowdown, origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohttp import web

    from gateway.client_address import Network

ADDRESS_PATIENCE: Final = Patience(free=20, forgiven_per_s=1 / 3, first_s=1, longest_s=60)
KEY_PATIENCE: Final = Patience(free=10, forgiven_per_s=1 / 6, first_s=1, longest_s=60)
CHALLENGE_PATIENCE: Final = Patience(free=60, forgiven_per_s=1, first_s=1, longest_s=60)
"""A challenge costs a signature of ours, and proves nothing about who asks for it."""

_PROVEN: Final = 4096


class TooManyFailures(GatewayError):
    """Somebody has failed to prove who they are too often, or asked for too many challenges, and has to wait."""

    def __init__(self, wait_s: float, what: str = "failed attempts to authenticate") -> None:
        """Say for how long, and of what there were too many."""
        self.retry_after_s = max(1, math.ceil(wait_s))
        super().__init__(f"Too many {what}. Try again in {self.retry_after_s} s.")


class FailedLogins:
    """What one gateway remembers of those who have failed."""

    def __init__(self, proxies: Sequence[Network] = (), *, clock: Callable[[], float] = time.monotonic) -> None:
        """Believe ``proxies`` about addresses; ``clock`` says seconds."""
        self._proxies = proxies
        self._clock = clock
        self._addresses = Slowdown(ADDRESS_PATIENCE)
        self._keys = Slowdown(KEY_PATIENCE)
        self._challenges = Slowdown(CHALLENGE_PATIENCE)
        self._proven: dict[int, None] = {}
        """Hashes, with this process's secret, of what was right: no credential is kept for this."""

    def address_of(self, request: web.BaseRequest) -> str:
        """The address of whoever makes a request."""
        return client_address(request.remote or "", request.headers.getall(FORWARDED_FOR, ()), self._proxies)

    def check(self, address: str, text: str | None = None) -> None:
        """Return if an address need not wait now, or has shown ``text`` before and was right.

        Raises:
            TooManyFailures: if it has to wait.
        """
        if not self._addresses:
            return
        wait_s = self._addresses.wait_s(origin_of(address), self._clock())
        if wait_s and (text is None or hash(text) not in self._proven):
            raise TooManyFailures(wait_s)

    def failed(self, address: str, text: str | None = None) -> None:
        """Count a failure.

        Raises:
            TooManyFailures: if there were too many wrong secrets for one key, from wherever.
        """
        now_s = self._clock()
        self._addresses.failed(origin_of(address), now_s)
        if text is None:
            return
        self._proven.pop(hash(text), None)
        shown = parse_key(text)
        if shown is not None and (wait_s := self._keys.failed(shown.key_id, now_s)):
            raise TooManyFailures(wait_s)

    def count_challenge(self, address: str) -> None:
        """Count a challenge that an address asks for.

        Raises:
            TooManyFailures: if it has to wait, for this reason or since it has failed too often.
        """
        self.check(address)
        who, now_s = origin_of(address), self._clock()
        wait_s = self._challenges.wait_s(who, now_s) or self._challenges.failed(who, now_s)
        if wait_s:
            raise TooManyFailures(wait_s, "challenges asked for from this address")

    def proved(self, text: str) -> None:
        """Remember what was right."""
        mark = hash(text)
        if mark in self._proven:
            return
        if len(self._proven) >= _PROVEN:
            del self._proven[next(iter(self._proven))]
        self._proven[mark] = None
