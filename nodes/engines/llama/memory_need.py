"""Whether a model fits into memory, before it is loaded: the kernel would kill the node in the middle of an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodes.errors import EngineUnavailable

if TYPE_CHECKING:
    from nodes.models.file import ModelFile


def refuse_what_does_not_fit(model: ModelFile, *, context_tokens: int, slots: int, available_bytes: int | None) -> None:
    """Compare what the model surely takes with what there is: its files, and what attention keeps of every token.

    What it computes in comes on top and is not counted, nor is what models keep otherwise than in plain attention (see
    ``GgufHeader.cache_bytes_per_token``): a model that passes may still be too large by a little, one that is refused
    would not have fitted. Nothing is refused where it is not known what is available.

    Raises:
        EngineUnavailable: it does not fit; the message says what is needed, what there is and what to change.
    """
    cache = (model.header.cache_bytes_per_token or 0) * context_tokens * slots
    needed = model.files_bytes + cache
    if available_bytes is None or needed <= available_bytes:
        return
    smaller = "choose a smaller model"
    if model.files_bytes < available_bytes:
        smaller = "give a smaller --context, fewer --slots or a smaller model"
    parts = f"{_gb(model.files_bytes)} for the model and {_gb(cache)} for {slots} x {context_tokens} tokens of context"
    raise EngineUnavailable(
        f"{model.path} does not fit into memory: it needs {_gb(needed)} ({parts}), and {_gb(available_bytes)} are"
        f" available: {smaller}"
    )


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
