"""The thresholds of a cross-fitting, each chosen on what the other folds held out.

What validates a fold is half an hour of speech, and the lowest threshold that
passes on so little fires more often on anything else. The other folds have
hours that their own models never met.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from train_host.calibrate import OF_FOLDS_PER_HOUR, THRESHOLDS
from train_host.evaluation_figures import Run, working
from train_host.listening import at_threshold
from train_host.tape_conditions import NEGATIVES, QUIET


def crossed(runs: Sequence[Run]) -> list[Run]:
    """Each run at the lowest threshold that the other folds' models need, together.

    That is `OF_FOLDS_PER_HOUR` false accepts an hour in running speech, and none in
    noise, music and silence. A fold without others keeps the threshold of its model.
    """
    if len(runs) == 1:
        return list(runs)
    found = []
    for index, run in enumerate(runs):
        threshold = _needed([*runs[:index], *runs[index + 1 :]])
        detection = at_threshold(run.detection, threshold)
        found.append(dataclasses.replace(run, detection=detection))
    return found


def _needed(runs: Sequence[Run]) -> float:
    negatives = [
        dataclasses.replace(
            run, heard=tuple(heard for heard in run.heard if heard.tape in (NEGATIVES, QUIET))
        )
        for run in runs
    ]
    for threshold in map(float, THRESHOLDS):
        found = working(negatives, threshold)
        allowed = OF_FOLDS_PER_HOUR * found.negatives.hours
        if found.negatives.count <= allowed and not found.quiet.count:
            return threshold
    return float(THRESHOLDS[-1])
