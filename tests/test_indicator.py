"""The LED on gpiozero's mock pins."""

import sys
import warnings

import pytest

from device.indicator import Indicator, open_indicator

gpiozero = pytest.importorskip("gpiozero")


class Pin:
    """An indicator on a mock pin whose level the test reads."""

    def __init__(self, on_s: float) -> None:
        self.said: list[str] = []
        self.indicator = open_indicator("mock", 17, on_s, self.said.append)
        self.led = self.indicator._led
        self.pin = self.led.pin_factory.pin(17)

    @property
    def high(self) -> bool:
        return bool(self.pin.state)


def test_lit_for_the_on_time() -> None:
    pin = Pin(on_s=1.0)
    assert not pin.high
    pin.indicator.light(10.0)
    assert pin.high
    pin.indicator.tick(10.99)
    assert pin.high
    pin.indicator.tick(11.0)
    assert not pin.high
    assert pin.said == []


def test_another_detection_prolongs_it() -> None:
    pin = Pin(on_s=1.0)
    pin.indicator.light(10.0)
    pin.indicator.light(10.5)
    pin.indicator.tick(11.2)
    assert pin.high
    pin.indicator.tick(11.5)
    assert not pin.high


def test_off_and_released_at_the_end() -> None:
    pin = Pin(on_s=100.0)
    pin.indicator.light(0.0)
    pin.indicator.close()
    assert not pin.high
    assert pin.led.closed
    pin.indicator.close()


def test_without_hardware_it_says_so_once_and_carries_on() -> None:
    said: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # BCM 999 exists nowhere, so this fails on a Raspberry Pi, too.
        indicator = open_indicator("gpio", 999, 1.0, said.append)
    indicator.light(0.0)
    indicator.tick(5.0)
    indicator.close()
    assert len(said) == 1
    assert said[0].startswith("no LED on BCM 999")
    assert "\n" not in said[0]


def test_without_gpiozero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpiozero", None)
    said: list[str] = []
    open_indicator("gpio", 17, 1.0, said.append).light(0.0)
    assert len(said) == 1
    assert "carrying on without it" in said[0]


def test_none_says_nothing() -> None:
    said: list[str] = []
    indicator = open_indicator("none", 17, 1.0, said.append)
    indicator.light(0.0)
    assert indicator.lit
    indicator.tick(1.0)
    assert not indicator.lit
    indicator.close()
    assert said == []


def test_pin_that_fails_does_not_stop_the_listening() -> None:
    class Broken:
        @property
        def value(self) -> bool:
            return False

        @value.setter
        def value(self, on: bool) -> None:
            raise OSError("pin is gone")

    said: list[str] = []
    indicator = Indicator(Broken(), 1.0, said.append)
    indicator.light(0.0)
    indicator.tick(2.0)
    indicator.light(3.0)
    assert len(said) == 1
    assert "pin is gone" in said[0]
