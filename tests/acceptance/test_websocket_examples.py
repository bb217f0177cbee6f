"""The examples of docs/websocket.md, run as their readers would run them."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.async_api import expect

from tests import chromium
from tests.integration.test_up import Up, running
from tests.processes import PATIENCE_S, until, wait_until

pytestmark = pytest.mark.timeout(300)

EXAMPLES = Path(__file__).parents[2] / "examples"
TOKENS = 50

FOLLOW = """
import asyncio, sys, aiohttp, websocket_client

async def main():
    async with aiohttp.ClientSession() as http:
        async for _ in websocket_client.follow(http, *sys.argv[1:]):
            pass

asyncio.run(main())
"""

NOTE_STATES = """() => {
  const state = document.getElementById("state");
  window.states = [];
  new MutationObserver(() => states.push(state.textContent)).observe(state, { childList: true });
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Another site than the gateway's, with the examples on it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=EXAMPLES)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory, site: str) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("websocket") / "data"
    # A node that is held up for seconds is not given up, and its answer not begun again.
    with running(folder, "--token-delay-ms", "50", IG3_HTTP_ORIGINS=site, IG3_HEARTBEAT="30s") as up:
        yield up


def serves(mesh: Up) -> bool:
    """Whether its gateway has heard of the node; one that has just been started may not have yet."""
    with urlopen(f"{mesh.ready.url}/v1/models", timeout=PATIENCE_S) as answer:
        return bool(json.load(answer)["data"])


def start_client(mesh: Up) -> subprocess.Popen[str]:
    wait_until(lambda: serves(mesh))
    command = [sys.executable, EXAMPLES / "websocket_client.py", mesh.ready.url, "What is it?"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def answer_in(output: str) -> str:
    told = re.fullmatch(r"(?:\[queued, .*?\]\n)*\[\S+ answers\]\n(.*)\n\[completed\]\n", output, re.DOTALL)
    assert told is not None, output
    return told[1]


def test_the_python_example_prints_the_whole_answer(mesh: Up) -> None:
    with start_client(mesh) as client:
        output, _ = client.communicate(timeout=PATIENCE_S)
    assert len(answer_in(output).split()) == TOKENS


def test_the_python_example_survives_a_gateway_that_is_killed(mesh: Up) -> None:
    with start_client(mesh) as client:
        assert client.stdout is not None
        start = client.stdout.readline() + client.stdout.read(20)
        os.kill(mesh.pid_of("gateway"), signal.SIGKILL)
        output = start + client.stdout.read()
    with start_client(mesh) as undisturbed:
        whole = answer_in(undisturbed.communicate(timeout=PATIENCE_S)[0])
    assert len(answer_in(output).split()) == len(whole.split()) == TOKENS


def test_the_python_example_says_what_is_wrong_with_a_task_that_is_not_there(mesh: Up) -> None:
    command = [sys.executable, "-c", FOLLOW, mesh.ready.url, "01a20a9fb8247faf9e4c062b8de01035"]
    done = subprocess.run(command, cwd=EXAMPLES, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1
    assert "there is no task" in done.stderr


async def test_the_browser_example_shows_tasks_on_another_site_and_comes_back(mesh: Up, site: str) -> None:
    address = mesh.ready.url.removeprefix("http://")
    page = f"{site}/websocket.html?gateway={address}"
    async with chromium.browser() as browser, chromium.visit(browser, page) as visit:
        await expect(visit.page.locator("#state")).to_have_text("live")
        answer = mesh.ask(max_tokens=7)
        await expect(visit.page.get_by_text(f"Hello → {answer} (completed)")).to_be_visible()
        # A gateway may be back before anybody has looked.
        await visit.page.evaluate(NOTE_STATES)
        os.kill(mesh.pid_of("gateway"), signal.SIGKILL)
        await visit.until("states.includes('reconnecting') && states.at(-1) === 'live'")
        await expect(visit.page.get_by_text(f"Hello → {answer}").first).to_be_visible()


async def test_a_page_of_a_site_that_was_not_let_in_is_refused(mesh: Up, site: str) -> None:
    """The same examples under another name: what the browser sends as its origin is then another."""
    foreign = site.replace("127.0.0.1", "localhost")
    address = mesh.ready.url.removeprefix("http://")
    async with (
        chromium.browser() as browser,
        chromium.visit(browser, foreign + "/websocket.html?gateway=" + address) as visit,
    ):
        await expect(visit.page.locator("#state")).to_have_text("reconnecting")
        await until(lambda: any("403" in error for error in visit.errors))
