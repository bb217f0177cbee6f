"""Who may connect to the bus, and with which rights: the decision behind NATS's auth callout.

Everything that a client says is a claim until it is proved here. A refusal has a reason for the operator's log; the
client only hears that it may not.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

from mesh.errors import BusError, DeviceError, IdentityError, NotAdmitted, SiteError
from mesh.identity.device_login import is_device_token, read_login
from mesh.identity.device_settings import LONGEST_SESSION, AdmissionRule
from mesh.identity.did import parse_did
from mesh.identity.nats_jwt import Admission
from streams.devices.fold import BY_SUBJECT, Standing
from streams.errors import InvalidToken
from streams.rights import node_rights
from streams.subjects import MESH
from streams.tokens import token

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.identity.device_log import DeviceLog
    from mesh.identity.device_login import DeviceProof
    from mesh.identity.did import Did
    from mesh.identity.nats_jwt import Question
    from mesh.identity.peaq.resolver import DidResolver
    from streams.devices.fold import Device
    from streams.tokens import Token

log = logging.getLogger(__name__)

_NODE: Final = "node:"
_CLIENT: Final = "Client"
_BROKER: Final = "Leafnode"
"""What the broker calls the kinds of connections."""


class AdmissionPolicy(Struct, frozen=True, kw_only=True):
    """What the operator decided about devices."""

    rule: AdmissionRule = "listed"
    lasts: timedelta = LONGEST_SESSION
    most_waiting: int = 1000
    """How many devices may wait to be admitted; more are refused without a trace in the log of events."""


class People(Protocol):
    """Finds out who a person is whose client shows a key or a session."""

    async def admit(self, text: str) -> Admission:
        """Return the rights that go with a key or a session.

        Raises:
            NotAdmitted: if there are none.
        """
        ...


class Links(Protocol):
    """Finds out which edge site a broker belongs to that wants to link."""

    def admit(self, question: Question) -> Admission:
        """Return the rights of its link.

        Raises:
            NotAdmitted: if there are none.
            SiteError: if that cannot be found out.
        """
        ...


class Gatekeeper:
    """Decides about one question after the other; it may be asked several at once."""

    def __init__(
        self,
        devices: DeviceLog,
        resolver: DidResolver,
        policy: AdmissionPolicy,
        *,
        is_own_address: Callable[[str], bool],
        is_own_device: Callable[[str], bool],
        credential_of: Callable[[str, Did], str] | None = None,
        people: People | None = None,
        links: Links | None = None,
    ) -> None:
        """Decide by what is given.

        Args:
            devices: started.
            resolver: finds out whether a DID was proved.
            policy: who is admitted.
            is_own_address: whether the mesh is reached at ``host:port``: else somebody passes on a signature.
            is_own_device: whether a DID's key lies in the operator's own data folder.
            credential_of: returns the issuer of a credential that holds for a DID, or raises NotAdmitted.
            people: who may connect besides devices.
            links: which brokers may link.
        """
        self._devices = devices
        self._resolver = resolver
        self._policy = policy
        self._is_own_address = is_own_address
        self._is_own_device = is_own_device
        self._credential_of = credential_of
        self._people = people
        self._links = links

    async def decide(self, question: Question) -> Admission:
        """Return what somebody may do.

        Raises:
            NotAdmitted: if nothing; the text says why, for the operator.
        """
        try:
            return await self._decide(question)
        except (IdentityError, DeviceError, SiteError, InvalidToken) as error:
            raise NotAdmitted(str(error)) from error
        except BusError as error:
            raise NotAdmitted(f"it cannot be decided now: {error}") from error

    async def _decide(self, question: Question) -> Admission:
        if question.client.kind == _BROKER:
            if self._links is None:
                raise NotAdmitted("no broker may link here")
            return self._links.admit(question)
        if question.client.kind != _CLIENT:
            raise NotAdmitted(f"it connects as {question.client.kind[:20]!r}, which nobody may")
        text = question.options.auth_token
        if is_device_token(text):
            return await self._device(question)
        if text and self._people is not None:
            return await self._people.admit(text)
        raise NotAdmitted("it shows neither a DID nor a key" if not text else "what it shows is nothing known here")

    def claims_to_be_admitted(self, question: Question) -> bool:
        """Whether somebody says to be a device that is admitted. Costs little, and proves nothing."""
        options = question.options
        try:
            shown = read_login(options.auth_token, options.sig, question.client.nonce).token
            known = self._devices.of(token(shown.node), parse_did(shown.did).text)
        except (IdentityError, DeviceError, InvalidToken):
            return False
        return known is not None and known.standing is Standing.ADMITTED

    async def _device(self, question: Question) -> Admission:
        shown = read_login(question.options.auth_token, question.options.sig, question.client.nonce)
        node, did = token(shown.token.node), parse_did(shown.token.did)
        if node == MESH:
            raise NotAdmitted(f"{MESH!r} is the name of the services")
        if not self._is_own_address(shown.token.audience):
            raise NotAdmitted(
                f"it dialled {shown.token.audience!r}, which is not an address of this mesh: see `audiences`"
            )
        # First what costs nothing: a device that is shut out is not proved anew at each of its tries.
        known = self._devices.of(node, did.text)
        if known is not None and known.is_shut_out:
            raise NotAdmitted(f"device {node} is {known.standing}: {known.reason}")
        proved = await self._resolver.authenticate(did, shown.proof, shown.message)
        device = await self._admitted(node, did, shown, known, proved.key_id or proved.how)
        if device.standing is not Standing.ADMITTED:
            raise NotAdmitted(f"device {node} ({did}) is not admitted: `ig3 devices admit {node}` lets it in")
        if proved.is_stale:
            # Before it is let in: where that cannot be written, nobody gets in by an old reading.
            log.warning("device %s is let in by what the chain said %.0f s ago", node, proved.age_s)
            await self._devices.unconfirmed(node, did.text, read_at_ms=proved.read_at_ms, reason=proved.unconfirmed)
        return Admission(name=connection_name(node), rights=node_rights(node), lasts=self._lasts)

    @property
    def _lasts(self) -> timedelta:
        return min(self._policy.lasts, LONGEST_SESSION)

    async def _admitted(
        self, node: Token, did: Did, shown: DeviceProof, known: Device | None, proved_by: str
    ) -> Device:
        """Bring the log up to what was just proved, and return what the device is then."""
        device = known
        if device is None or device.verified_at_ms is None:
            reason = self._reason_to_admit(did, shown)
            expected = device is not None and device.is_expected
            if reason is None and not expected and self._devices.devices.waiting() >= self._policy.most_waiting:
                raise NotAdmitted(f"{node} ({did}) is not admitted, and too many wait already")
            device = await self._devices.verified(node, did.text, proved_by=proved_by)
        elif proved_by == BY_SUBJECT != device.proved_by:
            # Once per device: from now on its answers can be checked, which are signed with this key.
            device = await self._devices.verified(node, did.text, proved_by=proved_by)
        if device.standing is Standing.VERIFIED and (reason := self._reason_to_admit(did, shown)) is not None:
            device = await self._devices.admit(node, by="identity", reason=reason)
        return device

    def _reason_to_admit(self, did: Did, shown: DeviceProof) -> str | None:
        if self._is_own_device(did.text):
            return "its key lies in this mesh's data folder"
        if self._policy.rule == "open":
            return "every device with a DID is admitted"
        if self._policy.rule == "credential" and self._credential_of is not None:
            if shown.token.credential is None:
                return None
            return f"issued by {self._credential_of(shown.token.credential, did)}"
        return None


def connection_name(node: Token) -> str:
    """The name under which the broker lists a device's connection; unlike what a client calls itself, it is ours."""
    return f"{_NODE}{node}"
