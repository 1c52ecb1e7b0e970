"""Figures of quality, from scores of positives and negatives."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score, roc_curve

Scores = npt.NDArray[np.floating]

V01_POSITIVES = 0.0268
"""Share of "sheila" in Speech Commands v0.01, to which AU is scaled."""


def one_minus_auc(positives: Scores, negatives: Scores) -> float:
    """1 - area under the ROC: the chance that a negative outscores a positive."""
    labels = np.r_[np.ones(len(positives)), np.zeros(len(negatives))]
    return float(1 - roc_auc_score(labels, np.r_[positives, negatives]))


def area_under_errors(gap: float, share: float) -> float:
    """The origin's AU for a share of positives, from 1 - AUC.

    AU is the area under the false-accept / false-reject curve when both
    counts are divided by ALL samples, so AU = (1 - AUC) p (1 - p).
    """
    return gap * share * (1 - share)


def miss_at(positives: Scores, negatives: Scores, false_accepts: float) -> float:
    """Share of positives missed where at most `false_accepts` of the negatives pass."""
    labels = np.r_[np.ones(len(positives)), np.zeros(len(negatives))]
    false, true, _ = roc_curve(labels, np.r_[positives, negatives], drop_intermediate=False)
    return float(1 - true[false <= false_accepts].max())
