"""The start of an engine that has a model file: read, load, measure, describe."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from nodes.engine import Loading
from nodes.engines.host import available_bytes, mapped_bytes, resident_bytes
from nodes.engines.llama.memory_need import refuse_what_does_not_fit
from nodes.engines.probe import measure
from nodes.models.file import find_model
from streams.devices.replica import Replica

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nodes.engine import Engine, EngineName, EngineSpec, OnLoading
    from nodes.models.file import ModelFile
    from streams.devices.replica import Ability

_READ_BYTES: Final = 4 << 20
_READ_UNTIL: Final = 0.5
_LOADED: Final = 0.8


async def start_with_model(
    engine: Engine, name: EngineName, spec: EngineSpec, slots: int, load: Callable[[ModelFile, int], None],
    on_loading: OnLoading, *, on_gpu: bool, abilities: tuple[Ability, ...] = (),
) -> Replica:  # fmt: skip
    """Bring ``engine`` up by ``load(model, context_tokens)``, which is called in a thread.

    The file is read once before, into the page cache: that is the slow part with a big model, and the only one whose
    progress can be told, because the bindings load in one call. ``memory_bytes`` of the replica is what this process
    grew by from before loading to after measuring, mapped pages of the model included, and at least the size of the
    file. With ``on_gpu`` the model lies in a GPU's memory, of which only the binding knows how much there is: then
    nobody looks beforehand whether the model fits.

    Raises:
        EngineError: whatever is wrong with the model or the engine; nothing stays loaded.
    """
    model = await asyncio.to_thread(find_model, spec.model, spec.model_id)
    context_tokens = min(spec.context_tokens, model.header.context_tokens or spec.context_tokens)
    if not on_gpu:
        refuse_what_does_not_fit(model, context_tokens=context_tokens, slots=slots, available_bytes=left_bytes())
    loop = asyncio.get_running_loop()

    def report(read: float) -> None:
        loop.call_soon_threadsafe(on_loading, Loading(stage="reading", fraction=read * _READ_UNTIL))

    await asyncio.to_thread(_read_ahead, model.path, report)
    on_loading(Loading(stage="loading", fraction=_READ_UNTIL))
    before = resident_bytes()
    try:
        await asyncio.to_thread(partial(load, model, context_tokens))
        on_loading(Loading(stage="measuring", fraction=_LOADED))
        speed = await measure(engine)
    except BaseException:
        await engine.stop()
        raise
    on_loading(Loading(stage="ready", fraction=1.0))
    return Replica(
        model=model.model_id,
        engine=name,
        context_tokens=context_tokens,
        slots=slots,
        quantisation=model.header.quantisation,
        parameters=model.header.parameters,
        file_bytes=model.header.file_bytes,
        memory_bytes=max(resident_bytes() - before, model.header.file_bytes),
        tokens_per_s=speed.tokens_per_s,
        prompt_tokens_per_s=speed.prompt_tokens_per_s,
        abilities=abilities,
    )


def left_bytes() -> int | None:
    """Return the memory that is left beside the models that this process holds already, mapped ones included."""
    available = available_bytes()
    return None if available is None else max(0, available - mapped_bytes())


def _read_ahead(path: Path, report: Callable[[float], None]) -> None:
    """Read the file into the page cache, unless it would not fit there; report the part that was read."""
    report(0.0)
    total = path.stat().st_size
    available = available_bytes()
    if available is None or total > available:
        return
    done = 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_READ_BYTES):
            done += len(chunk)
            report(done / total)
