"""Limits of one gateway without its HTTP: what is let pass, and a clock that goes when a test says so."""

from gateway.limits.limiter import Limiter
from gateway.limits.rules import LimitRules
from gateway.limits.store import LimitStore
from gateway.limits.ticket import LimitReached, Price, Ticket
from mesh.access.caller import Caller
from streams.access.limits import Limits
from streams.clock import now_ms
from streams.tokens import Token


class Time:
    """Milliseconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_ms = now_ms()

    def __call__(self) -> int:
        return self.now_ms


def caller(account: str) -> Caller:
    return Caller(account=Token(account), how="key", rights=frozenset({"chat"}), key_id=None)


def limiter(store: LimitStore, **limits: int) -> Limiter:
    return Limiter(store, LimitRules(usual=Limits(**limits)))


async def passes(gateway: Limiter, who: Caller, *, tokens: int = 0) -> bool:
    ticket = gateway.ticket(who)
    try:
        await ticket.pay(lambda: Price(prompt=tokens), stream=False)
    except LimitReached:
        return False
    return True


async def opened(gateway: Limiter, who: Caller) -> Ticket | None:
    ticket = gateway.ticket(who)
    try:
        await ticket.open_stream()
    except LimitReached:
        return None
    return ticket
