"""Samples that are lost without a word."""

import numpy as np

from device.losses import LossClock

RATE = 16000


def test_loss_clock_bears_drift_and_jitter_and_sees_loss() -> None:
    clock, now = LossClock(RATE, 0.25), 100.0
    rng = np.random.default_rng(0)
    for _ in range(60 * 50):
        now += 0.02 * 1.0003  # the device is slower than the clock by 0.03 %
        clock.took(320)
        assert not clock.lost(now + rng.uniform(0, 0.1))
    now += 0.5
    assert clock.lost(now)
    assert not clock.lost(now + 0.02)
