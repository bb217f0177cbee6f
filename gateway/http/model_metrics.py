"""What an autoscaler outside needs to know of each model, on ``/metrics``: counted anew at each scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.models.placer import sight_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.roster.backlog_feed import BacklogFeed
    from gateway.roster.feed import RosterFeed

_MODEL: Final = ("model",)


class ModelMetrics(Collector):
    """Gauges by model: those that are served, waited for, or wanted."""

    def __init__(self, feed: RosterFeed, backlog: BacklogFeed) -> None:
        """Ask ``feed`` and ``backlog``, which are started."""
        self._feed = feed
        self._backlog = backlog

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Return the families without values: nothing is counted for that."""
        return self._families().values()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Count."""
        roster = self._feed.roster
        nodes = roster.nodes(now_s=self._feed.now_s())
        served = {replica.model for node in nodes if node.is_live for replica in node.replicas}
        totals = self._backlog.backlogs.totals
        waited_for = {model for model, _ in totals.waiting_in}
        wanted = {wish.model: wish.wanted for wish in roster.wishes()}
        families = self._families()
        for model in sorted(served | waited_for | wanted.keys()):
            sight = sight_of(model, nodes, totals)
            values = {
                "ig3_model_waiting_tasks": sight.waiting,
                "ig3_model_replicas": sight.replicas,
                "ig3_model_slots": sight.slots,
                "ig3_model_busy_slots": sight.busy,
            }
            for name, value in values.items():
                families[name].add_metric([model], value)
            if model in wanted:
                families["ig3_model_wanted_replicas"].add_metric([model], wanted[model])
        return families.values()

    def _families(self) -> dict[str, GaugeMetricFamily]:
        said = {
            "ig3_model_waiting_tasks": "Tasks that wait for the model at all dispatchers.",
            "ig3_model_replicas": "Live nodes that serve the model.",
            "ig3_model_slots": "Answers at once, on all of them together.",
            "ig3_model_busy_slots": "Answers that they write now.",
            "ig3_model_wanted_replicas": "Replicas that there shall be; only for models that are placed.",
        }
        return {name: GaugeMetricFamily(name, text, labels=_MODEL) for name, text in said.items()}
