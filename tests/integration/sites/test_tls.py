"""Links with TLS: events cross, and a side that cannot show or trust what it must is not linked."""

import subprocess
from pathlib import Path

import pytest

from tests.integration.sites.linked import (
    Files,
    link_count,
    linked_up,
    live_a_life,
    make_pair,
    new_key,
    wait_for_copies,
)
from tests.processes import until
from tests.running_mesh import ROOT

pytestmark = pytest.mark.timeout(180)

HUB = "127.0.0.1"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities with a certificate each, one of them a stranger's."""
    folder = tmp_path_factory.mktemp("certificates")
    for authority in ("ours", "strange"):
        made = [ROOT / "deploy/cluster/make-certificates", folder / authority, HUB]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
    return folder


def shown(certificates: Path, authority: str) -> Files:
    mine = certificates / authority / HUB
    return {"leaf_cert": mine / "server.pem", "leaf_key": mine / "server-key.pem"}


def trusted(certificates: Path, authority: str) -> Files:
    return {"leaf_ca": certificates / authority / "ca.pem"}


@pytest.mark.parametrize("both", [False, True], ids=["the hub shows", "both show"])
async def test_events_cross_an_encrypted_link(tmp_path: Path, certificates: Path, both: bool) -> None:
    at_hub, at_site = shown(certificates, "ours"), trusted(certificates, "ours")
    if both:
        at_hub, at_site = {**at_hub, **at_site}, {**at_hub, **at_site}
    pair = make_pair(tmp_path, by_line=False, at_hub=at_hub, at_site=at_site)
    with pair.hub.as_hub(), pair.site.server:
        await pair.site.provision()
        await linked_up(pair)
        await pair.hub.provision()
        async with await pair.hub.bus() as hub, await pair.site.bus() as site:
            await live_a_life(site, new_key(), chunks=2)
            await wait_for_copies(hub, site, pair.name)


@pytest.mark.parametrize(
    ("at_hub", "at_site", "log", "said"),
    [
        (("ours", None), (None, "strange"), "site", "certificate signed by unknown authority"),
        (("ours", "ours"), (None, "ours"), "hub", "client didn't provide a certificate"),
        (("ours", "ours"), ("strange", "ours"), "hub", "certificate signed by unknown authority"),
        (("ours", None), (None, None), "site", "certificate signed by unknown authority"),
        ((None, None), (None, "ours"), "site", "TLS Handshake Failure"),
    ],
    ids=["strange hub", "nothing shown", "strange site", "nothing trusted", "plain hub"],
)
async def test_who_cannot_show_what_the_other_trusts_is_not_linked(
    tmp_path: Path,
    certificates: Path,
    at_hub: tuple[str | None, str | None],
    at_site: tuple[str | None, str | None],
    log: str,
    said: str,
) -> None:
    def files(given: tuple[str | None, str | None]) -> Files:
        cert, ca = given
        return {
            **(shown(certificates, cert) if cert else {}),
            **(trusted(certificates, ca) if ca else {}),
        }

    pair = make_pair(tmp_path, by_line=False, at_hub=files(at_hub), at_site=files(at_site))
    with pair.hub.as_hub(), pair.site.server:
        server = pair.site.server if log == "site" else pair.hub.server
        await until(lambda: said in server.log.read_text())
        assert await link_count(pair) == 0
