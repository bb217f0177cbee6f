"""Where the bridge is reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.bridge.bridge import Bridge

WEBSOCKET_PATH: Final = "/ws"


def add_routes(app: web.Application, bridge: Bridge) -> None:
    """Serve the bridge at ``/ws``; it ends its connections when the application shuts down.

    Origin and Host are checked by the application's middleware, before a request comes here.
    """
    app.router.add_get(WEBSOCKET_PATH, bridge.serve)

    async def start(_: web.Application) -> None:
        await bridge.start()

    async def stop(_: web.Application) -> None:
        await bridge.close()

    app.on_startup.append(start)
    app.on_shutdown.append(stop)
