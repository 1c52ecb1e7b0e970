"""The daemon whole: a process of its own, with real sound devices and sockets."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from device_kit import (
    ROOT,
    Daemon,
    alsa_environment,
    bursts,
    fake_microphone,
    kws_pi,
    private_run,
)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    pytest.importorskip("alsaaudio")
    pytest.importorskip("systemd.daemon")
    started: list[Daemon] = []

    def start(device: str, pcms: str = "", **options: object) -> Daemon:
        environment = alsa_environment(tmp_path, pcms)
        started.append(Daemon(tmp_path, device, environment, **options))  # type: ignore
        return started[-1]

    yield start
    for daemon in started:
        daemon.kill()


def test_daemon_detects_and_ends_cleanly(start: Callable[..., Daemon], tmp_path: Path) -> None:
    bursts(6.0, (2.0, 4.0)).tofile(tmp_path / "x.raw")
    daemon = start("fake", fake_microphone(tmp_path / "x.raw"))
    assert daemon.until("READY=1") == ["STATUS=starting", "READY=1"]
    assert daemon.until("STATUS=listening") == ["STATUS=listening"]
    for _ in range(5):
        assert daemon.until("WATCHDOG=1") == ["WATCHDOG=1"]
    daemon.end()
    assert daemon.until("STOPPING=1")[-1] == "STOPPING=1"
    log = daemon.log.read_text()
    assert "listening to fake at 16000 Hz" in log
    assert log.count("detected 'loud' with probability") == 2


def test_daemon_waits_for_the_microphone(start: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = start("fake", fake_microphone(tmp_path / "x.raw"))
    daemon.until("READY=1")
    assert daemon.until("STATUS=waiting for microphone") == ["STATUS=waiting for microphone"]
    # Alive through the first wait of 1 s and far into the second.
    for _ in range(15):
        assert daemon.next(1.0) == "WATCHDOG=1"
    bursts(6.0, (2.0,)).tofile(tmp_path / "plugged-in.raw")
    (tmp_path / "plugged-in.raw").rename(tmp_path / "x.raw")
    daemon.until("STATUS=listening")
    daemon.until("WATCHDOG=1")
    daemon.await_figures(lambda figures: figures["detections"] == 1)
    daemon.end()
    log = daemon.log.read_text()
    assert log.count("there is no sound device 'fake'") == 1
    assert "detected 'loud'" in log


def test_daemon_with_a_stalled_stream_gives_no_sign_of_life(
    start: Callable[..., Daemon], tmp_path: Path
) -> None:
    fifo = tmp_path / "x.fifo"
    os.mkfifo(fifo)
    keep = os.open(fifo, os.O_RDWR)
    try:
        os.write(keep, bytes(64000))
        daemon = start("fake", fake_microphone(fifo))
        daemon.until("STATUS=listening")
        daemon.until("STATUS=microphone is silent, opening it again")
        daemon.until("STATUS=microphone driver is stuck")
        # Five times the watchdog's time.
        assert daemon.next(2.0) == ""
        daemon.end()
    finally:
        os.close(keep)


@pytest.mark.parametrize("text", ["pins = 3", "model = '/nonexistent/a.json'"])
def test_daemon_does_not_start_with_wrong_settings(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    run = subprocess.run(
        [sys.executable, "-m", "device.cli", "run", "--config", tmp_path / "config.toml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 1
    assert run.stderr.startswith("kws-pi: /")
    assert run.stderr.count("\n") == 1


def status(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`kws-pi status` beside it."""
    return kws_pi(
        "status", *arguments, environment={**os.environ, "RUNTIME_DIRECTORY": str(daemon.runtime)}
    )


def test_status_shows_what_it_hears_and_never_lies(
    start: Callable[..., Daemon], tmp_path: Path
) -> None:
    bursts(6.0, (2.0, 4.0)).tofile(tmp_path / "x.raw")
    daemon = start("fake", fake_microphone(tmp_path / "x.raw"))
    daemon.await_figures(lambda figures: figures["detections"] == 2)
    shown = status(daemon)
    assert shown.returncode == 0, shown.stderr
    rows = dict(line.split(maxsplit=1) for line in shown.stdout.splitlines())
    assert rows["state"] == "listening"
    assert rows["microphone"] == "fake at 16000 Hz"
    assert rows["detections"] == "2"
    told = json.loads(status(daemon, "--json").stdout)
    assert told["healthy"] is True
    assert told["pid"] == daemon.process.pid
    # Once the bursts have left the window: quiet noise of 3 steps of 2**-15.
    quiet = 20 * np.log10(3 / 32768)
    daemon.await_figures(lambda figures: abs(figures["level_dbfs"] - quiet) < 1.5)
    assert 0 < told["cpu_share"] < 2
    daemon.process.kill()
    daemon.process.wait()
    assert (daemon.runtime / "health.json").exists()
    shown = status(daemon)
    assert (shown.returncode, shown.stdout) == (1, "")
    assert shown.stderr.startswith("kws-pi: kws-pi was killed and is not running;")


