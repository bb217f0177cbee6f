"""Which devices may take part, by each rule; what an operator decides holds at once, everywhere, and over restarts."""

import asyncio
import logging
import time
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from mesh.broker.server import EmbeddedServer
from mesh.bus.link import Link
from mesh.bus.service_bus import Bus
from mesh.errors import DeviceError
from mesh.identity.credential import issue_credential
from mesh.identity.device_log import DeviceLog
from mesh.identity.device_login import DeviceLogin
from mesh.identity.did import did_key
from mesh.identity.gatekeeper import AdmissionPolicy
from mesh.identity.keys import SigningKey
from streams import subjects
from streams.devices.fold import Standing
from streams.tokens import Token
from tests.identity_in_process import device_did, device_key, device_login, identity_service
from tests.integration.identity.showing import NODE, gets_in, gets_in_soon, options_of
from tests.processes import until

LISTED = AdmissionPolicy(rule="listed")
ISSUER = SigningKey.generate("ed25519")
BY_WORD = AdmissionPolicy(rule="credential")


async def standing(log: DeviceLog, wanted: Standing, node: Token = NODE) -> None:
    def is_there() -> bool:
        device = log.devices.device(node)
        return device is not None and device.standing is wanted

    await until(is_there)


async def test_a_device_waits_until_an_operator_admits_it(server: EmbeddedServer, log: DeviceLog) -> None:
    async with identity_service(server, LISTED):
        assert not await gets_in(server, device_login(NODE))
        await standing(log, Standing.VERIFIED)
        await log.admit(NODE, by="test")
        await gets_in_soon(server, device_login(NODE))


async def test_a_device_that_is_expected_gets_in_at_its_first_try(server: EmbeddedServer, log: DeviceLog) -> None:
    await log.admit(NODE, by="test", did=device_did(NODE).text)
    async with identity_service(server, LISTED):
        assert not await gets_in(server, device_login(NODE, key=device_key("another")))
        assert await gets_in(server, device_login(NODE))


async def test_a_device_of_the_operators_own_machine_needs_nobodys_word(server: EmbeddedServer, bus: Bus) -> None:
    async with identity_service(server, LISTED, own=frozenset({device_did(NODE).text})):
        assert await gets_in(server, device_login(NODE))
        assert not await gets_in(server, device_login("n2"), Token("n2"))


async def test_no_more_wait_than_the_operator_wants(server: EmbeddedServer, log: DeviceLog) -> None:
    async with identity_service(server, AdmissionPolicy(rule="listed", most_waiting=1)):
        assert not await gets_in(server, device_login(NODE))
        assert not await gets_in(server, device_login("n2"), Token("n2"))
        await standing(log, Standing.VERIFIED)
    await log.catch_up()
    assert log.devices.device(Token("n2")) is None


def word_for(name: str, *, lasts: timedelta = timedelta(days=1), issuer: SigningKey = ISSUER) -> DeviceLogin:
    text = issue_credential(did_key(issuer.public), issuer, device_did(name), now_s=int(time.time()), lasts=lasts)
    return DeviceLogin(device_did(NODE), device_key(NODE), NODE, credential=text)


@pytest.mark.parametrize(
    ("shown", "is_good"),
    [
        (word_for(NODE), True),
        (word_for("another"), False),
        (word_for(NODE, lasts=timedelta(0)), False),
        (word_for(NODE, issuer=SigningKey.generate("ed25519")), False),
        (device_login(NODE), False),
    ],
    ids=["for it", "for another", "expired", "of a stranger", "none"],
)
async def test_an_issuers_word_lets_a_device_in(
    server: EmbeddedServer, bus: Bus, shown: DeviceLogin, is_good: bool
) -> None:
    async with identity_service(server, BY_WORD, issuers=frozenset({did_key(ISSUER.public).text})):
        assert await gets_in(server, shown) is is_good


async def test_that_a_device_shows_its_own_key_after_one_of_its_document_is_noted_once(
    server: EmbeddedServer, log: DeviceLog
) -> None:
    await log.verified(NODE, device_did(NODE).text, proved_by="#key-1")
    async with identity_service(server):
        assert await gets_in(server, device_login(NODE))
        await log.catch_up()
        noted = log.devices.device(NODE)
        assert noted is not None
        assert noted.signs_as_subject
        assert await gets_in(server, device_login(NODE))
        await log.catch_up()
        assert log.devices.device(NODE) == noted


