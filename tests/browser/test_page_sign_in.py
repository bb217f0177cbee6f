"""Signing in on the page with a wallet of the browser or an API key, and what becomes of the page when that ends."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, expect

from gateway.auth.proofs import SignedIn
from mesh.access import credentials_check, session_tokens
from mesh.access.session_keys import SESSION_S
from mesh.access.writer import AccessWriter
from mesh.identity.keys import SigningKey
from streams.access.events import Right
from streams.clock import now_ms
from streams.tokens import Token
from tests import chromium
from tests.chromium import Visit
from tests.http_gateway import HttpGateway, serve_http
from tests.mesh_in_process import InProcessMesh
from tests.processes import until
from tests.scripted_wallet import ScriptedWallet

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

ACME = Token("acme")
OWNER = SigningKey("secp256k1", bytes(range(1, 33)))
WORDS = 400
"""What a task answers that runs while a session ends."""
TOKEN = "JSON.parse(sessionStorage.getItem('ig3.session')).token"
SCROLLS_SIDEWAYS = """() => document.documentElement.scrollWidth <= innerWidth ? [] :
    [...document.querySelectorAll("*")].filter((one) => one.getBoundingClientRect().right > innerWidth)
        .map((one) => `${one.tagName}.${one.className}`)"""
"""What reaches over the right edge of the page, if that scrolls because of it."""
STYLE = """(css) => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(css);
    document.adoptedStyleSheets = [sheet];
}"""
STRANGER = SigningKey("secp256k1", bytes(range(7, 39)))


@dataclass(kw_only=True)
class Guarded:
    """A gateway that asks who is there, and a browser to show it."""

    mesh: InProcessMesh
    gateway: HttpGateway
    writer: AccessWriter
    browser: Browser

    async def key(self, rights: tuple[Right, ...] = ("chat", "read")) -> str:
        shown, sequence = await self.writer.issue(ACME, name="page", rights=rights, models=(), expires_at_ms=None)
        await self.gateway.access.reach(sequence)
        return shown.text

    @asynccontextmanager
    async def visit(self, wallet: ScriptedWallet | None = None, path: str = "/") -> AsyncIterator[Visit]:
        prepare = None if wallet is None else wallet.install
        async with chromium.visit(self.browser, f"{self.gateway.url}{path}", prepare=prepare) as visiting:
            yield visiting


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    async with (
        InProcessMesh(folder=tmp_path_factory.mktemp("sign-in") / "mesh") as mesh,
        chromium.browser() as browser,
    ):
        await mesh.add_dispatcher()
        await mesh.add_node(delay_ms=4)
        writer = AccessWriter(mesh.bus.core)
        await writer.open(ACME, owner=ScriptedWallet(key=OWNER).did)
        async with serve_http(mesh.bus, auth="required", signup="closed") as gateway:
            await gateway.until_served()
            yield Guarded(mesh=mesh, gateway=gateway, writer=writer, browser=browser)


@pytest.fixture
def wallet() -> ScriptedWallet:
    return ScriptedWallet(key=OWNER)


def panel(visit: Visit) -> Locator:
    return visit.page.get_by_test_id("sign-in")


def authenticated(visit: Visit) -> int:
    """How often the gateway has said on a websocket who is there."""
    return sum('"type":"authenticated"' in str(frame) for frame in visit.received)


async def token_of(visit: Visit) -> str:
    """The token of the session that the page keeps."""
    return await visit.page.evaluate(TOKEN)


async def sign_in_by_wallet(visit: Visit) -> None:
    await panel(visit).get_by_role("button", name="Sign in with your wallet").click()
    await expect(panel(visit)).to_have_count(0)


async def try_key(visit: Visit, key: str) -> None:
    await visit.page.get_by_label("API key").fill(key)
    await visit.page.get_by_label("API key").press("Enter")


async def is_answered(visit: Visit, question: str) -> None:
    await visit.ask(question)
    await expect(visit.page.get_by_test_id("answer-turn").last).to_have_attribute("data-state", "done")
    await expect(visit.task(question)).to_have_attribute("data-state", "completed")


async def test_a_wallet_signs_in_and_chats(guarded: Guarded, wallet: ScriptedWallet) -> None:
    async with guarded.visit(wallet) as visit:
        await expect(visit.page.get_by_role("heading", name="Sign in")).to_be_focused()
        await expect(visit.page.locator(".board")).to_have_count(0)
        await sign_in_by_wallet(visit)
        await is_answered(visit, "Do I belong here?")
        await expect(visit.page.locator(".top")).to_contain_text("account acme")
        await expect(visit.page.locator(".top")).to_contain_text("role owner")
        await expect(visit.page.get_by_test_id("who")).to_have_attribute("title", wallet.did)
        [text] = wallet.signed
        host = guarded.gateway.url.removeprefix("http://")
        assert text.startswith(f"{host} wants you to sign in with your Ethereum account:\n0x")
        assert "\nChain ID: 3338\n" in text

        await visit.page.reload()
        await expect(visit.task("Do I belong here?")).to_be_visible()
        assert await visit.page.evaluate("Object.keys(localStorage)") == []
        assert visit.errors == []


async def test_an_api_key_signs_in_chats_and_is_not_kept(guarded: Guarded) -> None:
    key = await guarded.key()
    async with guarded.visit() as visit:
        await expect(panel(visit)).to_contain_text("No wallet is in this browser")
        await try_key(visit, f"  {key} ")
        await is_answered(visit, "Does a key do?")
        await expect(visit.page.get_by_test_id("who")).to_have_attribute("title", f"key {key.split('_')[1]}")
        assert key not in await visit.page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}])")
        assert visit.errors == []
        await visit.page.reload()
        await expect(panel(visit)).to_be_visible()


async def test_a_wrong_key_is_told(guarded: Guarded) -> None:
    tries = {f"ig3_{'a' * 13}_{'a' * 52}": "This API key is not valid.", "hunter2": "That is no API key"}
    async with guarded.visit() as visit:
        for key, told in tries.items():
            await try_key(visit, key)
            await expect(panel(visit).get_by_role("alert")).to_contain_text(told)
        await try_key(visit, await guarded.key())
        await expect(panel(visit)).to_have_count(0)


async def test_who_says_no_in_the_wallet_may_try_again(guarded: Guarded, wallet: ScriptedWallet) -> None:
    wallet.says_no = True
    async with guarded.visit(wallet) as visit:
        await panel(visit).get_by_role("button", name="Sign in with your wallet").click()
        await expect(panel(visit).get_by_role("alert")).to_have_text(
            "You said no in the wallet, so nothing was signed."
        )
        wallet.says_no = False
        await sign_in_by_wallet(visit)


async def test_a_wallet_without_an_account_is_told_whom_to_ask(guarded: Guarded) -> None:
    stranger = ScriptedWallet(key=STRANGER)
    async with guarded.visit(stranger) as visit:
        await panel(visit).get_by_role("button", name="Sign in with your wallet").click()
        alert = panel(visit).get_by_role("alert")
        await expect(alert).to_contain_text("You have no account here yet.")
        await expect(alert).to_contain_text(f"{stranger.did} belongs to no account here: ask who runs this mesh")


async def test_a_session_ends_and_comes_back_with_nothing_lost(
    guarded: Guarded, wallet: ScriptedWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with guarded.visit(wallet) as visit:
        await sign_in_by_wallet(visit)
        await is_answered(visit, "What stays?")
        answer = await visit.page.get_by_test_id("answer-turn").text_content()
        running = guarded.mesh.key(account="acme")
        await guarded.mesh.submit(running, tokens=WORDS, text="And what runs?")
        await visit.task("And what runs?").click()
        await visit.until("() => document.querySelector('[data-testid=answer]')?.textContent.length > 20")
        await visit.page.get_by_label("Your question").fill("a draft")

        with monkeypatch.context() as later:
            later.setattr(credentials_check, "now_ms", lambda: now_ms() + SESSION_S * 1000)
            await expect(panel(visit)).to_contain_text("Your session is over.")
            await expect(visit.page.locator(".connection")).to_have_text("Not signed in")
            missed = guarded.mesh.key(account="acme")
            await guarded.mesh.submit(missed, text="And what was missed?")
            await guarded.mesh.steps(missed)
        await expect(visit.page.locator(".board[inert]")).to_have_count(1)
        await sign_in_by_wallet(visit)

        assert await visit.page.get_by_label("Your question").input_value() == "a draft"
        assert await visit.page.get_by_test_id("answer-turn").text_content() == answer
        await guarded.mesh.steps(running)
        await expect(visit.page.get_by_test_id("entry-completed")).to_be_visible()
        assert len((await visit.page.get_by_test_id("answer").text_content() or "").split()) == WORDS
        await expect(visit.task("And what was missed?")).to_have_attribute("data-state", "completed")
        await expect(visit.task("What stays?")).to_have_attribute("data-state", "completed")


async def test_a_session_goes_on_where_the_wallet_signs_again_in_time(
    guarded: Guarded, wallet: ScriptedWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with guarded.visit(wallet) as visit:
        with monkeypatch.context() as short:
            # As long as it may be for the page to say that it ends.
            short.setattr(guarded.gateway.sign_in.sessions, "_longest_s", 119)
            await sign_in_by_wallet(visit)
            await expect(visit.page.locator(".connection")).to_have_text("Live")
            notice = visit.page.get_by_text(re.compile(r"Your session ends in \d"))
            await expect(notice).to_be_visible()
            # It has tried to go on without the wallet, and the gateway lets it go on no longer.
            await until(lambda: authenticated(visit) == 2)
            await expect(notice).to_be_visible()
        # Whatever fonts a machine has.
        for font in ("inherit", "20px monospace", "15px serif; letter-spacing: 3px"):
            await visit.page.evaluate(STYLE, f".top.top * {{ font: {font} }}")
            for width in (320, 360, 640, 1000):
                await visit.page.set_viewport_size({"width": width, "height": 800})
                assert await visit.page.evaluate(SCROLLS_SIDEWAYS) == []
        sockets = visit.sockets
        await visit.page.get_by_role("button", name="Stay signed in").click()
        await expect(notice).to_have_count(0)
        await is_answered(visit, "Does it go on?")
        assert len(wallet.signed) == 2
        assert visit.sockets == sockets


async def test_a_session_goes_on_by_itself(
    guarded: Guarded, wallet: ScriptedWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = guarded.gateway.sign_in.sessions
    begin = sessions.begin

    def begin_a_short_one(*who: Any) -> SignedIn:
        # The first token and no other: the page asks for the next a second later, whenever that is for this test.
        with monkeypatch.context() as short:
            short.setattr(session_tokens, "SESSION_S", 100)
            return begin(*who)

    monkeypatch.setattr(sessions, "begin", begin_a_short_one)
    async with guarded.visit(wallet) as visit:
        await sign_in_by_wallet(visit)
        await until(lambda: authenticated(visit) == 2)
        await expect(visit.page.get_by_text("Your session ends")).to_have_count(0)
        await is_answered(visit, "Does it go on?")
        assert len(wallet.signed) == 1
        # One that nobody had signed in on, and the one that goes on.
        assert visit.sockets == 2
        assert visit.errors == []


async def test_of_several_accounts_one_is_chosen_and_come_back_to(
    guarded: Guarded, wallet: ScriptedWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Token("zeta")
    await guarded.writer.open(other, owner=wallet.did)
    await guarded.gateway.access.look()
    async with guarded.visit(wallet) as visit:
        await panel(visit).get_by_role("button", name="Sign in with your wallet").click()
        choice = panel(visit).get_by_role("group", name="You belong to several accounts. For which one?")
        await expect(choice.get_by_role("button")).to_have_text([re.compile("acme owner"), re.compile("zeta owner")])
        await choice.get_by_role("button", name="zeta").click()
        await expect(visit.page.locator(".top")).to_contain_text("account zeta")
        assert len(wallet.signed) == 2
        # Who comes back is not asked again, and is not somebody else.
        await visit.page.get_by_label("Your question").fill("a draft")
        with monkeypatch.context() as later:
            later.setattr(credentials_check, "now_ms", lambda: now_ms() + SESSION_S * 1000)
            await expect(panel(visit)).to_contain_text("Your session is over.")
        await sign_in_by_wallet(visit)
        await expect(visit.page.locator(".top")).to_contain_text("account zeta")
        assert await visit.page.get_by_label("Your question").input_value() == "a draft"
    await guarded.gateway.access.reach(await guarded.writer.close(other, reason="the test is over"))


async def test_who_signs_out_leaves_nothing_behind(guarded: Guarded, wallet: ScriptedWallet) -> None:
    async with guarded.visit(wallet) as visit:
        await sign_in_by_wallet(visit)
        await is_answered(visit, "Is it forgotten?")
        await visit.page.get_by_role("button", name="how it went").click()
        await expect(visit.page.get_by_test_id("history")).to_be_visible()
        token = await token_of(visit)
        # By the mouse: a history that is open lies beside the header.
        async with visit.page.expect_response("**/v1/auth/sign-out") as told:
            await visit.page.get_by_role("button", name="Sign out").click()
        assert (await told.value).status == 204
        await expect(panel(visit)).to_contain_text("You are signed out.")
        assert (await guarded.gateway.get("/v1/models", Authorization=f"Bearer {token}")).status == 401
        assert await visit.page.evaluate("sessionStorage.length") == 0
        await try_key(visit, await guarded.key())
        await expect(visit.page.get_by_test_id("turns")).to_be_visible()
        await expect(visit.page.get_by_test_id("answer-turn")).to_have_count(0)


async def test_a_key_that_is_revoked_leads_to_the_panel_and_to_no_further_try(guarded: Guarded) -> None:
    key = await guarded.key()
    async with guarded.visit() as visit:
        await try_key(visit, key)
        await expect(visit.page.locator(".connection")).to_have_text("Live")
        sockets = visit.sockets
        await guarded.writer.revoke(ACME, key.split("_")[1], reason="lost")
        await expect(panel(visit)).to_contain_text("This API key is no longer good.")
        await visit.page.evaluate("dispatchEvent(new Event('online'))")
        assert visit.sockets == sockets


async def test_where_nobody_is_asked_nothing_of_it_shows(guarded: Guarded, wallet: ScriptedWallet) -> None:
    watch = """
        window.panels = 0;
        new MutationObserver(() => (window.panels += document.querySelectorAll(".gate").length))
            .observe(document, { childList: true, subtree: true });
    """
    async with serve_http(guarded.mesh.bus) as open_gateway:
        page = await guarded.browser.new_page()
        visit = Visit(page, open_gateway.url)
        await page.add_init_script(watch)
        await page.goto(open_gateway.url)
        await is_answered(visit, "Who am I?")
        await expect(page.locator(".top")).to_contain_text("account local")
        await expect(page.get_by_role("button", name="Sign out")).to_have_count(0)
        assert await page.evaluate("window.panels") == 0
        assert [url for url in visit.requested if "/v1/auth" in url] == []
        assert visit.errors == []
        await page.close()
