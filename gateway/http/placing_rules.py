"""What a client will not have otherwise of where its task runs: five headers, read strictly."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, get_args

from msgspec.structs import replace

from gateway.http.errors import ApiError
from gateway.scheduling.policies import POLICIES
from streams.tasks.placing import Redaction, Rules

if TYPE_CHECKING:
    from aiohttp import web

POLICY: Final = "x-ig3-policy"
REGION: Final = "x-ig3-region"
MAX_PRICE: Final = "x-ig3-max-price"
MIN_REPUTATION: Final = "x-ig3-min-reputation"
REDACTION: Final = "x-ig3-redaction"

RULE_HEADERS: Final = (POLICY, REGION, MAX_PRICE, MIN_REPUTATION, REDACTION)
REDACTIONS: Final[tuple[Redaction, ...]] = get_args(Redaction)

_REGION: Final = re.compile(r"[\x21-\x7e]{1,64}")
_PRICE: Final = re.compile(r"([0-9]{1,6})(?:\.([0-9]{1,6}))?")
_SHARE: Final = re.compile(r"0(?:\.[0-9]{1,6})?|1(?:\.0{1,6})?")
_MICRO_DIGITS: Final = 6


def read_rules(request: web.BaseRequest) -> Rules | None:
    """Read the headers; None where there is none of them.

    Raises:
        ApiError: 400, naming the header that cannot be used: a rule that is misread is none.
    """
    headers = request.headers
    if not any(name in headers for name in RULE_HEADERS):
        return None
    price = headers.get(MAX_PRICE)
    return Rules(
        policy=_policy(headers.get(POLICY)),
        region=_region(headers.get(REGION)),
        highest_price_micro=None if price is None else _price_micro(price),
        lowest_reputation=_reputation(headers.get(MIN_REPUTATION)),
        redaction=_redaction(headers.get(REDACTION)),
    )


def with_redaction(rules: Rules | None, usual: Redaction | None) -> Rules | None:
    """Add what is hidden from providers for an account, where its request does not say it."""
    if usual is None or (rules is not None and rules.redaction is not None):
        return rules
    return replace(rules or Rules(), redaction=usual)


def _policy(given: str | None) -> str:
    if given is not None and given not in POLICIES:
        raise _unusable(POLICY, f"use one of {', '.join(POLICIES)}")
    return given or ""


def _region(given: str | None) -> str | None:
    if given is not None and not _REGION.fullmatch(given):
        raise _unusable(REGION, "it must be 1 to 64 printable ASCII characters without a space")
    return given


def _price_micro(given: str) -> int:
    parts = _PRICE.fullmatch(given)
    if parts is None:
        raise _unusable(MAX_PRICE, "use a price for a million tokens, such as 0.5")
    return int(parts[1] + (parts[2] or "").ljust(_MICRO_DIGITS, "0"))


def _reputation(given: str | None) -> float:
    if given is None:
        return 0.0
    if not _SHARE.fullmatch(given):
        raise _unusable(MIN_REPUTATION, "use a number from 0 to 1")
    return float(given)


def _redaction(given: str | None) -> Redaction | None:
    if given is None:
        return None
    for known in REDACTIONS:
        if known == given:
            return known
    raise _unusable(REDACTION, f"use one of {', '.join(REDACTIONS)}")


def _unusable(header: str, remedy: str) -> ApiError:
    return ApiError(400, f"The value of {header} cannot be used: {remedy}.", code="invalid_value", param=header)
