"""Figures of quality, from scores of positives and negatives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score, roc_curve

Scores = npt.NDArray[np.floating]

V01_POSITIVES = 0.0268
"""Share of "sheila" in Speech Commands v0.01, to which AU is scaled."""
RESAMPLES = 2000
"""Bootstrap resamples behind an interval."""


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


def bootstrap(
    scores: Scores,
    is_keyword: npt.NDArray[np.bool_],
    speakers: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """The 95 % interval of 1 - AUC for other speakers, by the percentile bootstrap.

    `scores`, `is_keyword` and `speakers` are of the same clips. Whole speakers
    are drawn with replacement, each with all of their clips, because clips of
    one voice are alike (Efron and Tibshirani, "An Introduction to the
    Bootstrap", 1993, chapters 8 and 13). A resample without a keyword or
    without another word is drawn again. Where no other word outscores a
    keyword every resample gives 0, and the interval says nothing about clips
    that were not seen.

    Raises ValueError when the clips are all keywords or all other words.
    """
    if is_keyword.all() or not is_keyword.any():
        raise ValueError("an interval of 1 - AUC needs both keywords and other words")
    names, who = np.unique(np.asarray(speakers), return_inverse=True)
    values, rank = np.unique(scores, return_inverse=True)
    rng = np.random.default_rng(seed)
    gaps: list[float] = []
    while len(gaps) < resamples:
        times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)))[who]
        positives = np.bincount(rank, times * is_keyword, len(values))
        negatives = np.bincount(rank, times * ~is_keyword, len(values))
        pairs = positives.sum() * negatives.sum()
        if pairs:
            # Negatives above each score, and half of those that tie with it.
            above = negatives[::-1].cumsum()[::-1] - negatives / 2
            gaps.append(float(positives @ above / pairs))
    low, high = np.quantile(gaps, [0.025, 0.975])
    return float(low), float(high)
