"""``/v1/auth/…``: a challenge, a sign-in, its renewal and its end, and who the caller is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar, cast

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.auth.caller import CALLER_KEY
from gateway.auth.proofs import ChallengeRequest, Reached, SignInProof
from gateway.auth.refusal import UNAUTHORIZED, SignInRefused
from gateway.http.body import read_json_body
from gateway.http.invalid_body import explain
from mesh.access.caller import How
from streams.access.events import Right, Role

if TYPE_CHECKING:
    from gateway.http.site import Site
    from mesh.access.caller import Caller

T = TypeVar("T")

_HEADERS: Final = {"Content-Type": "application/json", "Cache-Control": "no-store"}

_challenge: Final = msgspec.json.Decoder(ChallengeRequest)
_proof: Final = msgspec.json.Decoder(SignInProof)


class CallerObject(Struct, frozen=True, kw_only=True):
    """Who the caller is, as far as it was proven."""

    account: str
    how: How
    role: Role | None
    did: str | None
    key_id: str | None
    rights: tuple[Right, ...]
    models: tuple[str, ...]
    tools: tuple[str, ...]
    expires_at_ms: int | None


class SignIns:
    """The handlers."""

    def __init__(self, site: Site) -> None:
        """Serve for ``site``."""
        self._site = site

    async def challenge(self, request: web.Request) -> web.Response:
        """Answer with what to sign."""
        failures = self._site.door.failures
        failures.count_challenge(failures.address_of(request))
        asked = await self._body(request, _challenge)
        return _answer(self._site.sign_in.challenge(asked, _reached(request)))

    async def login(self, request: web.Request) -> web.Response:
        """Answer with a session for whoever signed."""
        failures = self._site.door.failures
        address = failures.address_of(request)
        failures.check(address)
        shown = await self._body(request, _proof)
        try:
            return _answer(await self._site.sign_in.sign_in(shown, _reached(request)))
        except SignInRefused as refusal:
            if refusal.status == UNAUTHORIZED:
                failures.failed(address)
            raise

    async def renew(self, request: web.Request) -> web.Response:
        """Answer with another token of the session that is shown."""
        return _answer(await self._site.sign_in.sessions.renew(request[CALLER_KEY]))

    async def sign_out(self, request: web.Request) -> web.Response:
        """End the session that is shown."""
        await self._site.sign_in.sessions.end(request[CALLER_KEY])
        return web.Response(status=204, headers={"Cache-Control": "no-store"})

    async def me(self, request: web.Request) -> web.Response:
        """Answer with who asks."""
        caller = await self._site.door.authenticate(request)
        self._site.door.reads.count(caller.account)
        return _answer(_caller_object(caller))

    async def _body(self, request: web.Request, decoder: msgspec.json.Decoder[T]) -> T:
        body = await read_json_body(request, self._site.settings)
        try:
            return decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise explain(error) from error


def _answer(value: Struct) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), headers=_HEADERS)


def _reached(request: web.Request) -> Reached:
    transport = request.transport
    own = cast("tuple[str, int] | None", None if transport is None else transport.get_extra_info("sockname"))
    return Reached(host=request.headers.get("Host", ""), port=None if own is None else own[1])


def _caller_object(caller: Caller) -> CallerObject:
    return CallerObject(
        account=caller.account,
        how=caller.how,
        role=caller.role,
        did=caller.did,
        key_id=caller.key_id,
        rights=tuple(sorted(caller.rights)),
        models=caller.models,
        tools=caller.tools,
        expires_at_ms=caller.expires_at_ms,
    )
