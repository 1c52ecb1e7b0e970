"""Traces on disk: heard once, the same again, and another's never taken for one's own."""

from pathlib import Path

import numpy as np
from device_kit import LOUD, bursts
from stand_in import StandIn

from train_host.kept_traces import KeptPeer
from train_host.listening import SpotterListener, detections


def test_what_was_heard_is_not_heard_again(tmp_path: Path) -> None:
    samples = bursts(4, at=(1.0, 2.5)).astype(np.float32) / 32768
    peer = StandIn()
    first = KeptPeer(peer, "loud", tmp_path).probabilities(samples)
    assert peer.heard == len(samples)
    again = KeptPeer(peer, "loud", tmp_path).probabilities(samples)
    np.testing.assert_array_equal(again, first)
    assert peer.heard == len(samples)
    # The stand-in runs the device's engine, the evaluation the ONNX file.
    np.testing.assert_allclose(SpotterListener(LOUD).probabilities(samples), first, atol=1e-4)
    assert len(detections(first, peer.detection, peer.step_s)) == 2


def test_other_samples_and_other_models_are_heard(tmp_path: Path) -> None:
    samples = bursts(2, at=(1.0,)).astype(np.float32) / 32768
    peer = StandIn()
    KeptPeer(peer, "loud", tmp_path).probabilities(samples)
    KeptPeer(peer, "loud", tmp_path).probabilities(samples[:-1280])
    assert peer.heard == 2 * len(samples) - 1280
    peer.files = (LOUD,)
    KeptPeer(peer, "loud", tmp_path).probabilities(samples)
    assert peer.heard == 3 * len(samples) - 1280
