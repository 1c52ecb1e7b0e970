"""The LED on gpiozero's mock pins."""

import sys
import time
import warnings
from itertools import pairwise
from pathlib import Path

import pytest

from device.cli import main
from device.indicator import RETRY_S, Indicator
from device.settings import IndicatorSettings
from device.spotter import Hit

gpiozero = pytest.importorskip("gpiozero")

HIT = Hit("sheila", 1.0, 0.9, 1.0)


class Pin:
    """An indicator on a mock pin whose level the test reads."""

    def __init__(self, on_s: float) -> None:
        self.said: list[str] = []
        self.indicator = Indicator(IndicatorSettings("mock", on_s=on_s), self.said.append)
        self.indicator.tick(0.0)
        self.led = self.indicator._led
        self.pin = self.led.pin_factory.pin(17)

    @property
    def high(self) -> bool:
        return bool(self.pin.state)


def test_lit_for_the_on_time() -> None:
    pin = Pin(on_s=1.0)
    assert not pin.high
    pin.indicator.detected(HIT, 10.0)
    assert pin.high
    pin.indicator.tick(10.99)
    assert pin.high
    pin.indicator.tick(11.0)
    assert not pin.high
    assert pin.said == []


def test_another_detection_prolongs_it() -> None:
    pin = Pin(on_s=1.0)
    pin.indicator.detected(HIT, 10.0)
    pin.indicator.detected(HIT, 10.5)
    pin.indicator.tick(11.2)
    assert pin.high
    pin.indicator.tick(11.5)
    assert not pin.high


def test_off_and_released_at_the_end() -> None:
    pin = Pin(on_s=100.0)
    pin.indicator.detected(HIT, 0.0)
    pin.indicator.close()
    assert not pin.high
    assert pin.led.closed
    pin.indicator.close()


def test_without_hardware_it_says_so_once_and_carries_on() -> None:
    said: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # BCM 999 exists nowhere, so this fails on a Raspberry Pi, too.
        indicator = Indicator(IndicatorSettings("gpio", 999), said.append)
        indicator.tick(0.0)
    indicator.detected(HIT, 0.0)
    indicator.tick(5.0)
    indicator.tick(RETRY_S)
    indicator.close()
    assert len(said) == 1
    assert said[0].startswith("no LED on BCM 999")
    assert "\n" not in said[0]


def test_without_gpiozero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpiozero", None)
    said: list[str] = []
    Indicator(IndicatorSettings("gpio"), said.append).tick(0.0)
    assert len(said) == 1
    assert "carrying on without it" in said[0]


def test_none_says_nothing() -> None:
    said: list[str] = []
    indicator = Indicator(IndicatorSettings("none"), said.append)
    indicator.detected(HIT, 0.0)
    assert indicator.lit
    indicator.tick(1.0)
    assert not indicator.lit
    indicator.close()
    assert said == []


def test_busy_pin_is_taken_when_it_is_free_and_lit_if_it_is_time() -> None:
    from gpiozero.pins.mock import MockFactory

    factory, said = MockFactory(), list[str]()
    other = gpiozero.LED(17, pin_factory=factory)
    indicator = Indicator(
        IndicatorSettings(on_s=1.0),
        said.append,
        lambda settings: gpiozero.LED(settings.pin, pin_factory=factory),
    )
    indicator.tick(0.0)
    indicator.tick(RETRY_S)
    assert len(said) == 1
    assert said[0].startswith("no LED on BCM 17 (GPIOPinInUse: ")
    other.close()
    indicator.tick(2 * RETRY_S - 0.1)
    indicator.detected(HIT, 2 * RETRY_S - 0.1)
    indicator.tick(2 * RETRY_S)
    assert said[1:] == ["the LED on BCM 17 works now"]
    assert factory.pin(17).state
    indicator.tick(2 * RETRY_S + 0.9)
    assert not factory.pin(17).state
    indicator.close()


def test_pin_that_fails_does_not_stop_the_listening() -> None:
    class Broken:
        closed = False

        @property
        def value(self) -> bool:
            return False

        @value.setter
        def value(self, on: bool) -> None:
            raise OSError("pin is gone")

        def close(self) -> None:
            self.closed = True

    broken, said = Broken(), list[str]()
    indicator = Indicator(IndicatorSettings(), said.append, lambda settings: broken)
    indicator.tick(0.0)
    indicator.detected(HIT, 0.0)
    indicator.tick(2.0)
    indicator.detected(HIT, 3.0)
    assert broken.closed
    assert len(said) == 1
    assert "pin is gone" in said[0]


def test_it_blinks_for_the_on_time() -> None:
    said: list[str] = []
    indicator = Indicator(IndicatorSettings("mock", on_s=10.0, blink_s=0.02), said.append)
    indicator.tick(0.0)
    led = indicator._led
    pin = led.pin_factory.pin(17)
    indicator.detected(HIT, 0.0)
    # Every change of the pin's level, by gpiozero's own record.
    deadline = time.monotonic() + 5
    while len(pin.states) < 9 and time.monotonic() < deadline:
        time.sleep(0.01)
    levels = [bool(state.state) for state in pin.states]
    assert len(levels) >= 9
    assert all(before != after for before, after in pairwise(levels))
    indicator.tick(10.0)
    assert not pin.state and not indicator.lit
    changes = len(pin.states)
    time.sleep(0.1)
    assert len(pin.states) == changes
    indicator.close()
    assert said == []


def test_one_that_lights_up_when_the_pin_is_low() -> None:
    said: list[str] = []
    indicator = Indicator(IndicatorSettings("mock", active_high=False), said.append)
    indicator.tick(0.0)
    pin = indicator._led.pin_factory.pin(17)
    assert pin.state
    indicator.detected(HIT, 0.0)
    assert not pin.state
    indicator.tick(1.0)
    assert pin.state
    indicator.close()


def test_a_led_that_was_left_lit_is_put_out_at_the_start() -> None:
    from gpiozero.pins.mock import MockFactory

    factory = MockFactory()
    left = factory.pin(17)
    left.output_with_state(1)
    indicator = Indicator(
        IndicatorSettings(),
        pytest.fail,
        lambda settings: gpiozero.LED(settings.pin, pin_factory=factory),
    )
    indicator.tick(0.0)
    assert not left.state
    indicator.close()


def test_the_command_off_puts_it_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gpiozero.pins.mock import MockFactory

    factory = MockFactory()
    monkeypatch.setattr(gpiozero.Device, "pin_factory", factory)
    config = tmp_path / "config.toml"
    config.write_text("[indicator]\npin = 22\n")
    left = factory.pin(22)
    left.output_with_state(1)
    assert main(["off", "--config", str(config)]) == 0
    assert not left.state
    assert capsys.readouterr().err == ""
    # The daemon that runs holds the pin, and it alone switches the LED.
    with gpiozero.LED(22, initial_value=True):
        assert main(["off", "--config", str(config)]) == 1
        assert left.state
    assert "the LED on BCM 22 cannot be put out (GPIOPinInUse: " in capsys.readouterr().err
    config.write_text("[indicator]\nbackend = 'none'\n")
    left.output_with_state(1)
    assert main(["off", "--config", str(config)]) == 0
    assert left.state
