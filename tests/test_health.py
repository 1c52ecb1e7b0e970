"""The daemon's figures."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from device import health as module
from device import report, status
from device.errors import NotRunning
from device.health import Figures, Health, State, duration, status_line
from device.report import Reporter, read_figures

BLOCK = np.full(1280, 0.1, np.float32)


class Clock(SimpleNamespace):
    """The monotonic clock and the CPU clock, as a test sets them."""

    now, cpu = 1000.0, 5.0

    def monotonic(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.cpu


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_level_share_and_latency_are_those_of_the_last_window(clock: Clock) -> None:
    health = Health("sheila", 0.9)
    for _ in range(62):
        clock.now += 0.08
        clock.cpu += 0.002
        health.heard(BLOCK, 16000, 0.003)
    health.heard(BLOCK, 16000, 0.0125)
    clock.now = 1005.0
    figures = health.figures()
    assert figures.level_dbfs == -20.0
    assert figures.cpu_share == pytest.approx(62 * 0.002 / 5, abs=1e-4)
    assert figures.latency_ms == 12.5
    assert figures.audio_s == pytest.approx(63 * 0.08)
    assert figures.uptime_s == 5.0
    # The next window has not ended, so the last one's figures still stand.
    health.heard(BLOCK * 5, 16000, 0.5)
    clock.now = 1009.0
    assert health.figures().latency_ms == 12.5
    assert health.figures().heard_s_ago == 4.0
    clock.now = 1010.0
    assert (health.figures().latency_ms, health.figures().level_dbfs) == (500.0, -6.0)
    # And a window without sound is silent.
    clock.now = 1015.0
    assert health.figures().level_dbfs == module.SILENCE_DBFS


def test_zeros_alone_are_seen_after_a_while_and_forgotten_at_the_first_sound() -> None:
    health = Health("sheila", 0.9)
    zeros = np.zeros(1280, np.float32)
    for step in range(1, 70):
        health.heard(zeros, 16000, 0.0)
        assert health.only_zeros == (step * 0.08 >= module.ZEROS_S)
    health.heard(zeros + np.float32(2**-15), 16000, 0.0)
    assert not health.only_zeros
    for _ in range(70):
        health.heard(zeros, 16000, 0.0)
    health.opened("other", 48000)
    assert not health.only_zeros


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.9, "59 s"),
        (60, "1 min 0 s"),
        (3725, "1 h 2 min"),
        (100000, "1 d 3 h"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_status_line_names_every_figure(clock: Clock) -> None:
    health = Health("sheila", 0.9)
    health.state = State.LISTENING
    health.overruns, health.late, health.reopenings, health.detections = 3, 4, 5, 6
    clock.now += 3725
    clock.cpu += 37.25
    health.heard(BLOCK, 16000, 0.0123)
    assert status_line(health.figures()) == (
        "listening; up 1 h 2 min, input -20 dB, latency 12 ms, CPU 1.0 %, 6 detections, "
        "3 overruns, 4 late, 5 reopenings"
    )
    health.state = State.WAITING
    line = status_line(health.figures())
    assert line.startswith("waiting for microphone; up")
    assert "input" not in line


class Told:
    """In the place of the notifier."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def status(self, text: str) -> None:
        self.said.append(text.split(";")[0])


def test_reports_each_second_and_at_every_change(tmp_path: Path) -> None:
    health, told = Health("sheila", 0.9), Told()
    reporter = Reporter(health, told, tmp_path)  # type: ignore
    reports = [reporter.latest]
    for step in range(126):
        if step == 63:
            health.state = State.LISTENING
        reporter.tick(1000 + 0.08 * step)
        if reporter.latest is not reports[-1]:
            reports.append(reporter.latest)
        if step == 63:
            assert read_figures(tmp_path).state == "listening"
    # 10.08 s: at once, at the change, 10 s after it not yet.
    assert told.said == ["starting", "listening"]
    # The first of all, one each second, and the change.
    assert 11 <= len(reports) <= 13
    assert not list(tmp_path.glob("*.part"))
    reporter.tick(1000 + 0.08 * 63 + report.STATUS_EVERY_S)
    assert told.said[-1] == "listening"
    assert len(told.said) == 3
    assert (tmp_path / report.FILE).stat().st_mode & 0o777 == 0o644
    reporter.close()
    assert list(tmp_path.iterdir()) == []


def write(folder: Path, **changes: object) -> Figures:
    figures = dataclasses.replace(Health("sheila", 0.9).figures(), **changes)  # type: ignore
    (folder / report.FILE).write_text(json.dumps(dataclasses.asdict(figures)))
    return figures


def test_no_daemon(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="not running; start it"):
        read_figures(tmp_path)


def test_a_daemon_that_was_killed_is_not_running(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write(tmp_path, pid=ended.pid)
    with pytest.raises(NotRunning, match="was killed"):
        read_figures(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"pid": 1}', '{"state": "listening"}'])
def test_a_report_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / report.FILE).write_text(text)
    with pytest.raises(NotRunning, match="restart it"):
        read_figures(tmp_path)


@pytest.mark.parametrize(
    ("changes", "healthy"),
    [
        ({"state": "listening", "heard_s_ago": 0.1}, True),
        ({"state": "listening", "heard_s_ago": None}, False),
        ({"state": "listening", "heard_s_ago": 9.0}, False),
        ({"state": "waiting for microphone", "heard_s_ago": 0.1}, False),
        ({"state": "listening", "heard_s_ago": 0.1, "at_s": time.monotonic() - 60}, False),
    ],
)
def test_who_is_healthy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    healthy: bool,
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    figures = write(tmp_path, **changes)
    assert status.show_status(as_json=False) == healthy
    assert status.show_status(as_json=True) == healthy
    text, told = capsys.readouterr().out.rsplit("\n", 2)[:2]
    assert json.loads(told) == {
        **dataclasses.asdict(figures),
        "healthy": healthy,
        "silent_for_s": pytest.approx(time.monotonic() - figures.at_s, abs=1),
    }
    assert re.search(r"^overruns +0, and 0 times slower than the sound$", text, re.MULTILINE)
    assert str(os.getpid()) in text
