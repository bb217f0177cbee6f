"""What a device must show to be let in: each forgery on a real broker, and why the operator is told it was refused."""

import asyncio
import base64
import json
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from mesh.broker.server import EmbeddedServer
from mesh.bus.link import Link
from mesh.bus.service_bus import Bus
from mesh.errors import BusRefused, BusUndecided
from mesh.identity import callout
from mesh.identity.device_login import DeviceLogin
from mesh.identity.did import did_key
from mesh.identity.gatekeeper import Gatekeeper
from mesh.identity.keys import SigningKey
from mesh.identity.nats_jwt import Admission, Question
from streams.devices.fold import Devices, Standing
from streams.subjects import MESH
from streams.tokens import Token
from tests.identity_in_process import device_did, device_key, device_login, identity_service
from tests.integration.identity.showing import NODE, Shown, gets_in, options_of

WAIT = timedelta(seconds=5)
"""Longer than a broker waits for a decision, three seconds."""
STRANGER = SigningKey.generate("ed25519")


def changed(**fields: object) -> Callable[[str], str]:
    """Write other fields into a token."""
    return lambda text: json.dumps({**json.loads(text), **fields})


async def test_who_proves_a_did_is_let_in_and_stands_in_the_log(
    server: EmbeddedServer, now: Callable[[], Awaitable[Devices]]
) -> None:
    async with identity_service(server):
        assert await gets_in(server, device_login(NODE))
        device = (await now()).device(NODE)
    assert device is not None
    assert (device.did, device.standing) == (device_did(NODE).text, Standing.ADMITTED)


@pytest.mark.parametrize("algorithm", ["ed25519", "sr25519", "secp256k1"])
async def test_each_kind_of_key_serves(server: EmbeddedServer, bus: Bus, algorithm: str) -> None:
    key = SigningKey.generate(algorithm)  # type: ignore[arg-type]  # parametrized
    async with identity_service(server):
        assert await gets_in(server, DeviceLogin(did_key(key.public), key, NODE))


