"""Payouts told to a web server of the operator's, signed, again and again until it says what became of them."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import TYPE_CHECKING, ClassVar, Final, Literal

import aiohttp
import msgspec
from msgspec import Struct

from gateway.errors import PayoutError
from gateway.payouts.drivers.answers import body_of
from gateway.payouts.drivers.driver import Fate, Outcome, Prepared
from gateway.payouts.drivers.in_words import any_address, in_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from streams.payouts.payout import DriverName, Payout

_TIMEOUT_S: Final = 20.0
_MOST_ANSWER_BYTES: Final = 64 * 1024
_REFUSED: Final = frozenset({400, 404, 409, 410, 422})
"""Answers that say: not paid, and it never will be. All else is asked again."""


class _Answer(Struct, frozen=True):
    state: Literal["confirmed", "underway", "failed"]
    detail: str = ""


class WebhookDriver:
    """POSTs each payout with its id and an HMAC-SHA256 over time and body, as many webhooks are signed.

    The receiver checks ``ig3-signature: t=<Unix seconds>,v1=<hex>`` (``verify``), keeps ids that it has seen, and
    answers 200 with ``{"state": "confirmed" | "underway" | "failed", "detail": "…"}``.
    """

    name: ClassVar[DriverName] = "webhook"

    def __init__(self, url: str, secret: bytes, *, clock: Callable[[], float] = time.time) -> None:
        """Tell ``url``; ``secret`` is shared with who listens there.

        Raises:
            PayoutError: if the URL is none, or would send amounts through the net in the clear, or the secret is short.
        """
        self._url = _checked_url(url)
        if len(secret) < 16:
            raise PayoutError("the webhook's secret has less than 16 bytes: make one by `openssl rand -hex 32`")
        self._secret = secret
        self._clock = clock

    def check_address(self, address: str) -> str:
        """Take any printable text: what it means is between the operator and the payee."""
        return any_address(address)

    async def prepare(self, payout: Payout, *, underway: tuple[int, ...]) -> Prepared:
        """Make the body, which stays the same each time it is told."""
        return Prepared(reference=payout.id, body=in_json(payout))

    async def hand_over(self, payout: Payout, prepared: Prepared, *, before: tuple[Prepared, ...] = ()) -> Outcome:
        """Tell it and take the answer; what is no clear answer leaves it under way."""
        headers = {
            "content-type": "application/json",
            "idempotency-key": payout.id,
            "ig3-signature": signature(self._secret, int(self._clock()), prepared.body),
        }
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
                session.post(self._url, data=prepared.body, headers=headers, allow_redirects=False) as answer,
            ):
                return _outcome(answer.status, await body_of(answer, _MOST_ANSWER_BYTES))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise PayoutError(f"the webhook did not answer: {error or type(error).__name__}") from error

    async def replace(self, payout: Payout, handed: tuple[Prepared, ...], *, waited: timedelta) -> None:
        """Nothing ever is: the receiver knows a payout by its id."""


def signature(secret: bytes, at_s: int, body: bytes) -> str:
    """Return the value of ``ig3-signature`` for a body told at a time (Unix seconds)."""
    mark = hmac.new(secret, b"%d." % at_s + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={mark}"


def verify(secret: bytes, header: str, body: bytes, *, now_s: float, tolerance_s: float = 300) -> bool:
    """Whether a payout was signed with the secret, not longer ago than ``tolerance_s``: for whoever listens."""
    fields = {name: value for name, _, value in (part.partition("=") for part in header.split(","))}
    at = fields.get("t", "")
    if not (at.isascii() and at.isdecimal()) or abs(now_s - int(at)) > tolerance_s:
        return False
    return hmac.compare_digest(signature(secret, int(at), body), f"t={at},v1={fields.get('v1', '')}")


def _checked_url(url: str) -> str:
    secure = url.startswith("https://")
    local = url.startswith(("http://127.0.0.1:", "http://localhost:", "http://[::1]:"))
    if not (secure or local):
        raise PayoutError(f"payouts are told to https:// addresses only, or to this machine's own: {url!r} is neither")
    return url


def _outcome(status: int, raw: bytes) -> Outcome:
    if status in _REFUSED:
        return Outcome(
            fate=Fate.FAILED, detail=f"the webhook refused it ({status}): {raw[:200].decode(errors='replace')}"
        )
    if status != 200:
        return Outcome(fate=Fate.UNDERWAY, detail=f"the webhook answered {status}")
    try:
        answer = msgspec.json.decode(raw, type=_Answer)
    except msgspec.MsgspecError as error:
        return Outcome(fate=Fate.UNDERWAY, detail=f"the webhook's answer cannot be read: {error}")
    return Outcome(fate=Fate(answer.state), detail=answer.detail)
