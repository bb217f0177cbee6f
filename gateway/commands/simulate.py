"""``ig3 simulate``: recorded or synthetic tasks through the real scheduler, in virtual time, policy against policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec
from msgspec.structs import replace

from gateway.simulation.event_log import UnreadableLog, read_log
from gateway.simulation.fleet import announced, devices_of
from gateway.simulation.hedged_run import HedgedRun
from gateway.simulation.policies import COMPARED
from gateway.simulation.run import Run
from gateway.simulation.scenarios import SCENARIOS
from gateway.simulation.trace import synthetic

if TYPE_CHECKING:
    from gateway.simulation.device import Device
    from gateway.simulation.event_log import Recorded
    from gateway.simulation.scenario import Scenario
    from gateway.simulation.tally import Summary

_DEFAULT: Final = ("edge-first", "round-robin", "least-loaded", "random")
_EXAMPLES: Final = """\b
Examples:
  ig3 simulate                                     # ten devices, against round-robin, least-loaded and random
  ig3 simulate office --policy latency --policy cost
  ig3 simulate region --policy edge-first --json   # 10,000 devices
  ig3 simulate hiccups --policy latency --hedge 0.05
  ig3 simulate home --nodes 200 --seed 7           # as much asked of each device, another draw
  ig3 events replay TASKS ENDED MODELS > log.jsonl && ig3 simulate --log log.jsonl
"""
_HEAD: Final = (
    f"{'policy':>12} {'tasks':>6} {'failed':>6} {'first p50':>9} {'p99':>8} {'done p50':>9} {'p99':>8}"
    f" {'$/1000':>7} {'edge':>6} {'cached':>6}"
)


@click.command(epilog=_EXAMPLES)
@click.argument("scenario", type=click.Choice(sorted(SCENARIOS)), default="home")
@click.option(
    "--policy",
    "policies",
    type=click.Choice(list(COMPARED)),
    multiple=True,
    help=f"What to compare; several times. Else {', '.join(_DEFAULT)}.",
)
@click.option("--nodes", type=click.IntRange(1, 10_000), help="Another number of devices, and as much asked of each.")
@click.option("--seed", type=int, help="Draw anew.")
@click.option(
    "--log",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Replay recorded tasks instead, on the devices that the log announces, else on those of the scenario.",
)
@click.option(
    "--hedge",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="SHARE",
    help="Run each policy once more, with a second device asked where the first word is late, for SHARE of all attempts"
    " at most; every task counts for urgent.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per policy.")
def simulate(
    scenario: str,
    policies: tuple[str, ...],
    nodes: int | None,
    seed: int | None,
    log: Path | None,
    hedge: float | None,
    as_json: bool,
) -> None:
    """Compare policies of placement in virtual time, with the scheduler as it runs in the mesh.

    The same scenario and seed always give the same figures. docs/simulation.md says how devices are modelled.
    """
    chosen = SCENARIOS[scenario]
    chosen = chosen if seed is None else replace(chosen, seed=seed)
    chosen = chosen if nodes is None else chosen.scaled(nodes)
    recorded = None if log is None else _read(log)
    conversations = synthetic(chosen.demand, chosen.seed) if recorded is None else recorded.conversations
    if not as_json:
        about = chosen.about if recorded is None else f"{len(conversations)} recorded tasks"
        click.echo(f"{chosen.name}: {about}; seed {chosen.seed}\n\n{_HEAD}")
    for name in dict.fromkeys(policies or _DEFAULT):
        _tell(Run(chosen, COMPARED[name], conversations, _devices(chosen, recorded)).finish(), as_json=as_json)
        if hedge is not None:
            hedged = HedgedRun(chosen, COMPARED[name], conversations, _devices(chosen, recorded), share=hedge)
            _tell(hedged.finish(), as_json=as_json)


def _tell(summary: Summary, *, as_json: bool) -> None:
    click.echo(msgspec.json.encode(summary).decode() if as_json else _row(summary))
    if summary.hedge_share and not as_json:
        won = f"{summary.hedges_won} times the second device had the first word"
        click.echo(f"{'':>12} the same, hedged: {summary.hedges} of {summary.tasks} tasks; {won}")


def _read(log: Path) -> Recorded:
    with log.open("rb") as lines:
        try:
            return read_log(lines)
        except UnreadableLog as error:
            raise UnreadableLog(f"{log}: {error}") from error


def _devices(scenario: Scenario, recorded: Recorded | None) -> list[Device]:
    if recorded is None:
        return list(devices_of(scenario))
    if recorded.replicas:
        served = {replica.model for replicas in recorded.replicas.values() for replica in replicas}
        if unserved := set(recorded.models) - served:
            raise UnreadableLog(
                f"the log asks for {', '.join(sorted(unserved))}, which no device in it announces (an alias?);"
                " leave MODELS out of the export to replay it on the devices of a scenario"
            )
        return list(announced(recorded.replicas, scenario))
    return list(devices_of(scenario, recorded.models))


def _row(summary: Summary) -> str:
    return (
        f"{summary.policy:>12} {summary.tasks:6} {summary.failed:6}"
        f" {_seconds(summary.first_token_p50_s, 9)} {_seconds(summary.first_token_p99_s, 8)}"
        f" {_seconds(summary.finish_p50_s, 9)} {_seconds(summary.finish_p99_s, 8)}"
        f" {summary.cost_per_1000:7.2f} {summary.edge_share:6.1%} {summary.cached_share:6.1%}"
    )


def _seconds(value: float | None, width: int) -> str:
    return f"{'never':>{width}}" if value is None else f"{value:{width - 2}.2f} s"
