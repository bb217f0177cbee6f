"""One request through a mesh of processes, as a collector sees it."""

import asyncio
import json
import re
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from mesh.telemetry import names
from tests.otlp_collector import Collector, running_collector
from tests.running_mesh import ROOT, SYNTHETIC, running_up

pytestmark = pytest.mark.timeout(240)

TRACE = "0af7651916cd43dd8448eb211c80319c"
SENDERS = {"chat": "ig3-gateway", "dispatch": "ig3-dispatcher", "generate": "ig3-node"}
METRICS = {"ig3.dispatcher.tasks_ended", "gen_ai.client.token.usage"}
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "200", "OTEL_METRIC_EXPORT_INTERVAL": "500"}
"""In milliseconds: what is sent while the mesh runs can be asked for again where it is lost."""
LOOKS = 100
LOOK_S = 0.1


def ask(url: str) -> str:
    body = {"model": SYNTHETIC, "max_tokens": 3, "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"content-type": "application/json", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    with urlopen(Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers)) as answer:
        return answer.read().decode()


def metrics_of(url: str) -> str:
    with urlopen(f"{url}/metrics") as answer:
        return answer.read().decode()


def senders(collector: Collector) -> dict[str, str]:
    return {span.name: service for service, span in collector.spans if span.trace_id.hex() == TRACE}


def metrics(collector: Collector) -> set[str]:
    return {metric.name for _, metric in collector.metrics}


async def ask_until_all_is_told(collector: Collector, url: str) -> None:
    """Ask once; or again, since what a collector that stands still does not take within 2 s is lost."""
    while True:
        assert "[DONE]" in await asyncio.to_thread(ask, url)
        for _ in range(LOOKS):
            if senders(collector).keys() >= SENDERS.keys() and metrics(collector) >= METRICS:
                return
            await asyncio.sleep(LOOK_S)


async def test_every_process_sends_its_part_and_the_page_names_all_of_it(tmp_path: Path) -> None:
    page = (ROOT / "docs/telemetry.md").read_text()
    with running_collector() as collector:
        variables = {"IG3_OTLP_ENDPOINT": collector.url, **SOON}
        with running_up(tmp_path, "--engine", SYNTHETIC, variables=variables) as mesh:
            await ask_until_all_is_told(collector, mesh.url)
            shown = await asyncio.to_thread(metrics_of, mesh.url)
    assert senders(collector) == SENDERS
    assert metrics(collector) >= METRICS
    for name in re.findall(r"^# TYPE (\S+) ", shown, re.MULTILINE):
        assert name == "target_info" or f"`{name}`" in page


def test_the_page_names_every_metric_with_its_unit() -> None:
    page = (ROOT / "docs/telemetry.md").read_text()
    instruments = [value for value in vars(names).values() if isinstance(value, names.Instrument)]
    assert len(instruments) == 16
    assert [one.name for one in instruments if f"| `{one.name}` | {one.unit} |" not in page] == []
