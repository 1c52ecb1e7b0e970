"""Which actions the settings ask for, and that none of them holds up the loop that listens."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from device_kit import loud_spotter, python

from device.actions import Action, actions_of
from device.settings import (
    CaptureSettings,
    CommandSettings,
    IndicatorSettings,
    MqttSettings,
    Settings,
    WyomingSettings,
)

QUIET = Settings(indicator=IndicatorSettings("none"))
EVERYTHING = replace(
    QUIET,
    command=CommandSettings(("/bin/true",)),
    mqtt=MqttSettings("127.0.0.1"),
    wyoming=WyomingSettings("tcp://127.0.0.1:10400"),
    capture=CaptureSettings(True),
)


def made(settings: Settings, said: list[str]) -> list[str]:
    """The names of the actions; none is begun."""
    actions = actions_of(settings, loud_spotter(), loud_spotter, said.append)
    for action in actions:
        action.close()
        assert isinstance(action, Action)
    return [type(action).__name__ for action in actions]


def test_all_but_the_led_are_off_by_default() -> None:
    said: list[str] = []
    assert made(Settings(), said) == ["Indicator"]
    assert said == []


def test_each_is_made_when_it_is_asked_for() -> None:
    pytest.importorskip("paho.mqtt.client")
    pytest.importorskip("wyoming")
    said: list[str] = []
    assert made(EVERYTHING, said) == ["Indicator", "Command", "Capture", "Mqtt", "WakeService"]
    assert said == []


def test_what_is_off_is_not_imported() -> None:
    done = python(
        "import sys\n"
        "from device.actions import actions_of\n"
        "from device.settings import Settings\n"
        "actions_of(Settings(), None, None, print)\n"
        "optional = 'paho', 'wyoming', 'asyncio', 'subprocess', 'wave', 'ssl'\n"
        "print([name for name in optional if name in sys.modules])\n",
        {},
    )
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize(
    ("module", "package", "key"),
    [("paho", "python3-paho-mqtt", "mqtt.host"), ("wyoming", "python3-wyoming", "wyoming.uri")],
)
def test_a_missing_package_is_named_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, module: str, package: str, key: str
) -> None:
    for name in list(sys.modules):
        if name.split(".")[0] == module or name in ("device.mqtt", "device.wake_service"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    said: list[str] = []
    names = made(EVERYTHING, said)
    assert names[:3] == ["Indicator", "Command", "Capture"]
    mine = [text for text in said if package in text]
    assert len(mine) == 1
    assert mine[0].startswith(f"{key} is set")
    assert "\n" not in mine[0]


def test_an_old_settings_file_still_means_the_same(tmp_path: Path) -> None:
    from device.settings import read_settings

    path = tmp_path / "config.toml"
    path.write_text('model = ""\n[indicator]\nbackend = "none"\npin = 17\non_s = 1.0\n')
    assert read_settings(path) == QUIET
