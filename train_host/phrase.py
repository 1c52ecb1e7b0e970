"""How long a keyword takes, and what follows from it.

A word of up to a second keeps the numbers that the shipped models have: an
attention window of twelve steps, and a second for the networks that judge
clips. A phrase gets more of both, as its clips are measured.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from device.errors import KeywordError
from device.manifest import FrontEnd
from train_host.network import Shape

WINDOW = 12
"""Attention window of a word, in steps of 80 ms."""
CLIP_FRAMES = 100
"""Frames of the second in which the origin's networks judge a word."""
USUAL_PERCENT = 75
"""Of its clips, so many are no longer than the keyword's usual length."""
MARGIN = 1.1
"""The window is so much longer than that."""
LONGEST_S = 2.2
"""Beyond the usual length of what can be called two seconds, scenes hold no room for a keyword."""


def phrase_steps(
    keyword: str, lengths: npt.NDArray[np.int_], front_end: FrontEnd, frames_per_step: int
) -> int:
    """The attention window that a keyword needs, from the lengths of its clips in frames.

    Raises KeywordError when it takes more than about two seconds to say.
    """
    usual = float(np.percentile(lengths, USUAL_PERCENT))
    seconds = usual * front_end.hop / front_end.sample_rate
    if seconds > LONGEST_S:
        raise KeywordError(
            f"{keyword!r} takes {seconds:.1f} s to say; choose a phrase of two seconds at most"
        )
    if usual <= CLIP_FRAMES:
        return WINDOW
    return int(np.ceil(MARGIN * usual / frames_per_step))


def clip_frames(window: int, frames_per_step: int) -> int:
    """Frames of a clip that is judged at once, by a network of such an attention window."""
    return max(CLIP_FRAMES, window * frames_per_step)


def fitted(shape: Shape, window: int) -> Shape:
    """The shape with an attention window long enough for a phrase; a word changes nothing."""
    if window <= WINDOW:
        return shape
    return dataclasses.replace(shape, window=max(shape.window, window))


def around(
    log_mel: npt.NDArray[np.floating], span: npt.NDArray[np.int_], frames: int
) -> npt.NDArray[np.floating]:
    """(all frames, bands) -> (frames, bands), with the middle of the span in its middle.

    As near to it as the recording allows; all of a recording that is shorter.
    """
    middle = int(span.sum()) // 2
    start = max(0, min(middle - frames // 2, len(log_mel) - frames))
    return log_mel[start : start + frames]
