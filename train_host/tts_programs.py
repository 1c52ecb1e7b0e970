"""Text-to-speech programs that Debian packages: espeak-ng, flite, festival, Pico, RHVoice."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar
from xml.sax.saxutils import escape

import numpy as np
import soundfile
from numpy.typing import NDArray

from train_host.accents import respelt
from train_host.tts import Engine, Manner, Role, Voice


class EspeakNg(Engine):
    """Formant synthesis, robotic but in any number of vocal tracts and accents."""

    name = "espeak-ng"
    needs = "apt install espeak-ng"
    weight = 4.0

    ACCENTS = (
        "en-gb",
        "en-us",
        "en-gb-scotland",
        "en-gb-x-gbclan",
        "en-gb-x-rp",
        "en-gb-x-gbcwmd",
        "en-029",
        "en-us-nyc",
    )
    # Whispers, effects, and robots that nobody takes for speech.
    UNFIT = frozenset(
        {
            "whisper",
            "whisperf",
            "croak",
            "Demonic",
            "announcer",
            "UniRobot",
            "anikaRobot",
            "fast",
            "Mr",
            "robosoft",
            "robosoft2",
            "robosoft3",
            "robosoft4",
            "robosoft5",
            "robosoft6",
            "robosoft7",
            "robosoft8",
            "klatt5",
            "klatt6",
            "Tweaky",
        }
    )
    VALIDATION = frozenset(
        {
            "adam",
            "Andrea",
            "aunty",
            "f3",
            "m3",
            "m6",
            "klatt3",
            "iven3",
            "Gene2",
            "linda",
            "steph2",
            "edward2",
            "travis",
            "Mike",
            "sandro",
        }
    )
    DEMO = frozenset({"Michael"})

    def is_installed(self) -> bool:
        return shutil.which("espeak-ng") is not None

    def voices(self) -> tuple[Voice, ...]:
        listing = _output(["espeak-ng", "--voices=variant"])
        variants = sorted(set(re.findall(r"!v/(\S+)", listing)) - self.UNFIT)
        found = []
        for variant in variants:
            role: Role = "validation" if variant in self.VALIDATION else "training"
            role = "demo" if variant in self.DEMO else role
            for accent in self.ACCENTS:
                found.append(
                    Voice(
                        name=f"espeak-{accent}-{variant}",
                        engine=self.name,
                        role=role,
                        licence="GPL-3.0-or-later (program; speech is free)",
                        key=f"{accent}+{variant}",
                    )
                )
        return tuple(found)

    def _say(self, voice: Voice, text: str, manner: Manner) -> tuple[NDArray[np.float32], int]:
        speed = int(np.clip(165 * manner.tempo, 80, 400))
        pitch = int(np.clip(50 + 120 * np.log2(manner.pitch), 0, 99))
        return _spoken_to_file(
            lambda out: [
                *("espeak-ng", "-v", voice.key, "-s", str(speed), "-p", str(pitch)),
                *("-w", out, "--", text),
            ]
        )


class Flite(Engine):
    """CMU's small engine: unit selection in a nutshell, four English speakers."""

    name = "flite"
    needs = "apt install flite"
    weight = 3.0

    # Mean fundamental frequency of each speaker in Hz.
    SPEAKERS: ClassVar[dict[str, tuple[Role, float]]] = {
        "kal16": ("training", 105),
        "awb": ("training", 130),
        "rms": ("validation", 105),
        "slt": ("demo", 190),
    }

    def is_installed(self) -> bool:
        return shutil.which("flite") is not None

    def voices(self) -> tuple[Voice, ...]:
        return tuple(
            Voice(f"flite-{key}", self.name, role, "CMU (BSD-like)", key)
            for key, (role, _) in self.SPEAKERS.items()
        )

    def _say(self, voice: Voice, text: str, manner: Manner) -> tuple[NDArray[np.float32], int]:
        pitch = self.SPEAKERS[voice.key][1] * manner.pitch
        return _spoken_to_file(
            lambda out: [
                *(
                    "flite",
                    "-voice",
                    voice.key,
                    "--setf",
                    f"duration_stretch={1 / manner.tempo:.3f}",
                ),
                *("--setf", f"int_f0_target_mean={pitch:.1f}", "-t", text, "-o", out),
            ]
        )


