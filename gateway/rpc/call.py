"""One call of gRPC: who makes it, found out before anything is done, and how errors of ours end it."""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import unquote

from gateway.client_address import client_address
from gateway.http.errors import stopping
from gateway.rpc.refusing import abort
from mesh.bus.headers import TRACEPARENT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    import grpc

    from gateway.http.site import Site
    from mesh.access.caller import Caller

    Context = grpc.aio.ServicerContext[Any, Any]

_Request = TypeVar("_Request")
_Reply = TypeVar("_Reply")

_FORWARDED_FOR = "x-forwarded-for"
_PEER = re.compile(r"ipv[46]:(.*):[0-9]+")


class Call(NamedTuple):
    """What is known of a call beside its request."""

    caller: Caller
    traceparent: str | None


def unary(
    site: Site, serve: Callable[[Call, _Request], Awaitable[_Reply]], *, counts: bool
) -> Callable[[_Request, Context], Awaitable[_Reply]]:
    """Serve calls with one reply; ``counts``: they are among the account's reads."""

    async def handle(request: _Request, context: Context) -> _Reply:
        try:
            return await serve(await _let_in(site, context, counts=counts), request)
        except Exception as error:
            await abort(context, error)

    return handle


def streaming(
    site: Site, serve: Callable[[Call, _Request], AsyncGenerator[_Reply]], *, counts: bool
) -> Callable[[_Request, Context], Awaitable[None]]:
    """Serve calls with a stream of replies, as fast as the client reads them."""

    async def handle(request: _Request, context: Context) -> None:
        try:
            call = await _let_in(site, context, counts=counts)
            # Closed as soon as the client is gone: what that means for its task cannot wait for a collector.
            async with aclosing(serve(call, request)) as replies:
                async for reply in replies:
                    await context.write(reply)
        except Exception as error:
            await abort(context, error)

    return handle


async def _let_in(site: Site, context: Context, *, counts: bool) -> Call:
    if site.leaving.has_begun:
        raise stopping("Ask another gateway, or this one when it is back.")
    given: dict[str, str] = {}
    for name, value in context.invocation_metadata() or ():
        given[name] = value if isinstance(value, str) else value.decode("latin-1")
    forwarded = (given[_FORWARDED_FOR],) if _FORWARDED_FOR in given else ()
    address = client_address(_peer(context), forwarded, site.settings.proxies)
    caller = await site.door.authenticate_call(given.get("authorization"), address)
    if counts:
        site.door.reads.count(caller.account)
    return Call(caller, given.get(TRACEPARENT))


def _peer(context: Context) -> str:
    found = _PEER.fullmatch(unquote(context.peer()))
    return found[1].strip("[]") if found else ""
