"""Log lines: for people or machines, and never with a secret."""

import json
import logging
from itertools import count

import pytest

from mesh.access.api_keys import new_key
from mesh.broker.nkey import KeyKind, new_seed
from mesh.processes.logs import make_formatter

JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
SEED = new_seed()
KEY = new_key().text
PEM = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END PRIVATE KEY-----"


def record(message: str, *arguments: object, error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error is not None else None
    return logging.LogRecord("mesh.x", logging.WARNING, __file__, 1, message, arguments, info)


def test_a_text_line_says_when_how_bad_who_and_what() -> None:
    line = make_formatter("node-1", "text").format(record("lost %s", "it"))
    assert line.endswith(" WARNING node-1: lost it")


def test_a_json_line_is_one_object_with_the_same() -> None:
    line = make_formatter("gateway", "json").format(record("lost %s\nfor good", "it"))
    assert "\n" not in line
    said = json.loads(line)
    assert said.pop("time").endswith("Z")
    assert said == {"level": "warning", "process": "gateway", "logger": "mesh.x", "message": "lost it\nfor good"}


def test_a_json_line_has_the_traceback_of_an_error() -> None:
    try:
        raise ValueError("broken")
    except ValueError as error:
        line = make_formatter("gateway", "json").format(record("oh", error=error))
    assert "ValueError: broken" in json.loads(line)["error"]


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"seed {SEED} used", SEED),
        (f"token={JWT}", JWT),
        ("Authorization: Bearer abc.def-123=", "abc.def-123="),
        ("connect to nats://me:hunter2@host:1", "hunter2"),
        ("cannot use redis://:hunter2@host:1/0", "hunter2"),
        (f"the key {KEY} is not good", KEY),
        (f"the key {KEY} is not good", KEY[20:]),
        (f"'Authorization': 'Bearer {KEY}'", KEY),
        (f'"x-api-key": "{KEY}"', KEY),
        *((f"{name} {new_seed(kind)}", "") for name, kind in (("issuer", KeyKind.ACCOUNT), ("curve", KeyKind.CURVE))),
        ("opened with passphrase=correct-horse", "correct-horse"),
        ('read {"passphrase": "correct horse", "n": 1}', "correct horse"),
        ("IG3_BROKER_STORE_KEY=0123456789abcdef", "0123456789abcdef"),
        ('{"edge_seed":"anything"}', "anything"),
        (PEM, "MC4CAQAwBQYDK2VwBCIEIA"),
    ],
    ids=count(),
)
def test_secrets_are_hidden(form: str, text: str, secret: str) -> None:
    formatter = make_formatter("x", "json" if form == "json" else "text")
    secret = secret or text.split()[1]
    assert secret not in formatter.format(record("%s", text))
    assert secret not in formatter.format(record("failed", error=ValueError(text)))
    assert "****" in formatter.format(record("%s", text))


def test_what_only_looks_like_a_secret_is_left_alone() -> None:
    text = (
        "nats://127.0.0.1:4222 UAIZ3QZPBX6MNUQVP2B2RSNGDBMP3REMZUVB4MG5D3AUC22Y2X3B22HA SUMMARY ig3_gateway "
        "see the passphrase file /etc/ig3/passphrase, key_id=k7q2mzx4c5ta, store.key, the secret, did:key:z6MkhaXgBZD"
    )
    assert make_formatter("x", "text").format(record("%s", text)).endswith(text)
