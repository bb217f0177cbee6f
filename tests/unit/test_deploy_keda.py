"""deploy/keda asks for metrics that there are."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, cast

from gateway.http.model_metrics import ModelMetrics

if TYPE_CHECKING:
    from gateway.roster.backlog_feed import BacklogFeed
    from gateway.roster.feed import RosterFeed

MANIFEST = Path(__file__).parents[2] / "deploy/keda/nodes.yaml"


def test_the_scaled_object_asks_for_metrics_that_a_gateway_shows() -> None:
    nobody = cast("RosterFeed", None), cast("BacklogFeed", None)
    shown = {family.name for family in ModelMetrics(*nobody).describe()}
    asked = set(re.findall(r"\b(ig3_\w+)\{", MANIFEST.read_text()))
    assert asked
    assert asked <= shown
