"""The daemon: its states by played microphones, and whole, with real devices and sockets."""

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from device_kit import LOUD, ROOT, alsa_environment, bursts, fake_microphone, loud_spotter

from device import supervisor as module
from device.actions import Action
from device.errors import MicrophoneAbsent, MicrophoneBusy, MicrophoneError, MicrophoneStalled
from device.indicator import Indicator
from device.ring import Block
from device.settings import IndicatorSettings
from device.spotter import Hit
from device.supervisor import Supervisor

SOUND = bursts(4.0, (1.0, 2.5)).astype(np.float32) / 32768


class Told:
    """In the place of notifier and journal: writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def ready(self) -> None:
        self.events.append("ready")

    def status(self, text: str) -> None:
        if self.events[-1:] != [text]:
            self.events.append(text)

    def alive(self, now: float) -> None:
        if self.events[-1:] != ["alive"]:
            self.events.append("alive")

    def stopping(self) -> None:
        self.events.append("stopping")

    def record(self, message: str, priority: int = 6, **fields: str) -> None:
        self.events.append(f"log: {message}")

    def detection(self, keyword: str, probability: float, latency_ms: float) -> None:
        self.events.append(f"detected {keyword}")


class PlayedMicrophone:
    """Delivers blocks, raises errors, or does what else it is given, then ends with an error."""

    name, rate, overruns = "played", 16000, 3

    def __init__(self, script: list[object], closes: list[bool] | None = None) -> None:
        self._script = script
        self._closes = closes or []
        self.closed = 0

    def read(self, timeout: float) -> Block | None:
        event = self._script.pop(0) if self._script else MicrophoneError("unplugged")
        if isinstance(event, Exception):
            raise event
        if callable(event):
            event = event()
        assert event is None or isinstance(event, Block)
        return event

    def close(self) -> bool:
        self.closed += 1
        return self._closes.pop(0) if self._closes else True


def block(start: float, end: float, after_gap: bool = False) -> Block:
    return Block(SOUND[round(start * 16000) : round(end * 16000)], time.monotonic(), after_gap)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(module, "LONGEST_WAIT_S", 0.04)

    def run(*outcomes: object, actions: Sequence[Action] = ()) -> list[str]:
        """Runs the supervisor over these results of opening the microphone."""
        told, left = Told(), list(outcomes)

        def open_microphone() -> PlayedMicrophone:
            if not left:
                supervisor.stop()
                raise MicrophoneAbsent("none left")
            outcome = left.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            assert isinstance(outcome, PlayedMicrophone)
            return outcome

        supervisor = Supervisor(loud_spotter(), open_microphone, actions, told, told)  # type: ignore
        supervisor.run()
        return told.events

    return run


def test_listens_and_detects(run: Callable[..., list[str]]) -> None:
    microphone = PlayedMicrophone([block(0, 2), None, block(2, 4)])
    events = run(microphone)
    assert events == [
        "ready",
        "log: listening to played at 16000 Hz",
        "detected loud",
        "listening",
        "alive",
        "detected loud",
        "listening",
        "alive",
        "log: unplugged",
        "waiting for microphone",
        "alive",
        "log: none left",
        "waiting for microphone",
        "stopping",
    ]
    assert microphone.closed == 1


def test_absent_and_busy_wait_alive_and_say_the_same_once(run: Callable[..., list[str]]) -> None:
    absent, busy = MicrophoneAbsent("no device"), MicrophoneBusy("in use")
    events = run(absent, absent, busy, absent)
    assert events[:4] == ["ready", "log: no device", "waiting for microphone", "alive"]
    assert [e for e in events if e.startswith("log")] == [
        "log: no device",
        "log: in use",
        "log: no device",
        "log: none left",
    ]
    assert events.count("alive") == 4


def test_waits_grow_to_a_limit(
    run: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[float] = []
    waits: list[float] = []
    monkeypatch.setattr(
        Supervisor,
        "_pause",
        lambda self, until, each: waits.append(round(until - time.monotonic(), 2)),
    )
    run(*[MicrophoneAbsent("no device")] * 5)
    assert opened == []
    assert waits[:5] == [0.01, 0.02, 0.04, 0.04, 0.04]


def test_a_gap_forgets_what_was_heard(run: Callable[..., list[str]]) -> None:
    # The burst at 1.0 s comes within the muted steps after the gap.
    events = run(PlayedMicrophone([block(0.0, 1.0), block(1.0, 1.3, after_gap=True)]))
    assert losses(events) == [(1, 3)]
    assert "detected loud" not in events
    assert "detected loud" in run(PlayedMicrophone([block(0.0, 1.0), block(1.0, 1.3)]))


def losses(events: list[str]) -> list[tuple[int, int]]:
    """What each report of lost samples counts: since the last one, and since the opening."""
    pattern = r"log: samples were lost \(since the last report: (\d+) times, since the microphone "
    pattern += r"was opened: (\d+) times\); started anew after each"
    found = (re.fullmatch(pattern, event) for event in events)
    return [(int(match[1]), int(match[2])) for match in found if match]


class OverloadedMicrophone(PlayedMicrophone):
    """Loses samples before each block that is marked so, and counts it as the real one does."""

    def __init__(self, script: list[object]) -> None:
        super().__init__(script)
        self.overruns = 0

    def read(self, timeout: float) -> Block | None:
        block = super().read(timeout)
        self.overruns += block is not None and block.after_gap
        return block


def test_losses_are_reported_at_once_then_seldom(
    run: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOSSES_EVERY_S", 0.5)

    def later() -> Block:
        time.sleep(0.6)
        return block(0, 0.1)

    def lost() -> Block:
        return block(0, 0.1, after_gap=True)

    # At once; two kept until the time is up, though nothing is lost then; two at the end.
    script = [lost, lost, lost, later, lost, lost]
    events = run(OverloadedMicrophone([*script]), OverloadedMicrophone([lost]))
    assert losses(events) == [(1, 1), (2, 3), (2, 5), (1, 1)]
    at = events.index("log: unplugged")
    assert losses(events[:at]) == [(1, 1), (2, 3), (2, 5)]


def test_losses_each_second_are_reported_once_a_minute(
    run: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    began, heard = time.monotonic(), 0
    clock = SimpleNamespace(monotonic=lambda: began + heard, sleep=lambda s: None)

    def lost() -> Block:
        nonlocal heard
        heard += 1
        return block(0, 0.1, after_gap=True)

    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(Supervisor, "_wait", lambda self: None)
    events = run(OverloadedMicrophone([lost] * 150))
    assert losses(events) == [(1, 1), (60, 61), (60, 121), (29, 150)]


def test_stalled_stream_is_reopened_without_a_sign_of_life(run: Callable[..., list[str]]) -> None:
    stalled = [block(0, 0.5), MicrophoneStalled("silent")]
    events = run(PlayedMicrophone(list(stalled)), PlayedMicrophone([MicrophoneStalled("silent")]))
    at = events.index("log: silent")
    assert events[at - 1] == "alive"
    assert events[at : at + 3] == [
        "log: silent",
        "microphone is silent, opening it again",
        "log: listening to played at 16000 Hz",
    ]
    assert "alive" not in events[at:-3]


def test_driver_that_does_not_return_is_not_opened_twice(run: Callable[..., list[str]]) -> None:
    microphone = PlayedMicrophone([MicrophoneStalled("silent")], closes=[False, False, True])
    events = run(microphone)
    assert microphone.closed == 3
    assert "microphone driver is stuck" in events
    assert "alive" not in events[: events.index("log: none left")]


def test_stuck_inference_gives_no_sign_of_life() -> None:
    told = Told()
    spotter = loud_spotter()
    stuck, stop = threading.Event(), threading.Event()

    def push(samples: np.ndarray, taken_at: float) -> list[object]:
        stuck.set()
        stop.wait(5.0)
        return []

    spotter.push = push  # type: ignore
    microphone = PlayedMicrophone([block(0, 0.5)])
    supervisor = Supervisor(
        spotter,
        lambda: microphone,
        [],
        told,
        told,  # type: ignore
    )
    thread = threading.Thread(target=supervisor.run, daemon=True)
    thread.start()
    assert stuck.wait(5.0)
    time.sleep(0.3)
    assert told.events == ["ready", "log: listening to played at 16000 Hz"]
    supervisor.stop()
    stop.set()
    thread.join(5.0)


def test_an_action_that_fails_stops_neither_the_listening_nor_the_others(
    run: Callable[..., list[str]],
) -> None:
    class Broken(Action):
        def tick(self, now: float) -> None:
            raise OSError("no broker")

    class Counting(Action):
        hits, blocks = 0, 0

        def detected(self, hit: Hit, now: float) -> None:
            self.hits += 1

        def heard(self, samples: np.ndarray, after_gap: bool) -> None:
            self.blocks += 1

    counting = Counting()
    events = run(PlayedMicrophone([block(0, 2), block(2, 4)]), actions=[Broken(), counting])
    assert (counting.hits, counting.blocks) == (2, 2)
    assert [e for e in events if "Broken" in e] == [
        "log: Broken failed (OSError('no broker')); carrying on without it"
    ]


def test_led_is_lit_at_a_detection_and_goes_out_in_any_state(
    run: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.2)
    seen: list[bool] = []

    class Led:
        value = property(None, lambda self, on: seen.append(bool(on)))

    led = Indicator(IndicatorSettings(on_s=0.05), pytest.fail, lambda settings: Led())
    run(PlayedMicrophone([block(0, 2)]), actions=[led])
    assert seen == [True, False]


class Daemon:
    """`kws-pi run` in a process of its own, and what systemd would receive from it."""

    def __init__(self, folder: Path, device: str, environment: dict[str, str]) -> None:
        (folder / "config.toml").write_text(
            f'model = "{LOUD}"\n[microphone]\ndevice = "{device}"\ndeadline_s = 0.5\n'
            '[indicator]\nbackend = "mock"\n'
        )
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._manager.bind(str(folder / "notify"))
        self._received: queue.SimpleQueue[str] = queue.SimpleQueue()
        # The kernel holds ten messages; then the sender would wait for the reader.
        threading.Thread(target=self._receive, daemon=True).start()
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "device.cli", "run", "--config", folder / "config.toml"],
                cwd=ROOT,
                env={
                    **environment,
                    "NOTIFY_SOCKET": str(folder / "notify"),
                    "WATCHDOG_USEC": "400000",
                },
                stdout=log,
                stderr=log,
            )

    def next(self, timeout: float) -> str:
        """The next notification, or nothing."""
        try:
            return self._received.get(timeout=timeout)
        except queue.Empty:
            return ""

    def _receive(self) -> None:
        while message := self._manager.recv(4096):
            self._received.put(message.decode())

    def until(self, message: str) -> list[str]:
        """The notifications up to this one."""
        seen: list[str] = []
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            said = self.next(1.0)
            if said:
                seen.append(said)
            if said == message:
                return seen
        raise AssertionError(f"{message} did not come; {seen}; {self.log.read_text()}")

    def end(self) -> None:
        """SIGTERM, and a clean end."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(5) == 0, self.log.read_text()
        assert self.log.read_text().endswith("kws-pi: stopped\n")
        assert "Traceback" not in self.log.read_text()

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._manager.getsockname())


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    pytest.importorskip("alsaaudio")
    pytest.importorskip("systemd.daemon")
    started: list[Daemon] = []

    def start(device: str, pcms: str = "") -> Daemon:
        started.append(Daemon(tmp_path, device, alsa_environment(tmp_path, pcms)))
        return started[-1]

    yield start
    for daemon in started:
        daemon.kill()


def test_daemon_detects_and_ends_cleanly(start: Callable[..., Daemon], tmp_path: Path) -> None:
    bursts(6.0, (2.0, 4.0)).tofile(tmp_path / "x.raw")
    daemon = start("fake", fake_microphone(tmp_path / "x.raw"))
    assert daemon.until("READY=1") == ["READY=1"]
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
