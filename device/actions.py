"""What follows a detection: the actions, and the list of those that the settings ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from device.settings import Settings

if TYPE_CHECKING:  # `kws-pi off` does without numpy
    import numpy as np
    from numpy.typing import NDArray

    from device.spotter import Hit, Spotter

Say = Callable[[str], None]
"""Writes one warning into the log."""


class Action:
    """Something that follows a detection. A kind of action overrides what it needs.

    The supervisor's one loop calls all of these, so none may wait: what takes
    longer goes to a process or a thread of the action's own. Making an action
    touches nothing outside it; a reload of the settings makes the new ones
    before it closes the old. What an action needs (a pin, a broker) it takes at
    the first `tick`, and tries again at a later one when it cannot have it. An
    error that escapes is logged and does not stop the listening.
    """

    def detected(self, hit: Hit, now: float) -> None:
        """The keyword was said. `now`: monotonic clock, in seconds."""

    def heard(self, samples: NDArray[np.float32], after_gap: bool) -> None:
        """Every block of sound, before its detections.

        `samples`: float32 (any number,), mono, at the model's rate;
        `after_gap`: they do not follow on what was heard before.
        """

    def tick(self, now: float) -> None:
        """Called at least five times a second, in every state of the daemon."""

    def close(self) -> None:
        """The daemon ends, or its settings were read anew. Called once."""


def actions_of(
    settings: Settings, spotter: Spotter, make_spotter: Callable[[], Spotter], say: Say
) -> Sequence[Action]:
    """The actions that the settings ask for, none of them begun.

    `spotter`: the one whose detections they follow; `make_spotter`: makes
    another of its kind, for the sound of others. One whose package is missing
    is left out, and said to be.
    """
    # Each imports what it alone needs.
    from device.indicator import Indicator

    actions: list[Action] = [Indicator(settings.indicator, say)]
    if settings.command.arguments:
        from device.command import Command

        actions.append(Command(settings.command, say))
    if settings.capture.enabled:
        from device.capture import Capture

        actions.append(Capture(settings.capture, spotter.sample_rate, say))
    try:
        if settings.mqtt.host:
            from device.mqtt import Mqtt

            actions.append(Mqtt(settings.mqtt, spotter.keyword, say))
    except ImportError as error:
        say(_missing("mqtt.host", "python3-paho-mqtt", error))
    try:
        if settings.wyoming.uri:
            from device.wake_service import WakeService

            actions.append(WakeService(settings.wyoming, spotter.keyword, make_spotter, say))
    except ImportError as error:
        say(_missing("wyoming.uri", "python3-wyoming", error))
    return actions


def _missing(key: str, package: str, error: ImportError) -> str:
    return (
        f"{key} is set, but its package cannot be imported ({error}); "
        f"`sudo apt install {package}` and restart kws-pi; listening without it"
    )
