"""Every cell of docs/rights.md, tried on a real broker: each role, each subject, publishing and subscribing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from mesh.broker.server import EmbeddedServer
from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.bus.service_bus import Bus
from mesh.commands.docs import rights_page
from mesh.identity.callout import Callout
from mesh.identity.nats_jwt import Admission, CalloutKeys, Question
from streams import subjects
from streams.rights import BusRights, Grants, node_rights
from streams.rights_table import ACCOUNT, NODE, RIGHTS, ROLES, Role, matches, rows
from streams.subjects import TaskKey
from streams.tasks.task_id import new_task_id
from streams.tokens import token
from tests.identity_in_process import device_login
from tests.integration.identity.showing import PATIENT
from tests.processes import until

PAGE = Path(__file__).parents[3] / "docs" / "rights.md"


class Doorman:
    """Lets everybody in with the rights that a test is about."""

    def __init__(self, rights: BusRights) -> None:
        self._rights = rights

    async def decide(self, question: Question) -> Admission:
        return Admission(name="x", rights=self._rights, lasts=timedelta(minutes=5))


@asynccontextmanager
async def let_in(server: EmbeddedServer, rights: BusRights, inbox: str) -> AsyncIterator["Connected"]:
    """A connection with these rights, from the very claims that the identity service signs."""
    credentials = server.credentials
    auth = await Link.connect(
        LinkOptions(
            servers=(server.url,), name="auth", inbox_prefix="_INBOX.svc.x", seed_file=credentials.identity.seed_path
        )
    )
    callout = Callout(auth, CalloutKeys(credentials.issuer, credentials.sealed), Doorman(rights))  # type: ignore[arg-type]  # decides as a gatekeeper does
    await callout.start()
    link = await Link.connect(
        LinkOptions(
            servers=(server.url,), name="n", inbox_prefix=inbox, login=device_login(NODE), connect_timeout=PATIENT
        )
    )
    try:
        yield Connected(link)
    finally:
        await link.close()
        await callout.stop()
        await auth.close()


class Connected:
    """Tries things, and hears what the broker refuses."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._refused: list[str] = []
        link.client._error_cb = self._on_error

    async def _on_error(self, error: Exception) -> None:
        self._refused.append(str(error).lower())

    async def may_publish(self, subject: str, reply: str = "") -> bool:
        self.link.send(subject, b"", reply=reply)
        return not await self._refusals()

    async def may_subscribe(self, subject: str) -> bool:
        listener = await self.link.listen(subject, lambda _: None)
        refused = await self._refusals()
        await listener.close()
        return not refused

    async def settled(self) -> None:
        """Wait until the broker has taken all that was said: the first ping may overtake it."""
        await asyncio.sleep(0)
        await self.link.client.flush()
        await self.link.client.flush()

    async def _refusals(self) -> list[str]:
        """The broker answers in order: once a ping is back, so is every refusal before it."""
        await self.settled()
        refused, self._refused = self._refused, []
        return refused


INBOXES: dict[Role, str] = {
    "device": subjects.node_inbox_prefix(NODE),
    "user": subjects.user_inbox_prefix(ACCOUNT),
    "viewer": subjects.user_inbox_prefix(ACCOUNT),
}


@pytest.mark.parametrize("role", ROLES)
async def test_the_broker_holds_each_role_to_its_row(server: EmbeddedServer, bus: Bus, role: Role) -> None:
    async with let_in(server, RIGHTS[role], INBOXES[role]) as connected:
        for row in rows():
            said = await connected.may_publish(row.subject) if _is_concrete(row.subject) else False
            heard = await connected.may_subscribe(row.subject)
            assert (said, heard) == (row.may_publish(role), row.may_subscribe(role)), row


def _is_concrete(subject: str) -> bool:
    return not set(subject.split(".")) & {"*", ">"}


def test_each_role_may_something_and_none_may_anothers() -> None:
    for role in ROLES:
        assert any(row.may_publish(role) for row in rows())
        assert any(row.may_subscribe(role) for row in rows())
        for row in rows():
            if "another" in row.family or "(CORE)" in row.family or row.family in {"the broker itself", "live, all"}:
                assert not row.may_publish(role), row
                assert not row.may_subscribe(role), row
    assert not any(row.may_publish("viewer") for row in rows() if row.subject.startswith("tasks."))


