"""How well vector stores are searched, and how fast: ``python -m benchmarks.retrieval``.

``quality`` takes the frozen corpus in as `ig3 retrieval` does, with the embedding model that a node loads, and asks all
questions of README.md beside this file: by meaning alone, by words alone, and by both. ``speed`` searches a shelf of
many passages. Without either, both.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

from benchmarks.retrieval.asking import measure_quality
from benchmarks.retrieval.speed import measure_speed


def main() -> None:
    """Measure and print."""
    asked = argparse.ArgumentParser(prog="python -m benchmarks.retrieval", description=__doc__)
    asked.add_argument("what", nargs="?", choices=("quality", "speed", "both"), default="both")
    asked.add_argument("--passages", type=int, default=100_000, help="on the shelf whose speed is measured")
    options = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.what != "speed":
            asyncio.run(measure_quality(Path(folder) / "quality"))
        if options.what != "quality":
            asyncio.run(measure_speed(Path(folder) / "speed", options.passages))


if __name__ == "__main__":
    main()
