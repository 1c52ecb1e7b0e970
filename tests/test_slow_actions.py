"""The loop that listens, in real time, while everything that follows a detection hangs."""

import socket
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device_kit import RATE, bursts, loud_spotter

from device.actions import actions_of
from device.capture import FileRing, Recording
from device.errors import MicrophoneAbsent, MicrophoneError
from device.health import Health
from device.report import Reporter
from device.ring import Block
from device.settings import (
    CaptureSettings,
    CommandSettings,
    IndicatorSettings,
    MqttSettings,
    Settings,
    WyomingSettings,
)
from device.supervisor import Setup, Supervisor

SOUND = bursts(4.0, (1.0, 2.5)).astype(np.float32) / 32768
STEP = RATE * 8 // 100


class PacedMicrophone:
    """Delivers a step each 80 ms, and notes how long the loop was busy with it."""

    name, rate, overruns, late = "paced", RATE, 0, 0

    def __init__(self) -> None:
        self._at = 0
        self._begins = time.monotonic()
        self._given: float | None = None
        self.busy: list[float] = []

    def read(self, timeout: float) -> Block | None:
        now = time.monotonic()
        if self._given is not None:
            self.busy.append(now - self._given)
        if self._at >= len(SOUND):
            raise MicrophoneError("unplugged")
        due = self._begins + (self._at + STEP) / RATE
        time.sleep(max(0.0, due - now))
        samples = SOUND[self._at : self._at + STEP]
        self._at += STEP
        self._given = time.monotonic()
        return Block(samples, self._given, False)

    def close(self) -> bool:
        return True


class Silent:
    """In the place of notifier and journal; keeps the records of detections."""

    def __init__(self) -> None:
        self.latencies: list[float] = []

    def record(self, message: str, *rest: Any, **fields: Any) -> None:
        if "LATENCY_MS" in fields:
            self.latencies.append(float(fields["LATENCY_MS"]))

    def __getattr__(self, name: str) -> Any:
        return lambda *rest: None


def test_nothing_that_follows_a_detection_holds_up_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("paho.mqtt.client")
    pytest.importorskip("wyoming")
    writing, written = threading.Event(), threading.Event()

    def never(self: FileRing, recording: Recording) -> Path:
        writing.set()
        written.wait(30)
        return Path()

    monkeypatch.setattr(FileRing, "add", never)
    started = tmp_path / "started"
    said: list[str] = []
    with socket.socket() as mute:
        # A broker that takes the connection and never says a word.
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        settings = Settings(
            indicator=IndicatorSettings("none"),
            command=CommandSettings(("/bin/sh", "-c", f"touch {started}; exec sleep 60"), 30.0),
            mqtt=MqttSettings("127.0.0.1", mute.getsockname()[1]),
            wyoming=WyomingSettings(f"unix://{tmp_path}/wyoming"),
            capture=CaptureSettings(True, after_s=0.2, folder=str(tmp_path)),
        )
        spotter = loud_spotter()
        actions = actions_of(settings, spotter, loud_spotter, said.append)
        assert len(actions) == 5
        microphone = PacedMicrophone()
        told: Any = Silent()
        opened = False

        def open_microphone() -> PacedMicrophone:
            nonlocal opened
            if opened:
                # All that was begun is still under way.
                assert started.exists() and writing.is_set()
                supervisor.stop()
                raise MicrophoneAbsent("none left")
            opened = True
            return microphone

        health = Health(spotter.keyword, spotter.detection.threshold)
        supervisor = Supervisor(
            Setup(spotter, open_microphone, actions),
            lambda: pytest.fail("no reload"),
            health,
            Reporter(health, told, None),
            told,
            told,
        )
        supervisor.run()
        written.set()
    assert len(told.latencies) == 2
    assert max(told.latencies) < 250
    # Had the loop waited for any of them, a step would have taken seconds.
    assert np.median(microphone.busy) < 0.03
    assert max(microphone.busy) < 0.5
    assert any("still runs" in text for text in said), said