def test_a_daemon_that_hangs_is_not_shown_as_listening(
    start: Callable[..., Daemon], tmp_path: Path
) -> None:
    bursts(6.0, (2.0,)).tofile(tmp_path / "x.raw")
    daemon = start("fake", fake_microphone(tmp_path / "x.raw"))
    daemon.await_figures(lambda figures: figures["state"] == "listening")
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(5.2)
        shown = status(daemon)
        assert shown.returncode == 1
        assert re.search(r"hangs: no report for \d+ s \(its last: listening\)", shown.stdout)
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    before = daemon.figures()["audio_s"]
    daemon.await_figures(lambda figures: figures["audio_s"] > before + 1)
    daemon.end()
    assert not (daemon.runtime / "health.json").exists()


def test_sighup_takes_new_settings_and_keeps_the_old_ones_when_they_are_wrong(
    start: Callable[..., Daemon], tmp_path: Path
) -> None:
    bursts(6.0, (2.0,)).tofile(tmp_path / "x.raw")
    daemon = start("fake", fake_microphone(tmp_path / "x.raw"))
    daemon.until("STATUS=listening")
    daemon.configure("[detection]\nthreshold = 2\n")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.until("RELOADING=1")
    daemon.until("READY=1")
    for text in ("[detection]\nthreshold = 0.9\n", "[metrics]\nlisten = '/proc/no/such/place'\n"):
        daemon.configure(text)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.until("RELOADING=1")
        daemon.until("READY=1")
        daemon.until("WATCHDOG=1")
    daemon.configure(model="/nonexistent/a.json")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.until("RELOADING=1")
    daemon.until("READY=1")
    daemon.until("WATCHDOG=1")
    figures = daemon.await_figures(lambda figures: figures["reloads"] == 2)
    assert figures["state"] == "listening"
    daemon.end()
    log = daemon.log.read_text()
    assert "'detection.threshold' must lie between 0 and 1; the old settings stay" in log
    assert "a.json: the manifest cannot be read (No such file or directory)" in log
    assert log.count("new settings are in force") == 2
    assert log.count("listening to fake at 16000 Hz") == 3
    assert log.count("metrics cannot be served at /proc/no/such/place") == 1


JUMP = """
import time
before, began = time.time, time.monotonic()
time.time = lambda: before() + (315576000 if time.monotonic() - began > 2 else -315576000)
"""


def test_a_clock_that_jumps_by_years_changes_nothing(
    start: Callable[..., Daemon], tmp_path: Path
) -> None:
    bursts(6.0, (2.0,)).tofile(tmp_path / "x.raw")
    daemon = start("fake", fake_microphone(tmp_path / "x.raw"), before=JUMP)
    daemon.await_figures(lambda figures: figures["uptime_s"] > 3)
    figures = daemon.figures()
    assert figures["uptime_s"] < 60
    assert (figures["state"], figures["detections"]) == ("listening", 1)
    daemon.until("WATCHDOG=1")
    assert status(daemon).returncode == 0
    daemon.end()


def test_nothing_on_the_device_reads_the_clock_on_the_wall() -> None:
    for path in sorted((ROOT / "device").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        # Recordings and messages carry the time for their readers; nothing is decided by it.
        if path.name not in ("capture.py", "mqtt.py"):
            assert "time.time(" not in text, path
            assert "datetime" not in text, path


SLOW = """
import time
from device.spotter import Spotter
step, began = Spotter._run_step, time.monotonic()
def slow(self, taken_at):
    if time.monotonic() - began < 6:
        time.sleep(0.2)
    return step(self, taken_at)
Spotter._run_step = slow
"""


class RealTime:
    """A sound device that takes its time: a pipe into which a thread writes as sound comes."""

    def __init__(self, path: Path, sound: np.ndarray) -> None:
        os.mkfifo(path)
        self._sound = sound.astype("<i2")
        self._pipe = os.open(path, os.O_RDWR)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self) -> None:
        began, sent = time.monotonic(), 0
        while not self._ended.wait(0.02):
            due = round((time.monotonic() - began) * 16000)
            if due - sent > 16000:  # nobody reads: what a device's buffer does not hold is lost
                sent = due
            # Whole periods: ALSA would fill up a part of one with old samples.
            while due - sent >= 320 and not self._ended.is_set():
                part = self._sound.take(range(sent, sent + 320), mode="wrap")
                try:
                    os.set_blocking(self._pipe, False)
                    os.write(self._pipe, part.tobytes())
                except BlockingIOError:
                    break
                sent += 320

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        os.close(self._pipe)


