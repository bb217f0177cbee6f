"""``ig3 streams``: the broker's streams as they are, against what they should be."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, NoReturn

import click

from mesh.bus.provision import SHORTENING, Action, check, provision
from mesh.config.options import only, settings_options
from mesh.config.settings import MeshSettings
from mesh.history.stream_facts import stream_facts, stream_names
from mesh.inspection.operator_bus import run_on_bus
from mesh.inspection.surplus_streams import surplus_streams
from mesh.inspection.tables import Column, print_table, show_size, show_time
from mesh.processes.terminal import terminal
from mesh.sites.plan import streams_here
from streams.consumers import consumer_specs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mesh.bus.provision import Finding
    from mesh.bus.service_bus import Bus
    from mesh.history.stream_facts import StreamFacts
    from mesh.inspection.surplus_streams import Surplus
    from mesh.processes.terminal import Terminal
    from streams.topology import Account

_SHAPE: Final = only(
    MeshSettings,
    *("nats", "data_dir", "results_streams", "replicas", "retention", "ended_retention", "cache_room"),
)
_WORDS: Final = {
    Action.SAME: ("as it should be", "green"),
    Action.MISSING: ("missing", "red"),
    Action.DRIFTED: ("differs", "yellow"),
    Action.CREATED: ("created", "green"),
    Action.UPDATED: ("updated", "green"),
    Action.KEPT: ("kept as it is", "yellow"),
}
_SURPLUS: Final = ("surplus", "yellow")


_EXAMPLES: Final = """\b
Examples:
  ig3 streams check        # exit status 1 if anything is missing or differs
  ig3 streams provision    # make it so, without deleting data
  ig3 streams provision --shorten   # also where that deletes what is older than a shorter retention
  ig3 streams list         # what each stream holds
"""


@click.group(epilog=_EXAMPLES)
def streams() -> None:
    """Compare the broker's streams with what they should be."""


@streams.command(name="check")
@settings_options(mesh=_SHAPE)
def check_streams(mesh: MeshSettings) -> None:
    """Say what is missing and what differs.

    Shows each stream and consumer and changes nothing. The exit status is 1 if anything is missing or differs. Streams
    that nobody asks for are shown as surplus: what they hold stays until it expires or you delete it.
    """
    findings: list[Finding] = []
    surplus: list[Surplus] = []

    async def work(bus: Bus) -> None:
        findings.extend(await check(bus.links, streams_here(mesh), consumer_specs()))
        surplus.extend(await surplus_streams(bus.links, streams_here(mesh)))

    run_on_bus(mesh, "streams", work)
    _print_findings(terminal(), findings, surplus)
    if any(finding.action is not Action.SAME for finding in findings):
        terminal().err.print("`ig3 streams provision` makes it so, without deleting data.", markup=False)
        _exit_with_what_shortens(findings)


@streams.command(name="provision")
@click.option("--shorten", is_flag=True, help="Apply a shorter retention too: what is older is deleted at once.")
@settings_options(mesh=_SHAPE)
def provision_streams(shorten: bool, mesh: MeshSettings) -> None:
    """Create what is missing, update what differs.

    What could only be changed by losing data is refused, or kept as it is; then the exit status is 1.
    """
    findings: list[Finding] = []

    async def work(bus: Bus) -> None:
        findings.extend(await provision(bus.links, streams_here(mesh), consumer_specs(), shorten=shorten))

    run_on_bus(mesh, "streams", work)
    _print_findings(terminal(), findings)
    if any(finding.action is Action.KEPT for finding in findings):
        _exit_with_what_shortens(findings)


@streams.command(name="list")
@settings_options(mesh=only(MeshSettings, "nats", "data_dir"))
def list_streams(mesh: MeshSettings) -> None:
    """Show what each stream of the broker holds."""
    found: list[tuple[Account, StreamFacts]] = []

    async def work(bus: Bus) -> None:
        for account, link in bus.links.items():
            found.extend([(account, await stream_facts(link, name)) for name in await stream_names(link)])

    run_on_bus(mesh, "streams", work)
    _print_streams(terminal(), found)


def _exit_with_what_shortens(findings: list[Finding]) -> NoReturn:
    names = ", ".join(finding.name for finding in findings if finding.shortens)
    if names:
        terminal().err.print(f"{names}: {SHORTENING}.", markup=False)
    sys.exit(1)


def _print_findings(screen: Terminal, findings: list[Finding], surplus: Sequence[Surplus] = ()) -> None:
    columns = (Column("STREAM/CONSUMER"), Column("STATE"), Column("DIFFERENCE (is -> should be)"))
    rows = [(finding.name, _WORDS[finding.action], "; ".join(map(str, finding.differences))) for finding in findings]
    rows += [
        (facts.name, _SURPLUS, f"in {account}, with {facts.messages:,} messages; nothing deletes it")
        for account, facts in surplus
    ]
    print_table(screen, columns, rows)


def _print_streams(screen: Terminal, found: list[tuple[Account, StreamFacts]]) -> None:
    columns = (
        *(Column("STREAM"), Column("ACCOUNT"), Column("MESSAGES", right=True), Column("SIZE", right=True)),
        *(Column("SEQUENCES", right=True), Column("FIRST"), Column("LAST")),
    )
    rows = [
        (
            *(facts.name, account, f"{facts.messages:,}", show_size(facts.size_bytes)),
            *(f"{facts.first_sequence}-{facts.last_sequence}" if facts.messages else "", show_time(facts.first_at)),
            show_time(facts.last_at),
        )
        for account, facts in found
    ]
    print_table(screen, columns, rows)
