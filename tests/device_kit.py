"""What the device's tests share: a model that fires at noise, recordings, and ALSA devices.

The microphones are real ALSA devices made from files by a configuration of
their own. ALSA reads its configuration once in a process, so code that uses
them runs in a process of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from device.model import load_model
from device.spotter import Spotter

ROOT = Path(__file__).resolve().parent.parent
LOUD = Path(__file__).resolve().parent / "loud" / "loud.json"
RATE = 16000


def loud_spotter() -> Spotter:
    return Spotter(load_model(LOUD))


def bursts(seconds: float, at: tuple[float, ...], rate: int = RATE) -> NDArray[np.int16]:
    """Quiet noise with a burst of 0.4 s at each of the times: one detection each."""
    sound = np.random.default_rng(1).standard_normal(round(seconds * rate)) * 3
    for start in at:
        sound[round(start * rate) : round((start + 0.4) * rate)] *= 1000
    return np.clip(sound, -32768, 32767).astype(np.int16)


def write_wav(path: Path, samples: NDArray[np.int16], rate: int = RATE, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def alsa_environment(folder: Path, pcms: str) -> dict[str, str]:
    """The environment of a process that knows these ALSA devices besides the usual ones."""
    (folder / "asoundrc").write_text(pcms, encoding="utf-8")
    usual = "/usr/share/alsa/alsa.conf"
    return {**os.environ, "ALSA_CONFIG_PATH": f"{usual}:{folder / 'asoundrc'}"}


def fake_microphone(sound: Path, name: str = "fake") -> str:
    """The configuration of a microphone that delivers a raw file, then its last 0.5 s for ever."""
    return (
        f'pcm.{name} {{ type file; slave.pcm "null"; file "/dev/null"; infile "{sound}"; '
        'format "raw"; hint { show on; description "from a file" } }\n'
    )


PATIENCE_S = 60
"""A busy machine may take so long to start Python."""

RUN = """
import sys
{before}
from device import cli
sys.exit(cli.main(["run", "--config", sys.argv[1]]))
"""


class Daemon:
    """`kws-pi run` in a process of its own, and what systemd would receive from it."""

    def __init__(
        self,
        folder: Path,
        device: str,
        environment: dict[str, str],
        before: str = "",
        within: tuple[str, ...] = (),
    ) -> None:
        """`before`: a piece of Python that it runs first; `within`: a command that starts it."""
        self.config = folder / "config.toml"
        self.device = device
        self.configure()
        self.runtime = folder / "run"
        self.runtime.mkdir()
        self._manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._manager.bind(str(folder / "notify"))
        self._received: queue.SimpleQueue[str] = queue.SimpleQueue()
        # The kernel holds ten messages; then the sender would wait for the reader.
        threading.Thread(target=self._receive, daemon=True).start()
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*within, sys.executable, "-c", RUN.format(before=before), self.config],
                cwd=ROOT,
                env={
                    **environment,
                    "NOTIFY_SOCKET": str(folder / "notify"),
                    "RUNTIME_DIRECTORY": str(self.runtime),
                    "WATCHDOG_USEC": "400000",
                },
                stdout=log,
                stderr=log,
            )

    def configure(self, more: str = "", model: str = str(LOUD)) -> None:
        """Writes its settings."""
        self.config.write_text(
            f'model = "{model}"\n[microphone]\ndevice = "{self.device}"\ndeadline_s = 0.5\n'
            f'[indicator]\nbackend = "mock"\n{more}'
        )

    def figures(self) -> dict[str, Any]:
        """What it has last reported."""
        figures: dict[str, Any] = json.loads((self.runtime / "health.json").read_text())
        return figures

    def await_figures(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Waits until it reports what is wanted."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError):
                if wanted(self.figures()):
                    return self.figures()
            time.sleep(0.05)
        raise AssertionError(f"what was awaited did not come; {self.log.read_text()}")

    def next(self, timeout: float) -> str:
        """The next notification, without the figures of a status; empty if none comes."""
        try:
            return self._received.get(timeout=timeout).split(";")[0]
        except queue.Empty:
            return ""

    def _receive(self) -> None:
        while message := self._manager.recv(4096):
            self._received.put(message.decode())

    def until(self, message: str) -> list[str]:
        """The notifications up to the one that begins like this."""
        seen: list[str] = []
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            said = self.next(1.0)
            if said:
                seen.append(said)
            if said.startswith(message):
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


def private_run() -> tuple[str, ...]:
    """What to put before a command for a /run of its own, in a mount namespace."""
    if not shutil.which("unshare"):
        pytest.skip("unshare is not installed")
    within = (
        *("unshare", "--user", "--map-root-user", "--mount", "sh", "-c"),
        'mount -t tmpfs none /run && exec "$@"',
        "sh",
    )
    if subprocess.run([*within, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine gives a test no namespace of its own")
    return within


def kws_pi(
    *arguments: str | Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs the command line to its end."""
    return subprocess.run(
        [sys.executable, "-m", "device.cli", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def python(code: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs a piece of Python in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
