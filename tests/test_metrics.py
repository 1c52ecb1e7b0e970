"""Figures of quality against their definitions."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from train_host.metrics import area_under_errors, miss_at, one_minus_auc


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
