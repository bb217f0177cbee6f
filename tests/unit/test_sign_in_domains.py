"""For which domains somebody may sign in here, and which gateways may let everybody in."""

from typing import Any

import pytest

from gateway.auth.caller import refuse_open_gateway
from gateway.auth.domains import SignInDomains
from gateway.auth.refusal import SignInRefused
from gateway.errors import GatewayError
from gateway.settings import GatewaySettings

PORT = 8080


def domains(**settings: Any) -> SignInDomains:
    return SignInDomains(GatewaySettings(**settings))


@pytest.mark.parametrize("domain", ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST:8080"])
def test_on_loopback_its_names_with_the_own_port_are_ours(domain: str) -> None:
    assert domains().is_ours(domain, port=PORT)


@pytest.mark.parametrize(
    "domain",
    [
        "localhost",
        "localhost:3000",
        "127.0.0.2:8080",
        "6.6.6.6:8080",
        "evil.example:8080",
        "u@localhost:8080",
        "localhost:8080/",
        "localhost:8080:1",
        "localhost:x",
        "localhost.:8080",
        "[::1",
        "",
    ],
)
def test_no_other_name_and_no_other_port_is(domain: str) -> None:
    assert not domains().is_ours(domain, port=PORT)
    assert not domains(http="0.0.0.0:8080", auth="required").is_ours(domain, port=PORT)


def test_the_names_of_the_settings_are_ours_with_the_own_port_or_behind_a_proxy_with_none() -> None:
    named = domains(http="10.0.0.5:8080", http_hosts=("chat.example.org",))
    for domain in ("chat.example.org", "Chat.Example.org", "chat.example.org:8080", "10.0.0.5:8080"):
        assert named.is_ours(domain, port=PORT)
    for domain in ("chat.example.org:9090", "10.0.0.6:8080", "example.org"):
        assert not named.is_ours(domain, port=PORT)


def test_an_open_address_is_no_name() -> None:
    assert not domains(http="0.0.0.0:8080").is_ours("0.0.0.0:8080", port=PORT)


def test_domains_that_are_configured_are_the_only_ones() -> None:
    configured = domains(sign_in_domains=("Chat.Example.org", "localhost:3000"))
    assert configured.is_ours("chat.example.org", port=PORT)
    assert configured.is_ours("localhost:3000", port=PORT)
    assert not configured.is_ours("localhost:8080", port=PORT)
    assert configured.of_host("10.1.2.3:8080", port=PORT) == "chat.example.org"


def test_who_asks_by_another_name_is_told_what_to_do() -> None:
    with pytest.raises(SignInRefused, match="--sign-in-domains"):
        domains().of_host("6.6.6.6:8080", port=PORT)


@pytest.mark.parametrize("domain", ["https://chat.example.org", "a/b", "u@h", " ", ""])
def test_what_is_no_domain_is_refused_in_the_settings(domain: str) -> None:
    with pytest.raises(ValueError, match="is not a domain"):
        GatewaySettings(sign_in_domains=(domain,))


@pytest.mark.parametrize("http", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", ":8080", "127.9.9.9:1"])
def test_on_loopback_a_gateway_may_let_everybody_in(http: str) -> None:
    refuse_open_gateway(GatewaySettings(http=http))


@pytest.mark.parametrize("http", ["0.0.0.0:8080", "[::]:8080", "10.0.0.5:8080", "chat.example.org:80"])
def test_a_gateway_that_listens_wider_asks_for_keys_or_does_not_start(http: str) -> None:
    with pytest.raises(GatewayError, match=r"--auth required.*ig3 keys issue.*--http 127\.0\.0\.1:8080"):
        refuse_open_gateway(GatewaySettings(http=http))
    refuse_open_gateway(GatewaySettings(http=http, auth="required"))
