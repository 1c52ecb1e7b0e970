"""Makes the recording that `make demo` plays: tape.opus and tape.csv beside this script.

usage: python -m demo.make_tape [FOLDER]

A minute and a half of running speech by four voices that neither training nor
validation uses (role `demo` in train_host). It holds the keyword "sheila"
five times, each time within a sentence, and more than ten words that sound
like it. Sentences are spoken in parts, so that it is known where the keyword
stands. The script, its seed and the tape were there before any model, and
nothing in them was chosen by what a model makes of them.

Needs espeak-ng, flite, festival with festvox-kdlpc16k, and Kokoro.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from device.errors import KwsPiError, SetupError
from train_host.synthesize import cut_out, speech_span
from train_host.tts import RATE, Engine, Manner, Voice
from train_host.voices import installed

SEED = 20240501
KEYWORD = "Sheila"
NOISE_DB = -52.0
"""RMS of the background; the speech has -23."""

ANNA, SUSAN, KURT, MICHAEL = (
    "kokoro-jf-gongitsune",
    "flite-slt",
    "festival-ked",
    "espeak-en-gb-x-rp-Michael",
)
SCRIPT: tuple[tuple[str, tuple[str, ...]], ...] = (
    (ANNA, ("Good morning.",)),
    (ANNA, ("Sheila,", "could you open the curtains, please?")),
    (SUSAN, ("She said that the sheep are in the upper field today.",)),
    (KURT, ("We need a new shield for the old machine, and a sheet of steel.",)),
    (MICHAEL, ("Celia and Leila went to the market, to buy some cheese.",)),
    (SUSAN, ("I will call you back in the afternoon,", "Sheila.")),
    (ANNA, ("Sheena told me that she'll come at seven.",)),
    (MICHAEL, ("The ceiling in the kitchen has to be painted again.",)),
    (KURT, ("Excuse me,", "Sheila,", "what time is it now?")),
    (ANNA, ("My cousin Delia lives near the river, with her three dogs.",)),
    (SUSAN, ("The weather should be fine until the weekend, but on Monday it will rain.",)),
    (MICHAEL, ("Thank you,", "Sheila,", "that is all for today.")),
    (KURT, ("Stella and Julia are feeling better.",)),
    (SUSAN, ("A shield and a helmet hang on the wall of the old hall.",)),
    (MICHAEL, ("He shut the window, because the wind was cold.",)),
    (ANNA, ("It is late, and everybody is going to bed.",)),
    (ANNA, ("Okay,", "Sheila,", "turn off the lights.")),
    (SUSAN, ("Ophelia sleeps already. Good night.",)),
)


def speak_script(
    rng: np.random.Generator,
) -> tuple[list[NDArray[np.float32]], list[tuple[int, int, str, str]]]:
    """The tape in pieces (speech and pauses), and where each part of a sentence stands."""
    cast = _cast()
    pieces = [np.zeros(RATE, np.float32)]
    items: list[tuple[int, int, str, str]] = []
    now = RATE
    for name, parts in SCRIPT:
        engine, voice = cast[name]
        for part in parts:
            # Words that stand alone come out hasty, so they are given more time.
            tempo = rng.uniform(0.75, 0.85) if len(part.split()) < 3 else rng.uniform(0.9, 1.0)
            manner = Manner(tempo=float(tempo), seed=2 * int(rng.integers(1 << 20)))
            speech = cut_out(engine.speak(voice, part, manner), longest_s=10)
            if speech is None:
                raise SetupError(f"{name} did not say {part!r}; install the engine again")
            start, stop = speech_span(speech)
            items.append((now + start, now + stop, part, name))
            pause = rng.uniform(0.15, 0.3) if part.endswith(",") else rng.uniform(0.5, 0.9)
            pieces += [speech, np.zeros(int(pause * RATE), np.float32)]
            now += len(speech) + len(pieces[-1])
        pieces.append(np.zeros(int(rng.uniform(0.2, 0.6) * RATE), np.float32))
        now += len(pieces[-1])
    return pieces, items


def background(length: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Quiet pink noise with a little 50 Hz hum, as in a room with a fan."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 50.0))
    noise = np.fft.irfft(spectrum, length)
    noise /= noise.std()
    hum = np.sin(2 * np.pi * 50 * np.arange(length) / RATE)
    return ((noise + 0.3 * hum) * 10 ** (NOISE_DB / 20)).astype(np.float32)


def make(folder: Path) -> None:
    rng = np.random.default_rng(SEED)
    pieces, items = speak_script(rng)
    speech = np.concatenate(pieces)
    tape = np.clip(speech + background(len(speech), rng), -1, 1)
    soundfile.write(
        folder / "tape.opus", tape, RATE, format="OGG", subtype="OPUS", compression_level=0.9
    )
    with (folder / "tape.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["start_s", "end_s", "text", "voice", "is_keyword"])
        for start, stop, text, voice in items:
            keyword = int(text.strip(".,") == KEYWORD)
            out.writerow([f"{start / RATE:.2f}", f"{stop / RATE:.2f}", text, voice, keyword])


def _cast() -> dict[str, tuple[Engine, Voice]]:
    found = {v.name: (e, v) for e in installed() for v in e.voices() if v.role == "demo"}
    missing = {name for name, _ in SCRIPT} - set(found)
    if missing:
        raise SetupError(f"the tape needs voices that are not installed: {', '.join(missing)}")
    return found


if __name__ == "__main__":
    try:
        make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
    except KwsPiError as error:
        sys.exit(str(error))
