"""Usage and costs over HTTP: one's own account, with the right to read, as the ledger adds it up."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import ClientResponse

from gateway.usage import ledger_reads
from gateway.usage.ledger_reads import LedgerReads
from mesh.access.writer import AccessWriter
from streams.billing.messages import PricesShown, UsageRow
from streams.tokens import Token
from tests.http_gateway import MODEL, serve_http
from tests.mesh_in_process import InProcessMesh
from tests.patient_links import LONG, wait_for_answers
from tests.played_ledger import PRICES, played_ledger
from tests.scripted_mesh import scripted_mesh

if TYPE_CHECKING:
    from streams.access.events import Right

TODAY = datetime.now(UTC).date().isoformat()


@pytest.fixture(autouse=True)
def answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the broker nor a ledger that is there counts as away because this machine is slow."""
    wait_for_answers(monkeypatch)
    monkeypatch.setattr(ledger_reads, "_PRICES_TIMEOUT", LONG)
    monkeypatch.setattr(LedgerReads._asked, "__defaults__", (LONG,))


def row(**more: Any) -> UsageRow:
    return UsageRow(day=TODAY, currency="EUR", **{"model": "m", "tasks": 1, "amount_nano": 1, **more})


async def results(answer: ClientResponse) -> list[dict[str, Any]]:
    assert answer.status == 200
    return [result for bucket in (await answer.json())["data"] for result in bucket["results"]]


async def test_everybody_sees_the_usage_of_their_own_account_alone(tmp_path: Path) -> None:
    async with scripted_mesh(tmp_path) as mesh, played_ledger(mesh.bus.core) as ledger:
        await mesh.bus.follow()
        writer = AccessWriter(mesh.bus.core)
        headers = {}
        rights: dict[str, Right] = {"acme": "read", "other": "read", "blind": "chat"}
        for name, right in rights.items():
            await writer.open(Token(name))
            issued = await writer.issue(Token(name), name="test", rights=(right,))
            headers[name] = {"Authorization": f"Bearer {issued.shown.text}"}
        # More than fits into one answer of the ledger.
        own = [row(key=key, prompt_tokens=10**12, amount_nano=10**9 // 3) for key in ("k1", "k2", "k3", "k4", None)]
        ledger.rows = {"acme": tuple(own), "other": (row(),)}
        async with serve_http(mesh.bus, auth="required") as gateway:
            (used,) = await results(await gateway.get("/v1/usage", **headers["acme"]))
            assert (used["input_tokens"], used["num_model_requests"], used["model"]) == (5 * 10**12, 5, None)
            (cost,) = await results(await gateway.get("/v1/usage/costs?group_by=model", **headers["acme"]))
            assert (cost["amount"], cost["line_item"]) == ({"value": "1.666666665", "currency": "EUR"}, "m")
            assert len(await results(await gateway.get("/v1/usage?group_by=api_key_id", **headers["acme"]))) == 5
            (cost,) = await results(await gateway.get("/v1/usage/costs", **headers["other"]))
            assert cost["amount"]["value"] == "0.000000001"
            assert (await gateway.get("/v1/usage", **headers["blind"])).status == 403
            assert (await gateway.get("/v1/usage")).status == 401
            wrong = await gateway.get("/v1/usage/costs?limit=999", **headers["acme"])
            assert (wrong.status, (await wrong.json())["error"]["param"]) == (400, "limit")


async def test_models_have_their_prices_and_nothing_stops_for_want_of_a_ledger(tmp_path: Path) -> None:
    async with InProcessMesh(folder=tmp_path) as mesh:
        await mesh.add_dispatcher()
        await mesh.add_node(interval_s=5)
        async with serve_http(mesh.bus) as gateway:
            await gateway.until_served()
            away = await gateway.get("/v1/usage")
            assert (away.status, (await away.json())["error"]["code"]) == (503, "billing_unavailable")
            assert "pricing" not in await (await gateway.get(f"/v1/models/{MODEL}")).json()
        async with played_ledger(mesh.bus.core) as ledger, serve_http(mesh.bus) as gateway:
            ledger.prices = PricesShown(current=PRICES)
            await gateway.until_served()
            model = await (await gateway.get(f"/v1/models/{MODEL}")).json()
            tokens = {"prompt": "0.00000001", "cached_prompt": "0.000000005", "completion": "0.00000003"}
            assert model["pricing"] == [{"tier": "edge", "currency": "EUR", **tokens}]
            listed = await (await gateway.get("/v1/models")).json()
            assert [one["pricing"] for one in listed["data"]] == [model["pricing"]]
