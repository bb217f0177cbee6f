"""Who makes a request: found out once, at the boundary, and carried with the request from there."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.auth.failed_logins import FailedLogins
from gateway.bridge.places import Places
from gateway.errors import GatewayError
from gateway.limits.reads import Reads
from mesh.access.caller import Caller, local_caller
from mesh.access.credentials_check import is_credential
from mesh.config.address import is_loopback, parse_address
from mesh.errors import CredentialRefused

if TYPE_CHECKING:
    from gateway.settings import GatewaySettings
    from mesh.access.credentials_check import CredentialsCheck
    from streams.access.events import Right
    from streams.tasks.tools import Tools
    from streams.tokens import Token

log = logging.getLogger(__name__)

CALLER_KEY: Final = web.RequestKey("caller", Caller)

_BEARER: Final = "bearer"


class NotAllowed(GatewayError):
    """Whoever asks is known, and may not do this."""

    def __init__(self, message: str, *, code: str) -> None:
        """Keep what a program reads beside what people read."""
        super().__init__(message)
        self.code = code


class Door:
    """Lets requests in, or not."""

    def __init__(self, check: CredentialsCheck, settings: GatewaySettings, account: Token) -> None:
        """Let in without a credential, where ``settings`` allow it, in the name of ``account``."""
        self._check = check
        self.failures = FailedLogins(settings.proxies)
        self.reads = Reads(settings.reads_per_minute, settings.read_limits)
        self.places = Places(settings.websockets_per_account, settings.websocket_limits)
        self.local = local_caller(account) if settings.auth == "local" else None

    async def authenticate(self, request: web.BaseRequest) -> Caller:
        """Return who makes a request.

        Raises:
            CredentialRefused: if a credential opens nothing, or there is none and there must be.
            TooManyFailures: if whoever asks has to wait.
            WrittenByNewer: if a newer version has written of the account.
            BusError: if it cannot be known now.
        """
        return self._known(await self.credential(request))

    async def authenticate_call(self, authorization: str | None, address: str) -> Caller:
        """Return who makes a call that is none of HTTP's, by what it carries as ``authorization``.

        Raises:
            CredentialRefused: if a credential opens nothing, or there is none and there must be.
            TooManyFailures: if whoever asks has to wait.
            WrittenByNewer: if a newer version has written of the account.
            BusError: if it cannot be known now.
        """
        text = _bearer(authorization)
        shown = None if text is None or self._is_idle(text) else await self.credential_text(text, address)
        return self._known(shown)

    def _known(self, caller: Caller | None) -> Caller:
        if caller is not None:
            return caller
        if self.local is None:
            message = "You must show an API key or a session: Authorization: Bearer ig3_…"
            raise CredentialRefused(message, reason="no credential was shown")
        return self.local

    def _is_idle(self, text: str) -> bool:
        """Whether a text has not the form of a credential, where nobody needs one."""
        return self.local is not None and not is_credential(text)

    async def credential(self, request: web.BaseRequest) -> Caller | None:
        """Return who shows a credential, or None if nobody does.

        What has not the form of one of ours is nothing where nobody needs one: OpenAI's clients must always send some.

        Raises:
            CredentialRefused: if it opens nothing.
            TooManyFailures: if whoever asks has to wait.
            WrittenByNewer: if a newer version has written of the account.
            BusError: if it cannot be known now.
        """
        shown = request.headers.get("Authorization")
        # Anthropic's clients show theirs in a header of its own.
        text = request.headers.get("x-api-key") if shown is None else _bearer(shown)
        if text is None or self._is_idle(text):
            return None
        return await self.credential_text(text, self.failures.address_of(request))

    async def credential_text(self, text: str, address: str) -> Caller:
        """Return who shows a text.

        Raises:
            CredentialRefused: if it opens nothing.
            TooManyFailures: if whoever asks has to wait.
            WrittenByNewer: if a newer version has written of the account.
            BusError: if it cannot be known now.
        """
        self.failures.check(address, text)
        try:
            caller = await self._check.authenticate_text(text)
        except CredentialRefused as refusal:
            log.info("a credential from %s is refused: %s", address, refusal.reason)
            self.failures.failed(address, text)
            raise
        self.failures.proved(text)
        return caller

    async def caller_of(self, account: Token, key_id: str | None) -> Caller | None:
        """Return in whose name something goes on that was asked before; None: the key or the account is over.

        Raises:
            BusError: if that cannot be known now.
        """
        if key_id is None and self.local is not None and account == self.local.account:
            return self.local
        return await self._check.caller_of(account, key_id)

    def still_holds(self, caller: Caller) -> bool:
        """Whether somebody who was let in would be let in now, as the same."""
        return caller.how == "local" or self._check.still_holds(caller)

    def may_go_on(self, caller: Caller, right: Right) -> bool:
        """Whether nobody has taken away what somebody needs to read on."""
        return caller.how == "local" or self._check.may_go_on(caller, right)


def caller_with(request: web.BaseRequest, right: Right) -> Caller:
    """Return who makes a request that needs a right.

    Raises:
        NotAllowed: if it is not there.
    """
    caller = request[CALLER_KEY]
    need(caller, right)
    return caller


def need(caller: Caller, right: Right) -> None:
    """Return if somebody has a right.

    Raises:
        NotAllowed: if not.
    """
    if right not in caller.rights:
        who = "This key" if caller.how == "key" else f"A {caller.role}"
        raise NotAllowed(f"{who} has no right {right!r} in account {caller.account}.", code="missing_right")


def need_operator(caller: Caller) -> None:
    """Return if somebody runs the mesh.

    Raises:
        NotAllowed: if not.
    """
    if not caller.is_operator:
        raise NotAllowed("Only who runs the mesh may see this.", code="operator_only")


def need_model(caller: Caller, model: str) -> None:
    """Return if somebody may ask a model.

    Raises:
        NotAllowed: if not.
    """
    if not caller.may_ask(model):
        raise NotAllowed(f"This key is for other models than `{model[:256]}`.", code="model_not_allowed")


def need_tools(caller: Caller, tools: Tools | None) -> None:
    """Return if somebody may offer functions to a model.

    Raises:
        NotAllowed: if not, naming the first.
    """
    for function in () if tools is None else tools.functions:
        if not caller.may_offer(function.name):
            raise NotAllowed(f"This key is for other functions than `{function.name}`.", code="tool_not_allowed")


def refuse_open_gateway(settings: GatewaySettings) -> None:
    """Return unless a gateway would let in whoever reaches it, from other machines too.

    Raises:
        GatewayError: saying what to do.
    """
    places = [("--http 127.0.0.1:8080", settings.http)]
    if settings.grpc is not None:
        places.append(("--grpc 127.0.0.1:50051", settings.grpc))
    for remedy, place in places:
        host = parse_address(place).host
        if settings.auth != "required" and not is_loopback(host):
            raise GatewayError(
                f"a gateway that listens on {host} would let in whoever reaches it: ask for a key with --auth required "
                f"(`ig3 keys issue` makes one), or listen on this machine only with {remedy}"
            )


def _bearer(header: str | None) -> str | None:
    if header is None:
        return None
    scheme, _, text = header.partition(" ")
    return text.strip() if scheme.lower() == _BEARER else ""