@pytest.mark.parametrize("decision", ["suspend", "revoke"])
async def test_a_device_that_is_shut_out_is_cut_off_and_stays_out(
    server: EmbeddedServer, log: DeviceLog, decision: str
) -> None:
    async with identity_service(server):
        link = await Link.connect(options_of(server, device_login(NODE)))
        other = await Link.connect(options_of(server, device_login("n2"), Token("n2")))
        returned: list[int] = []
        other.on_return(lambda: returned.append(1))
        decide = log.suspend if decision == "suspend" else log.revoke
        await decide(NODE, by="test", reason="it lied")
        await until(lambda: not link.is_connected)
        assert not await gets_in(server, device_login(NODE))
    async with identity_service(server):
        # Nothing but the log knows of it now.
        assert not await gets_in(server, device_login(NODE))
        if decision == "suspend":
            await log.admit(NODE, by="test")
            await gets_in_soon(server, device_login(NODE))
        else:
            with pytest.raises(DeviceError, match="for good"):
                await log.admit(NODE, by="test")
    assert other.is_connected
    assert not returned
    await asyncio.gather(link.close(), other.close())


async def test_what_was_decided_while_no_identity_service_ran_is_made_good(
    server: EmbeddedServer, log: DeviceLog
) -> None:
    async with identity_service(server):
        link = await Link.connect(options_of(server, device_login(NODE)))
        await standing(log, Standing.ADMITTED)
    await log.revoke(NODE, by="test", reason="stolen")
    assert link.is_connected
    async with identity_service(server):
        await until(lambda: not link.is_connected)
    await link.close()


async def test_several_services_share_the_questions_and_any_of_them_is_enough(
    server: EmbeddedServer, bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mesh.identity.callout")
    async with AsyncExitStack() as first, AsyncExitStack() as second:
        for stack in (first, second):
            await stack.enter_async_context(identity_service(server))
        for _ in range(10):
            assert await gets_in(server, device_login(NODE))
        # Each question is one's alone: else there were twice as many. Who is not answered in time asks once more.
        assert 10 <= len([line for line in caplog.messages if line.startswith("let in")]) < 20
        await first.aclose()
        assert await gets_in(server, device_login(NODE))
        await first.enter_async_context(identity_service(server))
        await second.aclose()
        assert await gets_in(server, device_login(NODE))


async def test_two_hundred_devices_at_once_all_get_in(server: EmbeddedServer, bus: Bus) -> None:
    names = [Token(f"device-{number}") for number in range(200)]
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(identity_service(server))
        links = await asyncio.gather(*(Link.connect(options_of(server, device_login(name), name)) for name in names))
        assert all(link.is_connected for link in links)
        await asyncio.gather(*(link.close() for link in links))


async def test_a_session_is_renewed_before_it_ends_and_what_was_subscribed_goes_on(
    server: EmbeddedServer, bus: Bus
) -> None:
    heard: list[int] = []
    subject = subjects.node_inbox(NODE, "stop")
    async with identity_service(server, AdmissionPolicy(rule="open", lasts=timedelta(seconds=2))):
        login = device_login(NODE, lasts=timedelta(seconds=2))
        link = await Link.connect(options_of(server, login))
        await link.listen(subject, lambda delivery: heard.append(int(delivery.data)))
        renewals: list[int] = []
        link.on_return(lambda: renewals.append(1))
        await until(lambda: len(renewals) >= 2)

        def said_and_heard() -> bool:
            # What is said in the moment of a renewal reaches nobody.
            bus.edge.send(subject, b"1")
            return 1 in heard

        await until(said_and_heard)
        await until(lambda: link.is_connected)
        await link.close()


async def test_a_device_that_does_not_renew_in_time_is_let_in_anew(server: EmbeddedServer, bus: Bus) -> None:
    async with identity_service(server, AdmissionPolicy(rule="open", lasts=timedelta(seconds=1))):
        # It believes that it has a quarter of an hour; the broker ends it after a second.
        link = await Link.connect(options_of(server, device_login(NODE)))
        back: list[int] = []
        link.on_return(lambda: back.append(1))
        await until(lambda: bool(back))
        await until(lambda: link.is_connected)
        await link.close()