FORGERIES: dict[str, tuple[Shown, str]] = {
    "a signature of another key": (
        Shown(token_as=changed(did=did_key(STRANGER.public).text)),
        "not_signed_by_subject",
    ),
    "a signature over another nonce": (Shown(nonce_as=lambda nonce: nonce[::-1]), "not_signed_by_subject"),
    "a signature with a flipped bit": (
        Shown(
            signature_as=lambda text: base64.b64encode(
                bytes([base64.b64decode(text)[0] ^ 1]) + base64.b64decode(text)[1:]
            )
        ),
        "not_signed_by_subject",
    ),
    "no signature": (Shown(signature_as=lambda _: b""), "it signed no nonce"),
    "a signature that is no base64": (Shown(signature_as=lambda _: b"%%%"), "malformed"),
    "another algorithm for the same key": (Shown(token_as=changed(alg="sr25519")), "not_signed_by_subject"),
    "an algorithm that there is not": (Shown(token_as=changed(alg="none")), "malformed"),
    "the name of the services": (Shown(token_as=changed(node=MESH)), "name of the services"),
    "a name with a wildcard": (Shown(token_as=changed(node="*")), "not a subject token"),
    "a name with a dot": (Shown(token_as=changed(node="a.b")), "not a subject token"),
    "a DID that is none": (Shown(token_as=changed(did="did:peaq:1234")), "machine id"),
    "a method that is not accepted": (
        Shown(token_as=changed(did="did:peaq:0x00a329c0648769A73afAc7F9381E08FB43dBEA72")),
        "method_not_accepted",
    ),
    "a token of another kind": (Shown(token_as=changed(type="device.v2")), "malformed"),
    "a token without a name": (Shown(token_as=lambda _: '{"type": "device.v1"}'), "malformed"),
    "half a token": (Shown(token_as=lambda text: text[: len(text) // 2]), "malformed"),
    "a token that is too long": (Shown(token_as=changed(padding="x" * 3_100)), "too long"),
    "words": (Shown(token_as=lambda _: "let me in"), "neither an API key nor a session token"),
    "nothing": (Shown(token_as=lambda _: ""), "neither a DID nor a key"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forgery_is_refused_and_the_operator_is_told_why(
    server: EmbeddedServer,
    now: Callable[[], Awaitable[Devices]],
    forgery: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "mesh.identity.callout")
    shown, why = FORGERIES[forgery]
    async with identity_service(server):
        assert not await gets_in(server, shown)
        assert why in caplog.text
        assert (await now()).all() == ()
        # The service goes on.
        assert await gets_in(server, device_login(NODE))


async def test_what_was_shown_once_does_not_serve_again(server: EmbeddedServer, bus: Bus) -> None:
    seen: list[bytes] = []
    watched = Shown(signature_as=lambda signature: seen.append(signature) or signature)
    async with identity_service(server):
        assert await gets_in(server, watched)
        assert not await gets_in(server, Shown(signature_as=lambda _: seen[0]))


async def test_a_server_that_pretends_to_be_the_mesh_cannot_pass_a_signature_on(
    server: EmbeddedServer, bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mesh.identity.callout")
    own = str(server.address)
    honest = device_login(NODE)

    class Relayed:
        """What the device signed when it dialled somebody else, shown here."""

        lasts = honest.lasts

        def __init__(self, claimed: str) -> None:
            self.claimed = claimed

        def token(self, audience: str) -> str:
            return changed(audience=self.claimed)(honest.token("evil.example:4222"))

        def sign(self, audience: str, nonce: str) -> bytes:
            return honest.sign("evil.example:4222", nonce)

    async with identity_service(server, addresses=frozenset({own})):
        for claimed, why in (("evil.example:4222", "not an address of this mesh"), (own, "not_signed_by_subject")):
            with pytest.raises(BusRefused):
                await Link.connect(options_of(server, Relayed(claimed)))  # type: ignore[arg-type]  # a login of its own
            assert why in caplog.text
        assert await gets_in(server, honest)


async def test_the_name_of_another_device_is_refused(
    server: EmbeddedServer, now: Callable[[], Awaitable[Devices]]
) -> None:
    async with identity_service(server):
        assert await gets_in(server, device_login(NODE))
        assert not await gets_in(server, device_login(NODE, key=STRANGER))
        assert not await gets_in(server, DeviceLogin(device_did(NODE), device_key(NODE), Token("n2")), Token("n2"))
        assert await gets_in(server, device_login(NODE))
        assert [device.node for device in (await now()).all()] == [NODE]


async def test_an_unknown_nkey_and_nobody_at_all_are_refused(server: EmbeddedServer, bus: Bus) -> None:
    async with identity_service(server):
        strange = server.credentials.user.seed_path.with_name("strange.nk")
        strange.write_text("SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY")
        for seed in (strange, None):
            options = options_of(server, device_login(NODE))
            with pytest.raises(BusRefused):
                await Link.connect(
                    type(options)(servers=options.servers, name="x", inbox_prefix=options.inbox_prefix, seed_file=seed)
                )


async def test_a_decision_that_is_late_is_no_refusal_and_who_asks_again_gets_in(
    server: EmbeddedServer, bus: Bus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[Question] = []
    decide = Gatekeeper.decide

    async def late_at_first(keeper: Gatekeeper, question: Question) -> Admission:
        asked.append(question)
        if len(asked) == 1:
            await asyncio.Event().wait()
        return await decide(keeper, question)

    monkeypatch.setattr(Gatekeeper, "decide", late_at_first)
    monkeypatch.setattr(callout, "_DECIDE_WITHIN", timedelta(seconds=0.5))
    async with identity_service(server):
        assert await gets_in(server, device_login(NODE))
    assert "no decision within" in caplog.text
    assert len(asked) > 1


async def test_while_nobody_decides_nobody_new_gets_in_and_who_is_in_stays(server: EmbeddedServer, bus: Bus) -> None:
    async with identity_service(server):
        link = await Link.connect(options_of(server, device_login(NODE)))
    with pytest.raises(BusUndecided):
        await Link.connect(replace(options_of(server, device_login("n2"), Token("n2")), connect_timeout=WAIT))
    await link.client.flush()
    assert link.is_connected
    async with identity_service(server):
        assert await gets_in(server, device_login("n2"), Token("n2"))
    await link.close()
