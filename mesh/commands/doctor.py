"""``ig3 doctor``: whether this installation is as safe as it should be."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Final

import click
import msgspec
from msgspec import Struct

from mesh.config.options import only, read_sources, settings_options
from mesh.config.settings import MeshSettings, resolve
from mesh.config.sources import installed_sections
from mesh.identity.device_settings import DeviceSettings
from mesh.inspection.operator_bus import quiet_logging
from mesh.inspection.tables import Column, print_table
from mesh.processes.terminal import terminal
from mesh.sites.settings import SiteSettings

if TYPE_CHECKING:
    from mesh.doctor.finding import Finding, Level

_STYLES: Final[dict[Level, str]] = {"ok": "green", "warning": "yellow", "insecure": "red"}
_EXAMPLES: Final = """\b
Examples:
  ig3 doctor            # exit status 1 if anything is insecure
  ig3 doctor --json     # the same for a program
"""


@click.command(epilog=_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@settings_options(
    mesh=only(MeshSettings, "nats", "data_dir"),
    site=only(SiteSettings, "leaf_listen"),
    devices=only(DeviceSettings, "admission"),
)
def doctor(mesh: MeshSettings, site: SiteSettings, devices: DeviceSettings, as_json: bool) -> None:
    """Look whether this installation is safe, and say what to do.

    Looks at the settings, the data folder, what listens, certificates, the broker and the identity service, and this
    machine. It changes nothing. Run it where the broker runs, with the settings that the mesh has. The exit status is
    1 if anything is insecure; a warning is for a person to judge.
    """
    # Loaded here, so that `ig3 doctor --help` does not wait for the cryptography.
    from mesh.doctor.examine import examine
    from mesh.doctor.gather import gather
    from mesh.doctor.installation import Installation

    quiet_logging(mesh)
    sources = read_sources()
    others: dict[str, Struct] = {
        name: resolve(section, name, flags={}, sources=sources).value for name, section in installed_sections().items()
    }
    sections = {**others, "mesh": mesh, "site": site, "devices": devices}
    installation = Installation(mesh=mesh, site=site, devices=devices, sections=sections, sources=sources)
    findings = examine(asyncio.run(gather(installation)))
    if as_json:
        for finding in findings:
            click.echo(msgspec.json.encode(finding))
    else:
        _print(findings)
    if any(finding.level == "insecure" for finding in findings):
        sys.exit(1)


def _print(findings: tuple[Finding, ...]) -> None:
    screen = terminal()
    rows = [(finding.item, (finding.level, _STYLES[finding.level]), finding.text) for finding in findings]
    print_table(screen, tuple(map(Column, ("WHAT", "STATE", ""))), rows)
    wrong = [finding for finding in findings if finding.level != "ok"]
    for finding in wrong:
        screen.out.print(f"{finding.item}: {finding.remedy}", markup=False, style=_STYLES[finding.level])
    if not wrong:
        screen.out.print("Nothing to do.", style="green", markup=False)
