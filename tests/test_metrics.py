"""Figures of quality against their definitions."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from train_host.metrics import area_under_errors, bootstrap, miss_at, one_minus_auc


def test_one_minus_auc_counts_wrong_pairs():
    positives, negatives = np.array([0.9, 0.4]), np.array([0.5, 0.1, 0.2])
    wrong = sum(n > p for p in positives for n in negatives)
    assert one_minus_auc(positives, negatives) == pytest.approx(wrong / 6)


def test_area_under_errors_is_the_origins():
    """The area under (false rejects, false accepts), both over all samples, by the trapezoid."""
    rng = np.random.default_rng(0)
    positives, negatives = rng.normal(1, 1, 50), rng.normal(-1, 1, 400)
    thresholds = np.r_[-np.inf, np.sort(np.r_[positives, negatives]), np.inf]
    accepts = np.array([(negatives >= t).sum() for t in thresholds]) / 450
    rejects = np.array([(positives < t).sum() for t in thresholds]) / 450
    area = np.trapezoid(accepts, rejects)
    gap = one_minus_auc(positives, negatives)
    assert area_under_errors(gap, 50 / 450) == pytest.approx(area)


def test_miss_at():
    negatives = np.linspace(0, 0.99, 100)
    positives = np.array([0.5, 0.985, 0.995, 2])
    assert miss_at(positives, negatives, 0.0) == pytest.approx(0.5)
    assert miss_at(positives, negatives, 0.01) == pytest.approx(0.25)
    assert miss_at(positives, negatives, 0.6) == pytest.approx(0.0)


def test_bootstrap_draws_whole_speakers():
    """Two speakers, one of them always wrong: only three resamples differ."""
    scores = np.array([0.9, 0.1, 0.2, 0.8])
    is_keyword = np.array([True, False, True, False])
    speakers = ["good", "good", "bad", "bad"]
    # Good twice: 0. Bad twice: 1. Both: of four pairs only bad's own is wrong.
    assert bootstrap(scores, is_keyword, speakers) == (0.0, 1.0)
    gaps = {bootstrap(scores, is_keyword, speakers, resamples=1, seed=s)[0] for s in range(40)}
    assert gaps == {0.0, 0.25, 1.0}


def test_bootstrap_of_clips_agrees_with_the_figure():
    rng = np.random.default_rng(1)
    is_keyword = np.arange(600) < 60
    scores = np.round(rng.normal(is_keyword * 1.5, 1), 1)  # rounded, so that there are ties
    speakers = [str(i) for i in range(600)]
    low, high = bootstrap(scores, is_keyword, speakers)
    gap = one_minus_auc(scores[is_keyword], scores[~is_keyword])
    # DeLong's standard error of an AUC, which resamples nothing.
    pairs = np.subtract.outer(scores[is_keyword], scores[~is_keyword])
    wins = (pairs > 0) + 0.5 * (pairs == 0)
    error = np.sqrt(wins.mean(1).var(ddof=1) / 60 + wins.mean(0).var(ddof=1) / 540)
    assert low < gap < high
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert bootstrap(scores, is_keyword, speakers) == (low, high)  # the seed is fixed


def test_bootstrap_draws_again_without_a_keyword():
    """One keyword among twenty speakers: a third of the resamples miss it."""
    scores = np.linspace(0, 1, 20)
    is_keyword = np.arange(20) == 19
    low, high = bootstrap(scores, is_keyword, [str(i) for i in range(20)], resamples=200)
    assert (low, high) == (0.0, 0.0)
    with pytest.raises(ValueError, match="both"):
        bootstrap(scores, is_keyword & False, ["a"] * 20)
