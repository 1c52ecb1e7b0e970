"""What follows a detection: the actions, and the list of those that the settings ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from device.settings import Settings
from device.spotter import Hit

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


def actions_of(settings: Settings, say: Say) -> Sequence[Action]:
    """The actions that the settings ask for, none of them begun."""
    from device.indicator import Indicator

    return [Indicator(settings.indicator, say)]
