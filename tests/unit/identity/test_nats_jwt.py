"""What the broker asks and is answered: sealed both ways, signed, and with exactly the rights that were given."""

import base64
import json
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from nacl.public import Box, PrivateKey, PublicKey
from nacl.signing import VerifyKey
from nacl.utils import random

from mesh.broker.nkey import KeyKind, new_seed, public_key_of, read_public, secret_of
from mesh.errors import InvalidCallout
from mesh.identity.device_settings import DeviceSettings
from mesh.identity.nats_jwt import Admission, CalloutKeys
from streams.rights import BusRights, node_rights
from streams.tokens import Token

NOW_S = 1_767_225_600
ISSUER, SEALED, SERVER, OTHER = (
    new_seed(kind) for kind in (KeyKind.ACCOUNT, KeyKind.CURVE, KeyKind.CURVE, KeyKind.CURVE)
)
SERVER_KEY = public_key_of(SERVER, KeyKind.CURVE)
ASKED = {
    "server_id": {"id": "NSERVER", "name": "s1"},
    "user_nkey": "UUSER",
    "client_info": {"host": "192.0.2.1", "kind": "Client", "nonce": "n"},
    "connect_opts": {"auth_token": "a secret", "sig": "s"},
}


class Seeded(NamedTuple):
    """A key whose seed is in no file."""

    text: str

    def seed(self) -> str:
        """Return the seed."""
        return self.text


KEYS = CalloutKeys(Seeded(ISSUER), Seeded(SEALED))  # type: ignore[arg-type]  # has what is asked of a signer


def box_of(server_seed: str) -> Box:
    ours = PublicKey(read_public(public_key_of(SEALED, KeyKind.CURVE), KeyKind.CURVE))
    return Box(PrivateKey(secret_of(server_seed, KeyKind.CURVE)), ours)


def question(*, by: str = SERVER, claims: object = None) -> bytes:
    """A question as nats-server seals it."""
    body = base64.urlsafe_b64encode(json.dumps(claims or {"nats": ASKED}).encode()).rstrip(b"=")
    nonce = random(24)
    return b"xkv1" + nonce + box_of(by).encrypt(b"e30." + body + b".c2ln", nonce).ciphertext


def claims_of(token: bytes) -> dict[str, Any]:
    """Check a JWT's signature, and return what it says."""
    text, _, signature = token.rpartition(b".")
    issuer = read_public(public_key_of(ISSUER, KeyKind.ACCOUNT), KeyKind.ACCOUNT)
    VerifyKey(issuer).verify(text, base64.urlsafe_b64decode(signature + b"=="))
    return json.loads(base64.urlsafe_b64decode(text.partition(b".")[2] + b"=="))


def answered(verdict: Admission | str) -> dict[str, Any]:
    """What a server reads of an answer."""
    sealed = KEYS.answer(KEYS.open(question(), SERVER_KEY), verdict, server_key=SERVER_KEY, now_s=NOW_S)
    assert sealed.startswith(b"xkv1")
    return claims_of(box_of(SERVER).decrypt(sealed[28:], sealed[4:28]))


def test_a_sealed_question_is_read() -> None:
    asked = KEYS.open(question(), SERVER_KEY)
    assert (asked.server.id, asked.user_key, asked.client.nonce) == ("NSERVER", "UUSER", "n")
    assert asked.options.auth_token == "a secret"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"e30.e30.c2ln",
        question()[:-1],
        question()[:40],
        question(by=OTHER),
        bytes([*question()[:-1], question()[-1] ^ 1]),
        question(claims={"nats": {}}),
        question(claims=[1]),
    ],
    ids=["nothing", "not sealed", "cut", "cut short", "of another server", "changed", "without a server", "no map"],
)
def test_what_is_not_sealed_for_this_service_by_that_server_or_is_no_question_is_left_unanswered(data: bytes) -> None:
    with pytest.raises(InvalidCallout):
        KEYS.open(data, SERVER_KEY)


def test_rights_are_those_that_were_given_for_one_connection_account_and_kind_and_they_end() -> None:
    rights = node_rights(Token("n1"))
    told = answered(Admission(name="node:n1", rights=rights, lasts=timedelta(minutes=15)))
    assert (told["sub"], told["aud"], told["nats"]["type"]) == ("UUSER", "NSERVER", "authorization_response")
    user = claims_of(told["nats"]["jwt"].encode())
    assert (user["sub"], user["aud"], user["name"], user["exp"]) == ("UUSER", "EDGE", "node:n1", NOW_S + 900)
    granted = user["nats"]
    assert granted["pub"] == {"allow": list(rights.publish)}
    assert granted["sub"] == {"allow": list(rights.subscribe)}
    assert granted["resp"] == {"max": 65_536, "ttl": 300 * 10**9}
    assert granted["allowed_connection_types"] == ["STANDARD"]


def test_a_link_of_a_site_is_let_in_as_a_leafnode_alone_and_lends_no_right_to_answer() -> None:
    link = BusRights(publish=("sync.x.>",), subscribe=("a.>",))
    told = answered(
        Admission(name="x", rights=link, lasts=timedelta(minutes=1), account="CORE", connects_as="LEAFNODE")
    )
    user = claims_of(told["nats"]["jwt"].encode())
    assert (user["aud"], user["nats"]["allowed_connection_types"]) == ("CORE", ["LEAFNODE"])
    assert "resp" not in user["nats"]


def test_a_refusal_carries_no_rights() -> None:
    assert answered("refused")["nats"] == {"type": "authorization_response", "version": 2, "error": "refused"}


@pytest.mark.parametrize("lasts", [timedelta(minutes=15, seconds=1), timedelta(seconds=1)])
def test_nobody_is_let_in_for_longer_than_a_quarter_of_an_hour(lasts: timedelta) -> None:
    with pytest.raises(ValueError, match="device_session"):
        DeviceSettings(device_session=lasts)
