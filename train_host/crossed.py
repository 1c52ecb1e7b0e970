"""The thresholds of a whole cross-fitting, each chosen on what the other folds held out.

What validates a fold is half an hour of speech, and the lowest threshold that
passes on so little fires more often on anything else. The other two folds
together have hours that their own models never met.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from train_host.calibrate import FALSE_ACCEPTS_PER_HOUR, THRESHOLDS
from train_host.evaluation_figures import Run
from train_host.folds import FOLDS
from train_host.listening import at_threshold, judge_heard
from train_host.tape_conditions import NEGATIVES, QUIET


def crossed(runs: Sequence[Run]) -> list[Run]:
    """Each run at the lowest threshold that the other folds' models need, together.

    That is one false accept an hour in running speech, and none in noise, music
    and silence. Of fewer than all folds each keeps the threshold of its model.
    """
    if len(runs) < FOLDS:
        return list(runs)
    found = []
    for index, run in enumerate(runs):
        threshold = _needed([*runs[:index], *runs[index + 1 :]])
        detection = at_threshold(run.detection, threshold)
        found.append(dataclasses.replace(run, detection=detection))
    return found


def _needed(runs: Sequence[Run]) -> float:
    hours = sum(heard.hours for run in runs for heard in run.heard if heard.tape == NEGATIVES)
    for threshold in map(float, THRESHOLDS):
        fits = _false(runs, NEGATIVES, threshold) <= FALSE_ACCEPTS_PER_HOUR * hours
        if fits and not _false(runs, QUIET, threshold):
            return threshold
    return float(THRESHOLDS[-1])


def _false(runs: Sequence[Run], tape: str, threshold: float) -> int:
    return sum(
        len(judge_heard(heard, at_threshold(run.detection, threshold)).false_s)
        for run in runs
        for heard in run.heard
        if heard.tape == tape
    )
