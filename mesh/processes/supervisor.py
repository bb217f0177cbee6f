"""Several processes as one: started in order, kept running, stopped in reverse order.

They share one process group and the lock of the data folder, and none of them outlives this process.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from mesh.processes.child import Child, ChildChange, ChildSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mesh.processes.readiness import Ready

__all__ = ["ChildChange", "ChildSpec", "Supervisor"]


class Supervisor:
    """Runs stages of processes. The first stage is ready before the others, which start together, are started."""

    def __init__(
        self,
        stages: Sequence[Sequence[ChildSpec]],
        *,
        environment: Mapping[str, str],
        on_change: Callable[[ChildChange], None],
        inherited: tuple[int, ...] = (),
    ) -> None:
        """Prepare; nothing runs before ``start``.

        Args:
            stages: in the order of starting; each stage stops only after all later ones have.
            environment: variables for all processes, on top of this one's own.
            on_change: is told what happens to each.
            inherited: descriptors that every process holds open as long as it lives.
        """
        self._environment: Final = {**os.environ, **environment}
        self._stages: Final = [
            [
                Child(spec, environment=lambda: self._environment, on_change=on_change, inherited=inherited)
                for spec in stage
            ]
            for stage in stages
        ]

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of those that run, by name."""
        return {child.spec.name: child.pid for child in self._all() if child.pid is not None}

    async def start(self) -> dict[str, Ready]:
        """Start everything and wait until all are ready; what each announced, by name.

        Raises:
            ChildFailed: if one ends before it is ready. The others run on until ``stop``.
        """
        first, *others = self._stages
        announced = await self._start(first)
        rest = [child for stage in others for child in stage]
        return announced | await self._start(rest)

    async def stop(self) -> None:
        """Stop everything, the last stage first."""
        for stage in reversed(self._stages):
            await asyncio.gather(*(child.stop() for child in stage))

    def kill(self) -> None:
        """End everything at once; ``stop`` then returns quickly."""
        for child in self._all():
            child.kill()

    async def _start(self, children: Sequence[Child]) -> dict[str, Ready]:
        for child in children:
            child.start()
        announced = await asyncio.gather(*(child.first_ready for child in children))
        for child, ready in zip(children, announced, strict=True):
            if child.spec.pinned and ready.url:
                self._environment[child.spec.pinned] = urlsplit(ready.url).netloc
        return {child.spec.name: ready for child, ready in zip(children, announced, strict=True)}

    def _all(self) -> list[Child]:
        return [child for stage in self._stages for child in stage]
