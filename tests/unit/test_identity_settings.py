"""Settings about identities: what cannot be used is refused at start, not at the first login."""

import subprocess
import sys
from datetime import timedelta

import pytest

from mesh.config.settings import resolve
from mesh.config.sources import Sources
from mesh.errors import SettingsError
from mesh.identity.accounts import substrate_account
from mesh.identity.did import did_key
from mesh.identity.keys import SigningKey
from mesh.identity.settings import IdentitySettings

GENESIS = "0x" + "d2" * 32
ISSUER = did_key(SigningKey.generate("ed25519").public)


def read(**given: str) -> IdentitySettings:
    env = {f"IG3_{key.upper()}": text for key, text in given.items()}
    return resolve(IdentitySettings, "identity", flags={}, sources=Sources(env=env, tables={}, file=None)).value


def test_without_any_setting_no_chain_is_asked() -> None:
    settings = read()
    assert settings.chain is None
    assert settings.resolver.methods == ("key", "pkh")


def test_a_chain_is_described_by_its_endpoints_and_its_first_block() -> None:
    settings = read(
        did_methods="peaq,key",
        peaq_endpoints="wss://one.example, wss://two.example/path",
        peaq_genesis=GENESIS,
        peaq_issuers=ISSUER.text,
        peaq_entry="optional",
        did_stale="2h",
    )
    assert settings.chain is not None
    assert settings.chain.endpoints == ("wss://one.example", "wss://two.example/path")
    assert (settings.chain.genesis, settings.chain.max_head_age_s, settings.chain.timeout_s) == (GENESIS, 300, 5)
    assert (settings.cache.found_s, settings.cache.missing_s, settings.cache.stale_s) == (300, 30, 7200)
    assert settings.resolver.methods == ("peaq", "key")
    assert settings.resolver.trust.issuers == {ISSUER}
    assert settings.resolver.trust.entry_required is False


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"did_methods": "key,web"}, "web"),
        ({"did_methods": "peaq"}, "give peaq_endpoints and peaq_genesis"),
        ({"peaq_endpoints": "wss://one.example"}, "peaq_genesis is the hash"),
        ({"peaq_endpoints": "wss://one.example", "peaq_genesis": GENESIS.upper()}, "small letters"),
        ({"peaq_endpoints": "https://one.example", "peaq_genesis": GENESIS}, "websocket URLs"),
        ({"peaq_endpoints": "wss://", "peaq_genesis": GENESIS}, "websocket URLs"),
        ({"peaq_attribute": "ours"}, r"needs \{address\}"),
        ({"peaq_attribute": "a longer name for {address}"}, "too long"),
        ({"peaq_issuers": "did:web:example.org"}, "method that is not known"),
        ({"peaq_issuers": f"did:peaq:{substrate_account(SigningKey.generate('ed25519').public)},5x"}, "is not a DID"),
        ({"did_cache": "6m"}, "5m at most"),
        ({"did_cache_missing": "31s"}, "30s"),
        ({"did_stale": "25h"}, "24h at most"),
        ({"peaq_entry": "sometimes"}, "required, optional"),
    ],
)
def test_what_cannot_be_used_is_refused(given: dict[str, str], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        read(**given)


def test_readings_may_be_kept_for_less_or_not_at_all() -> None:
    assert read(did_cache="0s", did_cache_missing="0s").did_cache == timedelta()


def test_reading_the_settings_imports_no_ciphers_and_no_chain() -> None:
    """Every command reads all settings at start."""
    code = "import mesh.identity.settings, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"nacl", "Crypto", "coincurve", "sr25519", "substrateinterface"} & set(loaded)
