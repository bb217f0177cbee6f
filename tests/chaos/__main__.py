"""The long version: `make chaos`, or `python -m tests.chaos --help`."""

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.campaign import Campaign, Load, Outcome
from tests.chaos.faults import FAULTS, Fault, kill_services
from tests.chaos.figures import Row, rows, summary, table, too_slow
from tests.chaos.fleet import Size, running_fleet

_MINUTE_S = 60.0
_ABOUT_S = 12.0
"""What one fault takes, with what makes it good and the pause behind it."""
_PAUSE_S = 8.0
_BURST = 200


def main() -> int:
    """Run one campaign of faults and one burst, print what was measured, and fail if anything was lost."""
    asked = _arguments()
    # Whoever stops this early stops the mesh with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(f"seed {asked.seed}, {asked.answers} answers at once, about {asked.minutes:g} min of faults", flush=True)
    with tempfile.TemporaryDirectory(prefix="ig3-chaos-", ignore_cleanup_errors=True) as folder:
        size = Size(servers=asked.cluster, nodes=asked.nodes, token_delay_ms=asked.token_delay_ms)
        with running_fleet(Path(folder), size) as fleet:
            load = _load(asked.answers)
            begun_s = time.monotonic()
            streamed = asyncio.run(Campaign(fleet, load, asked.seed).run(_plan(asked), pause_s=_PAUSE_S))
            _print(f"Faults while {asked.answers} answers stream ({time.monotonic() - begun_s:.0f} s)", streamed)
            burst = Load(http_readers=_BURST * 4 // 5, websocket_readers=_BURST // 5, bus_readers=0, tokens=80)
            flooded = asyncio.run(Campaign(fleet, burst, asked.seed).burst((kill_services,)))
            _print("Dispatcher and gateway killed with 200 tasks in flight", flooded)
    broken = [*streamed.findings.broken, *too_slow(_rows(streamed)), *flooded.findings.broken]
    if flooded.in_flight < _BURST:
        broken.append(f"only {flooded.in_flight} of {_BURST} tasks were in flight when the services were killed")
    print("\n".join(["", f"promises broken: {len(broken)}", *broken]))
    return 1 if broken else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos ARGS=…", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9), help="repeats a schedule")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long to inject faults")
    parser.add_argument("--answers", type=int, default=50, help="how many stream at once")
    parser.add_argument("--cluster", type=int, default=1, choices=(1, 3, 5), help="how many nats-servers")
    parser.add_argument("--nodes", type=int, default=3, help="how many nodes")
    parser.add_argument("--token-delay-ms", type=int, default=150, help="how long a node takes for a token")
    return parser.parse_args()


def _plan(asked: argparse.Namespace) -> list[Fault]:
    """Every fault as often as every other, shuffled round by round, so that a short run has had each."""
    chance, plan = random.Random(asked.seed), list[Fault]()
    while len(plan) < asked.minutes * _MINUTE_S / _ABOUT_S:
        plan += chance.sample(FAULTS, len(FAULTS))
    return plan


def _load(answers: int) -> Load:
    others = answers // 5
    return Load(http_readers=answers - 2 * others, websocket_readers=others, bus_readers=others)


def _rows(outcome: Outcome) -> dict[str, Row]:
    return rows(outcome.injections, outcome.transcripts, outcome.records)


def _print(title: str, outcome: Outcome) -> None:
    print(f"\n{title}\n")
    print(table(_rows(outcome)))
    print(f"\n{summary(outcome.findings)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
