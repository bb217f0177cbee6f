"""``cloud.yaml``: which models a node offers, and which providers have them at what price. It holds no key."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from nodes.engine import DEFAULT_MODEL, EngineSpec
from nodes.errors import EngineUnavailable
from streams.devices.replica import Price

_MICRO: Final = 1_000_000

_Cost = Annotated[float, Meta(ge=0, le=1_000_000)]
Kind = Literal["chat", "embedding"]

_Name = Annotated[str, Meta(min_length=1, max_length=64)]


class PriceEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a million tokens cost, in units of the currency."""

    prompt: _Cost
    completion: _Cost
    cached_prompt: _Cost | None = None
    currency: Annotated[str, Meta(min_length=3, max_length=8)] = "USD"

    @property
    def price(self) -> Price:
        """The same in millionths."""
        cached = None if self.cached_prompt is None else round(self.cached_prompt * _MICRO)
        return Price(
            currency=self.currency,
            prompt_micro=round(self.prompt * _MICRO),
            completion_micro=round(self.completion * _MICRO),
            cached_prompt_micro=cached,
        )


class ProviderEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One provider that has a model."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    """In LiteLLM's words: ``anthropic/claude-sonnet-4-5``, ``openai/gpt-5-mini``."""
    url: str | None = None
    """None: the provider's own."""
    key_file: Path | None = None
    key_variable: str | None = None
    region: _Name | None = None
    price: PriceEntry | None = None
    """None: what LiteLLM's list says; a model that it does not know has no price."""


class ModelEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model of the node, and who is asked for it, in this order."""

    id: Annotated[str, Meta(min_length=1, max_length=256)]
    kind: Kind = "chat"
    """What it is for: the node's engine litellm serves the first kind, its embedding engine litellm the second."""
    providers: Annotated[tuple[ProviderEntry, ...], Meta(min_length=1, max_length=16)]
    context_tokens: Annotated[int, Meta(ge=1)] | None = None
    """None: the least that LiteLLM's list says of these providers."""
    slots: Annotated[int, Meta(ge=1, le=4096)] = 8
    probe: bool = True
    """Whether each provider is asked two short questions at the start: for its speed, and whether it goes on from a
    text. They cost up to 24 tokens each time."""

    @property
    def region(self) -> str | None:
        """Where data goes; None where that depends on which provider is asked: no rule may count on it then."""
        regions = {provider.region for provider in self.providers}
        return regions.pop() if len(regions) == 1 else None


class CloudFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    models: Annotated[tuple[ModelEntry, ...], Meta(min_length=1, max_length=64)]

    def model(self, name: str, kind: Kind = "chat") -> ModelEntry:
        """Find a model.

        Raises:
            EngineUnavailable: the file has none of this name and kind.
        """
        found = next((model for model in self.of_kind(kind) if model.id == name), None)
        if found is None:
            raise EngineUnavailable(f"the cloud file has no {kind} model {name!r}: it has {self._ids(kind)}")
        return found

    def of_kind(self, kind: Kind) -> tuple[ModelEntry, ...]:
        """List its models of one kind."""
        return tuple(model for model in self.models if model.kind == kind)

    def _ids(self, kind: Kind) -> str:
        return ", ".join(model.id for model in self.of_kind(kind)) or "none"


def read_cloud_file(path: Path | None) -> CloudFile:
    """Read and check it.

    Raises:
        EngineUnavailable: there is none, it cannot be used, or what reads it is not installed.
    """
    if path is None:
        raise EngineUnavailable("the engine litellm wants to know its models: give the file by --cloud-config")
    try:
        content = path.expanduser().read_bytes()
        file = msgspec.yaml.decode(content, type=CloudFile, dec_hook=_as_path)
    except OSError as error:
        raise EngineUnavailable(f"cannot read the cloud file {path}: {error.strerror}") from error
    except ImportError as error:
        raise EngineUnavailable(f"{error}: `make extras EXTRAS=cloud` installs what is missing") from error
    except (msgspec.DecodeError, ValueError) as error:
        # From None: the library's own message may quote lines of the file, where somebody may have put a key.
        raise EngineUnavailable(f"the cloud file {path} cannot be used: {_told(error)}") from None
    twice = [name for name, count in Counter(model.id for model in file.models).items() if count > 1]
    if twice:
        raise EngineUnavailable(f"the cloud file {path} has the model {twice[0]!r} twice: list its providers together")
    return file


def cloud_specs(spec: EngineSpec) -> tuple[EngineSpec, ...]:
    """One for each model of the file; the one that was named, where one was.

    Raises:
        EngineUnavailable: the file cannot be used.
    """
    if spec.model != DEFAULT_MODEL:
        return (spec,)
    file = read_cloud_file(spec.cloud_config)
    if not file.of_kind("chat"):
        raise EngineUnavailable(f"the cloud file {spec.cloud_config} has no model that writes answers")
    return tuple(msgspec.structs.replace(spec, model=model.id) for model in file.of_kind("chat"))


def highest_price(prices: tuple[Price | None, ...]) -> Price | None:
    """What is announced: nobody pays more, whichever provider answers. None where one has no price.

    Raises:
        EngineUnavailable: they are in several currencies.
    """
    known = [price for price in prices if price is not None]
    if len(known) < len(prices) or not known:
        return None
    if len({price.currency for price in known}) > 1:
        raise EngineUnavailable("the providers of one model must ask for one currency")
    cached = [p.cached_prompt_micro if p.cached_prompt_micro is not None else p.prompt_micro for p in known]
    prompt = max(price.prompt_micro for price in known)
    return Price(
        currency=known[0].currency,
        prompt_micro=prompt,
        completion_micro=max(price.completion_micro for price in known),
        cached_prompt_micro=max(cached) if max(cached) != prompt else None,
    )


def _told(error: Exception) -> str:
    text = str(error)
    if isinstance(error, msgspec.ValidationError):
        return f"{text}; keys are named by key_file or key_variable" if "unknown field" in text else text
    return "it is no YAML"


def _as_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"expected {kind.__name__}")
