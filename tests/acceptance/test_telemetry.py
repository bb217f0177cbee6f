"""One request through a mesh of processes, as a collector sees it."""

import asyncio
import json
import re
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from mesh.telemetry import names
from tests.otlp_collector import running_collector
from tests.running_mesh import ROOT, SYNTHETIC, running_up

pytestmark = pytest.mark.timeout(240)

TRACE = "0af7651916cd43dd8448eb211c80319c"


def ask(url: str) -> str:
    body = {"model": SYNTHETIC, "max_tokens": 3, "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"content-type": "application/json", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    with urlopen(Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers)) as answer:
        return answer.read().decode()


def metrics_of(url: str) -> str:
    with urlopen(f"{url}/metrics") as answer:
        return answer.read().decode()


async def test_every_process_sends_its_part_and_the_page_names_all_of_it(tmp_path: Path) -> None:
    page = (ROOT / "docs/telemetry.md").read_text()
    with running_collector() as collector:
        with running_up(tmp_path, "--engine", SYNTHETIC, variables={"IG3_OTLP_ENDPOINT": collector.url}) as mesh:
            assert "[DONE]" in await asyncio.to_thread(ask, mesh.url)
            shown = await asyncio.to_thread(metrics_of, mesh.url)
        senders = {span.name: service for service, span in collector.spans if span.trace_id.hex() == TRACE}
        metrics = {metric.name for _, metric in collector.metrics}
    assert senders == {"chat": "ig3-gateway", "dispatch": "ig3-dispatcher", "generate": "ig3-node"}
    assert {"ig3.dispatcher.tasks_ended", "gen_ai.client.token.usage"} <= metrics
    for name in re.findall(r"^# TYPE (\S+) ", shown, re.MULTILINE):
        assert name == "target_info" or f"`{name}`" in page


def test_the_page_names_every_metric_with_its_unit() -> None:
    page = (ROOT / "docs/telemetry.md").read_text()
    instruments = [value for value in vars(names).values() if isinstance(value, names.Instrument)]
    assert len(instruments) == 16
    assert [one.name for one in instruments if f"| `{one.name}` | {one.unit} |" not in page] == []
