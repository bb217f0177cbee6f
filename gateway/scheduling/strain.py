"""What it costs a device to work now, by what it says of itself: battery, heat, a link that is paid for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from streams.messages import NodeStatus

_ON_BATTERY: Final = 0.5
_LOW_BATTERY: Final = 4.0
"""Below a fifth of its charge a device on battery is as if it took five times as long."""
_LOW_PERCENT: Final = 20
_METERED: Final = 0.25
_HOT_FROM_C: Final = 75.0
_TOO_HOT_C: Final = 95.0
_HOT: Final = 3.0


def strain_of(status: NodeStatus) -> float:
    """By how many times its own length an answer should count for longer there; 0: nothing speaks against it."""
    strain = 0.0
    hints = status.hints
    if hints is None:
        return strain
    if hints.on_battery:
        is_low = hints.battery_percent is not None and hints.battery_percent < _LOW_PERCENT
        strain += _LOW_BATTERY if is_low else _ON_BATTERY
    if hints.metered:
        strain += _METERED
    if hints.temperature_c is not None and hints.temperature_c > _HOT_FROM_C:
        strain += _HOT * min((hints.temperature_c - _HOT_FROM_C) / (_TOO_HOT_C - _HOT_FROM_C), 1.0)
    return strain
