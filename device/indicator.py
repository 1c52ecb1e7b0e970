"""The indicator: a LED that lights up, or blinks, for a while after a detection.

Backends: `gpio` (gpiozero and the pins of the Raspberry Pi), `mock` (gpiozero
and its mock pins) and `none`. The on-time is kept by `tick`, which the loop
calls between its other work, so nothing blocks; only blinking needs a thread.
"""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.actions import Action, Say
from device.errors import IndicatorError
from device.settings import IndicatorSettings, read_settings

if TYPE_CHECKING:
    from device.spotter import Hit

RETRY_S = 30.0
"""A pin that is busy or missing is tried again so often."""


class Indicator(Action):
    """A LED with an on-time. Times are seconds of any one clock.

    Without LED hardware, without the right to use it, or without gpiozero, it
    says so once, carries on and tries again later.
    """

    def __init__(
        self,
        settings: IndicatorSettings,
        say: Say,
        open_led: Callable[[IndicatorSettings], Any] | None = None,
    ) -> None:
        """`say`: the log; `open_led`: opens a gpiozero LED, dark, in place of the backend's."""
        self._settings = settings
        self._say = say
        self._open_led = open_led or open_led_of
        self._led: Any = None
        self._try_at = float("-inf") if settings.backend != "none" else float("inf")
        self._complaint = ""
        self._until = 0.0
        self.lit = False

    def detected(self, hit: Hit, now: float) -> None:
        """Lights the LED or lets it blink for the on-time; a further call prolongs it."""
        self._until = now + self._settings.on_s
        if not self.lit:
            self._switch(True, now)

    def tick(self, now: float) -> None:
        """Takes the pin when that is due, and puts the LED out when its time is over."""
        if self._led is None and now >= self._try_at:
            self._take(now)
        if self.lit and now >= self._until:
            self._switch(False, now)

    def close(self) -> None:
        """Puts the LED out and releases the pin."""
        self._switch(False, float("-inf"))
        if self._led is not None:
            self._led.close()
            self._led = None

    def _take(self, now: float) -> None:
        try:
            self._led = self._open_led(self._settings)
        except Exception as error:  # gpiozero's backends each raise errors of their own
            self._lose(f"no LED on BCM {self._settings.pin} ({_reason(error)})", now)
            return
        if self._complaint:
            self._say(f"the LED on BCM {self._settings.pin} works now")
            self._complaint = ""
        if self.lit:
            self._switch(True, now)

    def _switch(self, on: bool, now: float) -> None:
        self.lit = on
        if self._led is None:
            return
        try:
            if on and self._settings.blink_s:
                # In a thread of gpiozero's, which switching it off ends.
                self._led.blink(self._settings.blink_s, self._settings.blink_s)
            else:
                self._led.value = on
        except Exception as error:  # a pin that fails must not stop the listening
            with contextlib.suppress(Exception):
                self._led.close()
            self._led = None
            self._lose(f"the LED cannot be switched ({_reason(error)})", now)

    def _lose(self, complaint: str, now: float) -> None:
        """Says the same only once."""
        self._try_at = now + RETRY_S
        if complaint != self._complaint:
            self._complaint = complaint
            self._say(f"{complaint}; carrying on without it and trying again")


def open_led_of(settings: IndicatorSettings) -> Any:
    """gpiozero's LED of the settings, dark. Raises whatever gpiozero and its backends raise."""
    gpiozero = importlib.import_module("gpiozero")
    if settings.backend == "mock":
        factory = importlib.import_module("gpiozero.pins.mock").MockFactory()
        return gpiozero.LED(settings.pin, active_high=settings.active_high, pin_factory=factory)
    with warnings.catch_warnings():
        # It warns of every kind of pin access that it tries in vain.
        warnings.simplefilter("ignore")
        return gpiozero.LED(settings.pin, active_high=settings.active_high)


def put_out(config: Path | None) -> None:
    """Puts the LED of the settings out, which a daemon that was killed has left lit.

    Raises SettingsError, and IndicatorError when there is no such LED.
    """
    settings = read_settings(config).indicator
    if settings.backend == "none":
        return
    try:
        open_led_of(settings).close()
    except Exception as error:  # gpiozero's backends each raise errors of their own
        raise IndicatorError(
            f"the LED on BCM {settings.pin} cannot be put out ({_reason(error)}); "
            "is kws-pi running?"
        ) from error


def _reason(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
