"""A real browser for tests of the live page: Debian's Chromium, driven by Playwright."""

import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import (
    Browser,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Route,
    WebSocket,
    async_playwright,
    expect,
)

LIMIT_MS = 60_000
ENDLESS = 100_000
"""Tokens of an answer that nobody waits for."""
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

expect.set_options(timeout=LIMIT_MS)


def find_chromium() -> str:
    """Where the browser is.

    Raises:
        FileNotFoundError: if there is none; these tests prove nothing without one, so they do not skip.
    """
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise FileNotFoundError("no Chromium here: `make browser` installs one")
    return found


class Visit:
    """A page that is open, and what it complained about."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.errors: list[str] = []
        self.requested: list[str] = []
        self.sockets = 0
        self.received: list[str | bytes] = []
        """Frames of all websockets."""
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._on_request)
        page.on("websocket", self._on_websocket)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def _on_request(self, request: Request) -> None:
        self.requested.append(request.url)

    def _on_websocket(self, socket: WebSocket) -> None:
        self.sockets += 1
        socket.on("framereceived", lambda frame: self.received.append(frame))

    async def until(self, condition: str, argument: object = None) -> None:
        """Wait until a JavaScript condition holds."""
        await self.page.wait_for_function(condition, arg=argument, timeout=LIMIT_MS)

    def task(self, question: str) -> Locator:
        """The latest task with that question, on the board."""
        return self.page.get_by_test_id("tasks").get_by_role("button").filter(has_text=question).first

    async def ask(self, question: str) -> None:
        """Type into the chat box and send."""
        box = self.page.get_by_label("Your question")
        await expect(box).to_have_attribute("placeholder", "Ask synthetic")
        await box.fill(question)
        await box.press("Enter")

    async def answers_go_on(self) -> None:
        """Have what is asked here answered until it is stopped, however slow the browser is."""

        async def longer(route: Route) -> None:
            asked = json.loads(route.request.post_data or "{}")
            await route.continue_(post_data=json.dumps({**asked, "max_tokens": ENDLESS}))

        await self.page.route("**/v1/chat/completions", longer)


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox", "--disable-gpu"], timeout=LIMIT_MS
        )
        try:
            yield started
        finally:
            await started.close()


@asynccontextmanager
async def visit(
    started: Browser,
    url: str,
    *,
    picture: Path | None = None,
    prepare: Callable[[Page], Awaitable[None]] | None = None,
) -> AsyncIterator[Visit]:
    """Open the page; ``prepare`` it first; on the way out take a picture of how it looks then, if one is wanted."""
    page = await started.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(LIMIT_MS)
    try:
        if prepare is not None:
            await prepare(page)
        visiting = Visit(page, url)
        await page.goto(url)
        yield visiting
    finally:
        if picture is not None:
            await page.screenshot(path=picture)
        await page.close()
