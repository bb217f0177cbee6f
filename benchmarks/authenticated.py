"""What it costs the gateway to find out who asks: anonymous requests beside ones with an API key, interleaved.

``python -m benchmarks.authenticated``. CPU is that of the gateway process alone.
"""

import asyncio
import subprocess
import sys
from statistics import median

from benchmarks.load import Target, closed_loop
from benchmarks.measured import cost_of
from benchmarks.running_mesh import RunningMesh, running_mesh

ROUNDS = 10
REQUESTS = 600
CONNECTIONS = 16


def main() -> None:
    """Run and print."""
    with running_mesh(durability="process") as mesh:
        targets = {
            "anonymous": Target(host="127.0.0.1", port=mesh.http_port),
            "API key": Target(host="127.0.0.1", port=mesh.http_port, authorization=f"Bearer {_issue(mesh)}"),
        }
        costs: dict[str, list[float]] = {name: [] for name in targets}
        for round_number in range(ROUNDS + 1):
            for name, target in targets.items():
                cost_ms = _cost_ms(mesh, target)
                if round_number:  # The first round warms up.
                    costs[name].append(cost_ms)
    for name, found in costs.items():
        print(f"{name:<10} {median(found):.3f} ms CPU of the gateway per request")
    more = [with_key - without for without, with_key in zip(*costs.values(), strict=True)]
    print(f"median of the {ROUNDS} differences: {median(more):+.3f} ms")


def _issue(mesh: RunningMesh) -> str:
    command = [sys.executable, "-m", "mesh.cli", "keys", "issue", "--name", "bench", "--data-dir", str(mesh.data_dir)]
    done = subprocess.run([*command, "--nats", mesh.nats_url], check=True, capture_output=True, text=True)
    return next(word for word in done.stdout.split() if word.startswith("ig3_"))


def _cost_ms(mesh: RunningMesh, target: Target) -> float:
    gateway = [mesh.pids["gateway"]]
    before = cost_of(gateway).cpu_s
    asyncio.run(closed_loop(target, connections=CONNECTIONS, requests=REQUESTS))
    return (cost_of(gateway).cpu_s - before) / REQUESTS * 1e3


if __name__ == "__main__":
    main()
