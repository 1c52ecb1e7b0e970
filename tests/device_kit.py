"""What the device's tests share: a model that fires at noise, recordings, and ALSA devices.

The microphones are real ALSA devices made from files by a configuration of
their own. ALSA reads its configuration once in a process, so code that uses
them runs in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
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
