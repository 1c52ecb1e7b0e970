"""The indicator: a LED that lights up for a while after a detection.

Backends: `gpio` (gpiozero and the pins of the Raspberry Pi), `mock` (gpiozero
and its mock pins) and `none`. The on-time is kept by `tick`, which the loop
calls between its other work; nothing blocks and no thread is needed.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any


class Indicator:
    """A LED with an on-time. Times are seconds of any one clock."""

    def __init__(self, led: Any, on_s: float, say: Callable[[str], None]) -> None:
        """`led`: a gpiozero LED, or None for the backend `none`; `say`: the log."""
        self._led = led
        self._on_s = on_s
        self._say = say
        self._until = 0.0
        self.lit = False

    def light(self, now: float) -> None:
        """Lights the LED until the on-time has passed; a further call prolongs it."""
        self._until = now + self._on_s
        if not self.lit:
            self._switch(True)

    def tick(self, now: float) -> None:
        """Puts the LED out when its time is over."""
        if self.lit and now >= self._until:
            self._switch(False)

    def close(self) -> None:
        """Puts the LED out and releases the pin."""
        self._switch(False)
        if self._led is not None:
            self._led.close()
            self._led = None

    def _switch(self, on: bool) -> None:
        self.lit = on
        if self._led is None:
            return
        try:
            self._led.value = on
        except Exception as error:  # a pin that fails must not stop the listening
            self._say(f"the LED cannot be switched ({_reason(error)}); carrying on without it")
            self._led = None


def open_indicator(backend: str, pin: int, on_s: float, say: Callable[[str], None]) -> Indicator:
    """Opens the LED of a backend: `gpio`, `mock` or `none`.

    Without LED hardware, without the right to use it, or without gpiozero,
    says so once and carries on with `none`.
    """
    if backend == "none":
        return Indicator(None, on_s, say)
    try:
        gpiozero = importlib.import_module("gpiozero")
        if backend == "mock":
            factory = importlib.import_module("gpiozero.pins.mock").MockFactory()
            led = gpiozero.LED(pin, pin_factory=factory)
        else:
            with warnings.catch_warnings():
                # It warns of every kind of pin access that it tries in vain.
                warnings.simplefilter("ignore")
                led = gpiozero.LED(pin)
    except Exception as error:  # gpiozero's backends each raise errors of their own
        say(f"no LED on BCM {pin} ({_reason(error)}); carrying on without it")
        return Indicator(None, on_s, say)
    return Indicator(led, on_s, say)


def _reason(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