class Festival(Engine):
    """Edinburgh's engine with the two diphone speakers that Debian packages."""

    name = "festival"
    needs = "apt install festival festvox-kallpc16k festvox-kdlpc16k"
    weight = 1.5

    # Not slt-hts, which Debian has too: the same person is flite's slt.
    SPEAKERS: ClassVar[dict[str, tuple[Role, float]]] = {
        "kal_diphone": ("training", 105),
        "ked_diphone": ("demo", 105),
    }
    FOLDERS = (Path("/usr/share/festival/voices"), Path("/usr/local/share/festival/voices"))

    def is_installed(self) -> bool:
        return shutil.which("text2wave") is not None and bool(self.voices())

    def voices(self) -> tuple[Voice, ...]:
        return tuple(
            Voice(f"festival-{key[:3]}", self.name, role, "CSTR/CMU (BSD-like)", key)
            for key, (role, _) in self.SPEAKERS.items()
            if any(folder.glob(f"*/{key}") for folder in self.FOLDERS)
        )

    def _say(self, voice: Voice, text: str, manner: Manner) -> tuple[NDArray[np.float32], int]:
        pitch = self.SPEAKERS[voice.key][1] * manner.pitch
        settings = (
            f"(voice_{voice.key})",
            f"(Parameter.set 'Duration_Stretch {1 / manner.tempo:.3f})",
            f"(set! int_lr_params '((target_f0_mean {pitch:.1f}) (target_f0_std 15)"
            " (model_f0_mean 170) (model_f0_std 34)))",
        )
        return _spoken_to_file(
            lambda out: ["text2wave", "-o", out, *(w for s in settings for w in ("-eval", s))],
            stdin=text,
        )


class Pico(Engine):
    """SVOX Pico: one woman for each of six languages, concatenated from recordings.

    Her German, Spanish, French and Italian sisters read English as a stranger
    would; they say a keyword that `train_host.words` spells for them.
    """

    name = "pico"
    needs = "apt install libttspico-utils, in Debian's section non-free"
    weight = 4.0

    LANGUAGES = ("en-US", "en-GB", "de-DE", "es-ES", "fr-FR", "it-IT")

    def is_installed(self) -> bool:
        return shutil.which("pico2wave") is not None

    def voices(self) -> tuple[Voice, ...]:
        return tuple(
            Voice(f"pico-{key}", self.name, "training", "Apache-2.0", key, language=key[:2])
            for key in self.LANGUAGES
        )

    def _say(self, voice: Voice, text: str, manner: Manner) -> tuple[NDArray[np.float32], int]:
        speed = int(np.clip(100 * manner.tempo, 20, 500))
        pitch = int(np.clip(100 * manner.pitch, 50, 200))
        marked = f'<speed level="{speed}"><pitch level="{pitch}">{escape(text)}</pitch></speed>'
        return _spoken_to_file(lambda out: ["pico2wave", "-l", voice.key, "-w", out, "--", marked])


class RHVoice(Engine):
    """Statistical voices (HTS): two of CMU ARCTIC, and people who read other languages.

    These read English as it sounds to them (`accents`), with the dark l and the short vowels of
    where they come from.
    """

    name = "rhvoice"
    needs = (
        "apt install rhvoice rhvoice-english rhvoice-russian rhvoice-ukrainian rhvoice-kyrgyz "
        "rhvoice-macedonian rhvoice-esperanto, in Debian's section non-free"
    )
    weight = 6.0

    # Not slt: flite has her too, in the demonstration. alan is flite's awb, who trains as well.
    # Of the others only those whose voices are free, not even all of what Debian has.
    SPEAKERS: ClassVar[dict[str, tuple[Role, str]]] = {
        "alan": ("training", "en"),
        "bdl": ("training", "en"),
        "clb": ("training", "en"),
        "aleksandr": ("training", "ru"),
        "anna": ("training", "ru"),
        "elena": ("training", "ru"),
        "evgeniy-rus": ("training", "ru"),
        "irina": ("validation", "ru"),
        "anatol": ("training", "uk"),
        "natalia": ("training", "uk"),
        "azamat": ("validation", "ky"),
        "nazgul": ("training", "ky"),
        "kiko": ("training", "mk"),
        "spomenka": ("training", "eo"),
    }
    FOLDER = Path("/usr/share/RHVoice/voices")

    def is_installed(self) -> bool:
        return shutil.which("RHVoice-test") is not None and bool(self.voices())

    def voices(self) -> tuple[Voice, ...]:
        return tuple(
            Voice(f"rhvoice-{key}", self.name, role, "LGPL-2.1-or-later", key)
            for key, (role, _) in self.SPEAKERS.items()
            if (self.FOLDER / key).is_dir()
        )

    def _say(self, voice: Voice, text: str, manner: Manner) -> tuple[NDArray[np.float32], int]:
        language = self.SPEAKERS[voice.key][1]
        rate = int(np.clip(100 * manner.tempo, 20, 500))
        pitch = int(np.clip(100 * manner.pitch, 50, 200))
        return _spoken_to_file(
            lambda out: [
                *("RHVoice-test", "--profile", voice.key, "--rate", str(rate)),
                *("--pitch", str(pitch), "--output", out),
            ],
            stdin=text if language == "en" else respelt(text, language),
        )


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _spoken_to_file(
    command: Callable[[str], list[str]], stdin: str = ""
) -> tuple[NDArray[np.float32], int]:
    """Runs a program that writes a sound file; an empty one when it fails to say anything."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.wav"
        subprocess.run(command(str(out)), input=stdin.encode(), capture_output=True, check=True)
        samples, rate = soundfile.read(io.BytesIO(out.read_bytes()), dtype="float32")
    return samples, rate
