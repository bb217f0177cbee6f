"""How many websockets an account may have open."""

import pytest

from gateway.bridge.places import Place, Places
from gateway.limits.ticket import LimitReached
from streams.access.fold import LOCAL
from streams.tokens import Token

ACME, BETA = Token("acme"), Token("beta")


def test_an_account_has_its_places_and_no_other_accounts() -> None:
    places = Places(1, {"beta": 2, "free": None})
    places.take(ACME)
    with pytest.raises(LimitReached, match="account acme on open websockets: limit 1"):
        places.take(ACME)
    for account in (BETA, BETA, Token("free"), Token("free"), LOCAL, LOCAL):
        places.take(account)
    places.give_back(ACME)
    places.take(ACME)


def test_a_connection_has_one_place_whoever_it_is_of() -> None:
    places = Places(1, {})
    place, other = Place(places), Place(places)
    place.take(ACME)
    place.take(ACME)
    other.take(BETA)
    with pytest.raises(LimitReached):
        place.take(BETA)
    assert [places.taken(name) for name in (ACME, BETA)] == [1, 1]
    other.give_back()
    other.give_back()
    place.take(BETA)
    assert [places.taken(name) for name in (ACME, BETA)] == [0, 1]
