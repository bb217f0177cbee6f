"""Settings of single accounts, which stand in tables until accounts have keys of their own."""

from typing import Any

import pytest

from gateway.settings import GatewaySettings
from streams.access.limits import NO_LIMITS, Limits


def test_single_accounts_have_rules_of_their_own() -> None:
    settings = GatewaySettings(on_disconnect_of=("a=cancel", "b=continue"), open_limit_of=("a=5", "b=4000"))
    assert settings.disconnects == {"a": "cancel", "b": "continue"}
    assert settings.open_limits == {"a": 5, "b": 4000}
    assert (GatewaySettings().disconnects, GatewaySettings().open_limits) == ({}, {})


@pytest.mark.parametrize("entry", ["a", "a=", "=cancel", "a=stop", "a b=cancel", "a=cancel=continue"])
def test_a_rule_that_is_none_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r"is not ACCOUNT=VALUE|is none of continue, cancel"):
        GatewaySettings(on_disconnect_of=(entry,))


@pytest.mark.parametrize("entry", ["a", "a=", "a=0", "a=-1", "a=many", "a=1.5", "a=4097"])
def test_a_limit_that_is_none_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r"is not ACCOUNT=VALUE|is not a whole number from 1 to 4096"):
        GatewaySettings(open_limit_of=(entry,))


def test_accounts_have_limits_and_the_one_of_the_mesh_only_by_name() -> None:
    settings = GatewaySettings(
        requests_per_minute=60,
        tokens_per_minute=1000,
        requests_per_minute_of=("a=600", "local=6"),
        tokens_per_minute_of=("a=none",),
        concurrent_streams_of=("b=2",),
    )
    limits_of = settings.limit_rules.of_account
    assert limits_of("a") == Limits(requests_per_minute=600)
    assert limits_of("b") == Limits(requests_per_minute=60, tokens_per_minute=1000, concurrent_streams=2)
    assert limits_of("local") == Limits(requests_per_minute=6)
    assert GatewaySettings().limit_rules.of_account("a") == NO_LIMITS


@pytest.mark.parametrize("entry", ["a", "a=", "a=0", "a=-1", "a=None", "a=1.5", "a=1000000001"])
@pytest.mark.parametrize("key", ["requests_per_minute_of", "tokens_per_minute_of", "concurrent_streams_of"])
def test_a_limit_per_minute_that_is_none_is_refused(key: str, entry: str) -> None:
    given: dict[str, Any] = {key: (entry,)}
    with pytest.raises(ValueError, match=r"is not ACCOUNT=VALUE|is not a whole number from 1 to 1000000000"):
        GatewaySettings(**given)


def test_a_proxy_that_is_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match="no address and no network"):
        GatewaySettings(trusted_proxies=("the proxy",))
