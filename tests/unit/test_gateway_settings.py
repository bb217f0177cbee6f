"""Settings of single accounts, which stand in tables until accounts have keys of their own."""

import pytest

from gateway.settings import GatewaySettings


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
