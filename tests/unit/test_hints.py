"""What a device says of its battery, its heat and its link."""

from pathlib import Path

import pytest

from nodes.presence.hints import HintReader
from streams.devices.hints import DeviceHints


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text + "\n")


def test_a_device_without_sensors_has_nothing_to_say(tmp_path: Path):
    assert HintReader(sys=tmp_path)() is None
    assert HintReader(sys=tmp_path, metered=True)() == DeviceHints(metered=True)


def test_a_battery_that_is_emptied_and_the_hottest_zone_are_told(tmp_path: Path):
    write(tmp_path / "power_supply/BAT0", type="Battery", status="Discharging", capacity="41")
    write(tmp_path / "power_supply/BAT1", type="Battery", status="Discharging", capacity="17")
    write(tmp_path / "thermal/thermal_zone0", temp="41000")
    write(tmp_path / "thermal/thermal_zone1", temp="83500")
    assert HintReader(sys=tmp_path)() == DeviceHints(on_battery=True, battery_percent=17, temperature_c=83.5)


@pytest.mark.parametrize(
    "supply",
    [
        {"type": "Battery", "status": "Charging", "capacity": "5"},
        {"type": "Battery", "status": "Full", "capacity": "100"},
        {"type": "Battery", "status": "Discharging", "capacity": "5", "scope": "Device"},
        {"type": "Mains", "online": "1"},
        {"type": "UPS", "status": "Discharging"},
        {},
    ],
)
def test_what_is_no_battery_that_the_device_runs_on_is_not_told(tmp_path: Path, supply: dict[str, str]):
    write(tmp_path / "power_supply/X", **supply)
    assert HintReader(sys=tmp_path)() is None


def test_nonsense_of_a_sensor_is_left_out(tmp_path: Path):
    write(tmp_path / "power_supply/BAT0", type="Battery", status="Discharging", capacity="many")
    write(tmp_path / "thermal/thermal_zone0", temp="-274000")
    write(tmp_path / "thermal/thermal_zone1", temp="hot")
    write(tmp_path / "thermal/cooling_device0", temp="90000")
    assert HintReader(sys=tmp_path)() == DeviceHints(on_battery=True)


def test_sensors_are_read_at_most_every_ten_seconds(tmp_path: Path):
    now = [0.0]
    reader = HintReader(sys=tmp_path, clock_s=lambda: now[0])
    assert reader() is None
    write(tmp_path / "thermal/thermal_zone0", temp="50000")
    now[0] = 9.9
    assert reader() is None
    now[0] = 10.0
    assert reader() == DeviceHints(temperature_c=50.0)