@pytest.mark.parametrize(
    ("pattern", "subject", "covers"),
    [
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        ("a.*", "a.>", False),
        ("a.>", "a.>", True),
        ("a.*", "a.*", True),
        ("a.b", "a.*", False),
    ],
)
def test_a_pattern_covers_what_the_broker_says_it_covers(pattern: str, subject: str, covers: bool) -> None:
    assert matches(pattern, subject) is covers


async def test_a_device_writes_where_it_was_asked_to_answer_and_nowhere_else(server: EmbeddedServer, bus: Bus) -> None:
    granted, other = (subjects.result(TaskKey(token("bob"), new_task_id()), NODE) for _ in range(2))
    heard: list[str] = []
    await bus.edge.listen("results.>", lambda delivery: heard.append(delivery.subject))
    async with let_in(server, node_rights(NODE), INBOXES["device"]) as device:
        orders: list[str] = []
        await device.link.listen(subjects.node_inbox(NODE, "assign"), lambda order: orders.append(order.reply))
        await device.settled()
        assert not await device.may_publish(granted)
        bus.edge.send(subjects.node_inbox(NODE, "assign"), b"", reply=granted)
        await until(lambda: orders == [granted])
        assert await device.may_publish(granted)
        assert not await device.may_publish(other)
        await until(lambda: heard == [granted])


async def grant(bus: Bus, device: Connected, subject: str) -> None:
    """Ask a device for something that it answers on a subject."""
    orders: list[str] = []
    listener = await device.link.listen(subjects.node_inbox(NODE, "assign"), lambda order: orders.append(order.reply))
    await device.settled()
    bus.edge.send(subjects.node_inbox(NODE, "assign"), b"", reply=subject)
    await until(lambda: orders == [subject])
    await listener.close()


async def test_a_grant_ends_with_its_count(server: EmbeddedServer, bus: Bus) -> None:
    few = replace(node_rights(NODE), grants=Grants(messages=2, lasts=timedelta(minutes=5)))
    subject = subjects.result(TaskKey(token("bob"), new_task_id()), NODE)
    async with let_in(server, few, INBOXES["device"]) as device:
        await grant(bus, device, subject)
        assert [await device.may_publish(subject) for _ in range(3)] == [True, True, False]


async def test_a_grant_ends_with_its_time(server: EmbeddedServer, bus: Bus) -> None:
    """Its count is not used up when it ends: so often nobody can say anything in that time."""
    many = 1_000_000
    brief = replace(node_rights(NODE), grants=Grants(messages=many, lasts=timedelta(seconds=1)))
    subject = subjects.result(TaskKey(token("bob"), new_task_id()), NODE)
    async with let_in(server, brief, INBOXES["device"]) as device:
        said = 0
        while not said:
            # On a machine that stands still for a second it is over before it was used: then it is granted again.
            await grant(bus, device, subject)
            while await device.may_publish(subject):
                said += 1
        assert said < many


async def test_an_acknowledgement_cannot_be_led_into_a_stream_of_facts(server: EmbeddedServer, bus: Bus) -> None:
    """A reply subject is a publish right lent to whoever answers: here, the broker itself."""
    key = TaskKey(ACCOUNT, new_task_id())
    async with let_in(server, RIGHTS["user"], INBOXES["user"]) as user:
        target = f"billing.{ACCOUNT}"
        assert await user.may_publish(subjects.submitted("standard", key), reply=target)
    found = await bus.core.request("$JS.API.STREAM.INFO.BILLING", b"")
    assert b'"messages":0' in found.data


async def test_a_device_may_not_subscribe_without_end(server: EmbeddedServer, bus: Bus) -> None:
    async with let_in(server, RIGHTS["device"], INBOXES["device"]) as device:
        for _ in range(600):
            await device.link.client.subscribe(subjects.node_inbox(NODE, "stop"))
        await until(lambda: not device.link.is_connected)


async def test_a_message_that_is_too_large_ends_the_connection(server: EmbeddedServer, bus: Bus) -> None:
    async with let_in(server, RIGHTS["device"], INBOXES["device"]) as device:
        device.link.send(subjects.status(NODE), b"x" * (device.link.max_payload + 1))
        await until(lambda: not device.link.is_connected)


def test_the_committed_page_is_what_the_code_says() -> None:
    assert PAGE.read_text() == rights_page(), "run: ig3 docs rights > docs/rights.md"
