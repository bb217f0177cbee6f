"""What a device reports of itself besides its load."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class DeviceHints(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a device says of itself that speaks against giving it work now, as far as it can tell."""

    on_battery: bool = False
    battery_percent: Annotated[int, Meta(ge=0, le=100)] | None = None
    metered: bool = False
    """Whether its owner pays for what goes over its link."""
    temperature_c: Annotated[float, Meta(ge=-100, le=300)] | None = None
    """Of its hottest part."""