def test_a_network_slower_than_the_sound_goes_on_with_the_newest_and_recovers(
    start: Callable[..., Daemon], tmp_path: Path
) -> None:
    microphone = RealTime(tmp_path / "x.fifo", bursts(4.0, (1.0, 3.0)))
    try:
        daemon = start("fake", fake_microphone(tmp_path / "x.fifo"), before=SLOW)
        figures = daemon.await_figures(lambda figures: figures["late"] >= 1)
        assert figures["state"] == "listening"
        daemon.await_figures(lambda figures: figures["uptime_s"] > 9)
        detections = daemon.figures()["detections"]
        daemon.await_figures(lambda figures: figures["detections"] > detections)
        daemon.end()
    finally:
        microphone.close()
    assert "times because the network was slower than the sound" in daemon.log.read_text()


def test_zeros_are_told_in_status_and_log(start: Callable[..., Daemon], tmp_path: Path) -> None:
    np.zeros(16000, np.int16).tofile(tmp_path / "x.raw")
    daemon = start("fake", fake_microphone(tmp_path / "x.raw"))
    daemon.until("STATUS=listening to nothing but zeros")
    daemon.until("WATCHDOG=1")
    assert "nothing but zeros" in status(daemon).stdout
    daemon.end()
    assert "fake delivers nothing but zeros; is it switched off or muted?" in daemon.log.read_text()


READ_ONLY = (
    "mount --bind {folder} {folder} && mount -o remount,bind,ro / && "
    "for m in /dev /tmp /home /root; do mount -o remount,bind,ro $m 2>/dev/null; done; "
    'touch /readonly 2>/dev/null && exit 9; exec "$@"'
)


def test_a_read_only_root_does_not_matter(start: Callable[..., Daemon], tmp_path: Path) -> None:
    if not shutil.which("unshare"):
        pytest.skip("unshare is not installed")
    bursts(6.0, (2.0,)).tofile(tmp_path / "x.raw")
    within = ("unshare", "--mount", "sh", "-c", READ_ONLY.format(folder=tmp_path), "sh")
    if os.geteuid() != 0:
        within = (within[0], "--user", "--map-root-user", *within[1:])
    tried = subprocess.run([*within, "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("this machine gives a test no namespace of its own")
    daemon = start("fake", fake_microphone(tmp_path / "x.raw"), within=within)
    daemon.await_figures(lambda figures: figures["detections"] == 1)
    daemon.end()


def test_a_runtime_directory_that_cannot_be_written_does_not_matter(
    start: Callable[..., Daemon], tmp_path: Path
) -> None:
    bursts(6.0, (2.0,)).tofile(tmp_path / "x.raw")
    daemon = start(
        "fake",
        fake_microphone(tmp_path / "x.raw"),
        before="import os; os.environ['RUNTIME_DIRECTORY'] = '/proc/no/such/place'",
    )
    daemon.until("STATUS=listening")
    for _ in range(5):
        daemon.until("WATCHDOG=1")
    daemon.end()


HUNG_JOURNAL = """
import os, socket
os.makedirs("/run/systemd/journal")
journald = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journald.bind("/run/systemd/journal/socket")
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as writer:
    writer.setblocking(False)
    try:
        while True:
            writer.sendto(b"MESSAGE=x", "/run/systemd/journal/socket")
    except BlockingIOError:
        pass
"""
"""A socket in journald's place, full, that nobody reads."""


def test_a_journal_that_hangs_does_not_stop_the_listening(
    start: Callable[..., Daemon], tmp_path: Path
) -> None:
    bursts(6.0, (2.0, 4.0)).tofile(tmp_path / "x.raw")
    daemon = start(
        "fake",
        fake_microphone(tmp_path / "x.raw"),
        before=HUNG_JOURNAL,
        within=private_run(),
    )
    daemon.until("STATUS=listening")
    daemon.await_figures(lambda figures: figures["detections"] == 2)
    daemon.until("WATCHDOG=1")
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(5) == 0


def test_under_cpu_load_it_goes_on_listening(start: Callable[..., Daemon], tmp_path: Path) -> None:
    microphone = RealTime(tmp_path / "x.fifo", bursts(4.0, (2.0,)))
    loads = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count())
    ]
    try:
        daemon = start("fake", fake_microphone(tmp_path / "x.fifo"))
        daemon.await_figures(lambda figures: figures["detections"] >= 2)
        daemon.until("WATCHDOG=1")
        daemon.end()
    finally:
        for load in loads:
            load.kill()
            load.wait()
        microphone.close()
