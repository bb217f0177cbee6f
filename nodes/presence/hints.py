"""What speaks against giving this device work now: its battery, its heat, a link that its owner pays for.

Read from ``/sys`` where there is one (Linux: ``power_supply``, ``thermal``); what cannot be read is not known.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from streams.devices.hints import DeviceHints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SYS: Final = Path("/sys/class")
_READ_AGAIN_S: Final = 10.0
"""Batteries and heat change slowly, and some sensors take milliseconds to answer."""

_MILLI: Final = 1000
_COLDEST_C, _HOTTEST_C = -50.0, 200.0
"""What a sensor says beyond that is no temperature."""


class HintReader:
    """Asked with each report; reads at most every ten seconds."""

    def __init__(
        self, *, metered: bool = False, sys: Path = _SYS, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        """Prepare; that the link is ``metered`` only the owner knows."""
        self._metered = metered
        self._sys = sys
        self._clock_s = clock_s
        self._read_at_s = float("-inf")
        self._hints: DeviceHints | None = None

    def __call__(self) -> DeviceHints | None:
        """Return what there is to say, or None."""
        now_s = self._clock_s()
        if now_s - self._read_at_s >= _READ_AGAIN_S:
            self._read_at_s = now_s
            self._hints = self._read()
        return self._hints

    def _read(self) -> DeviceHints | None:
        percent = tuple(_discharging(self._sys / "power_supply"))
        known = [each for each in percent if each is not None]
        hints = DeviceHints(
            on_battery=bool(percent),
            battery_percent=min(known, default=None),
            metered=self._metered,
            temperature_c=max(_temperatures(self._sys / "thermal"), default=None),
        )
        return None if hints == DeviceHints() else hints


def _discharging(folder: Path) -> Iterator[int | None]:
    """The charge of each battery of the device that is being emptied, in percent; None: it does not say."""
    for supply in _entries(folder):
        # A mouse has a battery too, of scope Device.
        if _text(supply / "type") != "Battery" or _text(supply / "scope") == "Device":
            continue
        if _text(supply / "status") == "Discharging":
            percent = _number(supply / "capacity")
            yield None if percent is None or not 0 <= percent <= 100 else percent


def _temperatures(folder: Path) -> Iterator[float]:
    for zone in _entries(folder):
        millidegrees = _number(zone / "temp") if zone.name.startswith("thermal_zone") else None
        if millidegrees is not None and _COLDEST_C < millidegrees / _MILLI < _HOTTEST_C:
            yield round(millidegrees / _MILLI, 1)


def _entries(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(folder.iterdir())
    return []


def _text(file: Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return file.read_text().strip()
    return ""


def _number(file: Path) -> int | None:
    text = _text(file)
    return int(text) if text.removeprefix("-").isdecimal() else None
