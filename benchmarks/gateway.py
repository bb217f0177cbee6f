"""The price of the mesh: gateway, dispatcher and nats-server against two floors, interleaved on one broker.

``make bench`` runs it. Everything is synced to disk as shipped unless a line says otherwise; the engine is synthetic,
so that only the mesh is measured. CPU is user and system time of gateway, dispatcher and nats-server together.
"""

import asyncio
from functools import partial
from statistics import median

from benchmarks.load import Target, Timings, closed_loop, hold_streams, open_loop
from benchmarks.measured import cost_of, resident_bytes
from benchmarks.running_mesh import RunningMesh, running_floor, running_mesh

ROUNDS = 5
REQUESTS = 400
STREAMS = 32
STREAM_TOKENS = 100
HELD_STREAMS = 400
HELD_NODES = 2
"""Each has 256 slots, the most there are: none of the streams waits in a queue."""


def main() -> None:
    """Run all parts and print the figures."""
    for durability in ("power", "process"):
        print(f"\n=== durability {durability} ===")
        with running_mesh(durability=durability) as mesh:
            print(f"gateway memory at start: {resident_bytes(mesh.pids['gateway']) / 1e6:.0f} MB")
            _compare_with_floors(mesh, connections=1, requests=REQUESTS)
            _compare_with_floors(mesh, connections=64, requests=REQUESTS * 4)
        with running_mesh(durability=durability, token_delay_ms=20) as mesh:
            _streaming(mesh)
            _first_token(mesh)
        # So slow that the gateway keeps up: it holds streams, not text that it could not send yet.
        with running_mesh(durability=durability, token_delay_ms=200, nodes=HELD_NODES) as mesh:
            _memory_per_stream(mesh)


def _compare_with_floors(mesh: RunningMesh, *, connections: int, requests: int) -> None:
    with running_floor(mesh, publishes=0) as bare, running_floor(mesh, publishes=2) as stored:
        runs = {
            "floor: aiohttp + one NATS request": bare,
            "floor: the same + two stored events": stored,
            "gateway": (mesh.http_port, mesh.served_by),
        }
        figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in runs}
        for round_number in range(ROUNDS + 1):
            for name, (port, pids) in runs.items():
                target = Target(host="127.0.0.1", port=port)
                timings, cpu_ms = _measure(pids, target, connections=connections, requests=requests)
                if round_number:  # The first round warms up.
                    figures[name].append((timings.p50_ms, timings.rate, cpu_ms))
    print(f"\n{connections} connection(s), {ROUNDS} rounds of {requests} requests, interleaved")
    base = median(values[2] for values in figures["floor: the same + two stored events"])
    for name, rounds in figures.items():
        p50, rate, cpu = (median(values[part] for values in rounds) for part in range(3))
        line = f"p50 {p50:6.2f} ms   {rate:5.0f}/s   CPU {cpu:5.2f} ms/request   {cpu / base:4.2f} x the stored floor"
        print(f"  {name:38} {line}")


def _streaming(mesh: RunningMesh) -> None:
    target = Target(host="127.0.0.1", port=mesh.http_port, stream=True, max_tokens=STREAM_TOKENS)
    costs: list[float] = []
    for round_number in range(ROUNDS + 1):
        before = cost_of(mesh.served_by).cpu_s
        asyncio.run(closed_loop(target, connections=STREAMS, requests=STREAMS * 2))
        spent_s = cost_of(mesh.served_by).cpu_s - before
        if round_number:
            costs.append(spent_s / (STREAMS * 2 * STREAM_TOKENS) * 1e6)
    print(f"\n{STREAMS} streams of {STREAM_TOKENS} tokens, one each 20 ms: CPU {median(costs):.0f} us/token")


def _first_token(mesh: RunningMesh) -> None:
    target = Target(host="127.0.0.1", port=mesh.http_port, stream=True, max_tokens=5)
    timings = asyncio.run(open_loop(target, per_s=50, seconds=20))
    engine_ms = 20
    added = [timings.first_token_ms(percent) - engine_ms for percent in (50, 99)]
    print(f"\n50 requests/s: added time to first token p50 {added[0]:.1f} ms, p99 {added[1]:.1f} ms")


def _memory_per_stream(mesh: RunningMesh) -> None:
    target = Target(host="127.0.0.1", port=mesh.http_port, stream=True, max_tokens=150)
    look = partial(resident_bytes, mesh.pids["gateway"])
    before, held = asyncio.run(hold_streams(target, HELD_STREAMS, look, patience_s=20))
    print(f"\n{HELD_STREAMS} open streams: {(held - before) / HELD_STREAMS / 1e3:.0f} KB each in the gateway")


def _measure(pids: list[int], target: Target, *, connections: int, requests: int) -> tuple[Timings, float]:
    before = cost_of(pids).cpu_s
    timings = asyncio.run(closed_loop(target, connections=connections, requests=requests))
    return timings, (cost_of(pids).cpu_s - before) / len(timings.requests_s) * 1e3


if __name__ == "__main__":
    main()
