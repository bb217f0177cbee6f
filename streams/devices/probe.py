"""How the registry finds out whether a node can do what it announces: it asks the model a word."""

from __future__ import annotations

from streams.wire import Wire


class Probe(Wire, frozen=True, kw_only=True, tag="node.probe.v1"):
    """Generate one token with this model, and say so."""

    model: str


class Probed(Wire, frozen=True, kw_only=True, tag="node.probed.v1"):
    """The answer: the model has generated something, or why not."""

    works: bool
    reason: str = ""
