"""Serving the live page at ``/`` and its files under ``/page/``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.page.assets import content_security_policy, load

if TYPE_CHECKING:
    from gateway.page.assets import Asset

PAGE_PATH: Final = "/"
FILES_PATH: Final = "/page/{file:.+}"
FILES_ROUTE: Final = "/page/{file}"
"""The same as aiohttp names it, without the pattern."""

_INDEX: Final = "index.html"


class Page:
    """The page's files with the headers they are served with."""

    def __init__(self) -> None:
        """Read the files."""
        self._assets = load()
        self._index_headers = {
            "Content-Security-Policy": content_security_policy(self._assets[_INDEX].body),
            "Cross-Origin-Opener-Policy": "same-origin",
            "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
            "X-Frame-Options": "DENY",
        }

    async def index(self, request: web.Request) -> web.Response:
        """Serve the page itself."""
        return _respond(request, self._assets[_INDEX], self._index_headers)

    async def file(self, request: web.Request) -> web.Response:
        """Serve one of its files.

        Raises:
            web.HTTPNotFound: if there was none of that name at start.
        """
        asset = self._assets.get(request.match_info["file"])
        if asset is None:
            raise web.HTTPNotFound(text="The page has no such file.")
        return _respond(request, asset, {})


def add_routes(app: web.Application) -> None:
    """Serve the page."""
    page = Page()
    app.router.add_get(PAGE_PATH, page.index)
    app.router.add_get(FILES_PATH, page.file)


def _respond(request: web.Request, asset: Asset, more: dict[str, str]) -> web.Response:
    headers = {
        "ETag": asset.etag,
        # Kept, but asked about each time: a gateway that was upgraded serves its own page at once.
        "Cache-Control": "no-cache",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        **more,
    }
    known = {tag.value for tag in request.if_none_match or ()}
    if asset.etag.strip('"') in known or "*" in known:
        return web.Response(status=304, headers=headers)
    return web.Response(body=asset.body, headers={"Content-Type": asset.content_type, **headers})
