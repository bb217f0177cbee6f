"""Settings of a node's part in shard groups."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from mesh.config.address import Address, parse_address

_WILDCARDS = frozenset({"0.0.0.0", "::", "*"})  # noqa: S104 - refused below, never bound to


class ShardSettings(Struct, frozen=True, kw_only=True):
    """What a node gives to shard groups, and what it serves by one; nothing unless asked for."""

    shard_listen: Annotated[
        str,
        Meta(
            description="Lend memory to shard groups; the one leader that a group has reaches this node here. None: it"
            " lends nothing.",
            examples=["HOST:PORT"],
        ),
    ] = ""
    shard_memory: Annotated[
        Annotated[int, Meta(ge=0, le=2**50)] | None,
        Meta(
            description="Memory that a shard group may have of this node, also of the one that leads it; none: half of"
            " what is free at the start.",
            extra={"unit": "bytes"},
        ),
    ] = None
    shard_model: Annotated[
        str | None,
        Meta(
            description="Lead a shard group: serve this model over nodes that lend memory.",
            examples=["ID|FILE.gguf"],
        ),
    ] = None
    shard_model_id: Annotated[
        str | None,
        Meta(description="What users call that model; none: made from the file's name.", examples=["ID"]),
    ] = None

    def __post_init__(self) -> None:
        """Check what a type cannot say."""
        if self.listen is not None and self.listen.host in _WILDCARDS:
            raise ValueError("shard_listen must be the address that other nodes dial, not a wildcard")
        if self.shard_model_id is not None and self.shard_model is None:
            raise ValueError("shard_model_id names the model of shard_model: give both")

    @property
    def listen(self) -> Address | None:
        """Where the leader of a group calls; None if this node lends nothing."""
        return parse_address(self.shard_listen) if self.shard_listen else None
