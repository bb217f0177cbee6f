"""Names that stand for several models: ``auto`` chooses by how hard the request is, any other prefers them in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.scheduling.wish import Level

AUTO: Final = "auto"
"""Its models stand from the smallest to the largest."""

_TOO_SMALL_S: Final = 60.0
_TOO_LARGE_S: Final = 30.0
"""How many seconds sooner a model must be done, for each step that it is smaller or larger than what fits."""

_NEXT_IN_CHAIN_S: Final = 3600.0
"""A chain falls back where those before cannot have the task now, and for nothing else."""

_LONGEST_NAME: Final = 256
_MOST_MODELS: Final = 16


class Alias(NamedTuple):
    """A name, and the models that may answer for it."""

    name: str
    models: tuple[str, ...]

    def losses_s(self, level: Level, *, begun_with: str | None = None) -> tuple[float, ...]:
        """How much less welcome each model is than the best one, in seconds.

        Args:
            level: how hard the request is.
            begun_with: the model that a part of the answer is written by: it goes on, wherever there is one.
        """
        if begun_with in self.models:
            return tuple(0.0 if model == begun_with else _NEXT_IN_CHAIN_S for model in self.models)
        if self.name != AUTO:
            return tuple(_NEXT_IN_CHAIN_S * place for place in range(len(self.models)))
        last = len(self.models) - 1
        fits = {"simple": 0, "moderate": last // 2, "hard": last}[level]
        return tuple(
            _TOO_SMALL_S * (fits - place) if place < fits else _TOO_LARGE_S * (place - fits)
            for place in range(len(self.models))
        )


def parse_aliases(entries: Iterable[str]) -> dict[str, Alias]:
    """Read settings of the form ``NAME=MODEL,MODEL``.

    Raises:
        ValueError: if an entry is none, names a model twice or another alias, or a name is given twice.
    """
    aliases: dict[str, Alias] = {}
    for entry in entries:
        name, sign, text = entry.partition("=")
        models = tuple(text.split(","))
        if not sign or not all(0 < len(each) <= _LONGEST_NAME for each in (name, *models)):
            raise ValueError(f"{entry!r} is not NAME=MODEL,MODEL")
        if name in aliases or len(set(models)) != len(models) or len(models) > _MOST_MODELS:
            raise ValueError(f"{entry!r}: a name is given once, with up to {_MOST_MODELS} models, each of them once")
        aliases[name] = Alias(name, models)
    for alias in aliases.values():
        if found := [model for model in alias.models if model in aliases]:
            raise ValueError(f"the alias {alias.name!r} stands for {found[0]!r}, which is an alias itself")
    return aliases


def aliases_of(aliases: Mapping[str, Alias]) -> dict[str, tuple[str, ...]]:
    """By model, the aliases that it may answer for."""
    found: dict[str, tuple[str, ...]] = {}
    for alias in aliases.values():
        for model in alias.models:
            found[model] = (*found.get(model, ()), alias.name)
    return found
