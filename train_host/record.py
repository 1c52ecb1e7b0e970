"""Records your own samples of a keyword from a microphone.

    python -m train_host.record --keyword "hey marvin" --output recordings/hey-marvin

Asks for the keyword again and again, shows the level meanwhile, and writes
each sample as WHO_nohash_N.wav (16 kHz, mono, 16 bit), cut to the speech. A
sample that is too quiet, clipped, cut off or no speech is asked for once more.
Ctrl-C ends; what has been recorded stays. Further samples go on counting.
"""

from __future__ import annotations

import argparse
import getpass
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from rich.console import Console
from rich.live import Live
from rich.text import Text

from device.errors import KwsPiError, MicrophoneError, SetupError
from device.microphone import Microphone
from device.soundcard import alsa
from train_host.keyword import slug, spoken

RATE = 16000
FRAME = 320
TAKE_S = 3.0
"""How long a sample is listened for ..."""
PAUSE_S = 0.8
"""... and the time to read what was wrong before the next one."""
AROUND_S = 0.2
"""Kept before and after the speech."""
SHORTEST_S = 0.2
SPEECH_DB = 30.0
"""The speech is what lies within this of the loudest 20 ms ..."""
CONTRAST_DB = 12.0
"""... which must be so much louder than the quietest tenth."""
QUIET_DBFS = -45.0
CLIPPED = 0.985
CLIPPED_SAMPLES = 4
TRIES = 5
"""Samples that may fail in a row before something else must be wrong."""

Samples = NDArray[np.float32]
console = Console()


def levels(samples: Samples) -> NDArray[np.float64]:
    """Level of each 20 ms in dBFS (of a full-scale square wave), (frames,)."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    return np.asarray(10 * np.log10(np.mean(np.square(frames, dtype=np.float64), axis=1) + 1e-12))


def cut(samples: Samples) -> tuple[Samples | None, str]:
    """The speech of a take, and nothing; or None, and what is wrong, in words."""
    level = levels(samples)
    if level.max() < -90:
        return None, "not a sound: is the microphone muted, or the wrong one? (DEVICE=NAME)"
    if np.count_nonzero(np.abs(samples) >= CLIPPED) >= CLIPPED_SAMPLES:
        return None, "too loud, the sound is clipped: go further away, or turn the input down"
    floor = np.percentile(level, 10)
    if level.max() - floor < CONTRAST_DB:
        return None, "no speech that stands out from the noise: speak up, or find a quieter place"
    if level.max() < QUIET_DBFS:
        return None, "too quiet: come nearer, or turn the input up (alsamixer)"
    loud = np.flatnonzero(level > max(level.max() - SPEECH_DB, floor + CONTRAST_DB / 2))
    first, last = int(loud[0]), int(loud[-1]) + 1
    if (last - first) * FRAME < SHORTEST_S * RATE:
        return None, "too short to be the keyword: a click, perhaps"
    if first == 0 or last == len(level):
        return None, "cut off: begin after the line appears, and end before it goes"
    start = max(0, round(first * FRAME - AROUND_S * RATE))
    return samples[start : round(last * FRAME + AROUND_S * RATE)], ""


def take(microphone: Microphone, seconds: float, show: Callable[[float, float], None]) -> Samples:
    """What the microphone hears from now on for so long; `show` hears level and time left.

    Raises MicrophoneError when it ends.
    """
    pieces: list[Samples] = []
    wanted, got = round(seconds * RATE), 0
    while got < wanted:
        block = microphone.read(timeout=0.2)
        if block is None:
            continue
        if block.after_gap:
            pieces, got = [], 0  # with a hole in it a sample is worth nothing
        pieces.append(block.samples)
        got += len(block.samples)
        if len(block.samples) >= FRAME:
            show(float(levels(block.samples).max()), (wanted - got) / RATE)
    return np.concatenate(pieces)[:wanted]


def record(keyword: str, samples: int, folder: Path, who: str, device: str = "") -> int:
    """Records so many samples into the folder; how many there are now of this speaker.

    Raises SetupError without ALSA, MicrophoneError when the microphone cannot
    be used or when too many samples in a row are no good.
    """
    try:
        alsa()
    except SetupError as error:
        raise SetupError(
            "recording needs pyalsaaudio, which setup builds where it finds ALSA's headers; run "
            "`apt-get install gcc pkg-config libasound2-dev libsystemd-dev`, then `make setup`"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    microphone = Microphone(device, RATE)
    console.print(f'Recording from {microphone.name}: say "{keyword}" when asked, Ctrl-C ends.')
    number, done, failed = first_free(folder, who), 0, 0
    try:
        with Live(console=console, transient=True, auto_refresh=False) as live:
            while done < samples:

                def show(level: float, left: float, count: int = done + 1) -> None:
                    live.update(meter(keyword, count, samples, level, left), refresh=True)

                speech, wrong = cut(take(microphone, TAKE_S, show))
                if speech is None:
                    failed += 1
                    console.print(f"  [yellow]again:[/] {wrong}", highlight=False, soft_wrap=True)
                    if failed == TRIES:
                        raise MicrophoneError(
                            f"{TRIES} samples in a row were no good, the last one {wrong}; "
                            f"{done} are kept in {folder}"
                        )
                else:
                    path = folder / f"{who}_nohash_{number}.wav"
                    soundfile.write(path, speech, RATE, subtype="PCM_16")
                    done, number, failed = done + 1, number + 1, 0
                    seconds, loudest = len(speech) / RATE, levels(speech).max()
                    console.print(
                        f"  {done} of {samples}: {path.name}, {seconds:.1f} s, {loudest:.0f} dBFS",
                        highlight=False,
                    )
                take(microphone, PAUSE_S, lambda level, left: None)
    except KeyboardInterrupt:
        console.print(f"Ended: {done} of {samples} recorded.")
    finally:
        microphone.close()
    return number


def meter(keyword: str, count: int, samples: int, level: float, left: float) -> Text:
    """One line: what to say, how loud it is, how long is left."""
    width = 30
    lit = int(np.clip((level + 60) / 60 * width, 0, width))
    colour = "red" if level > -3 else "green" if level > -40 else "yellow"
    return Text.assemble(
        (f"{count} of {samples}  say ", "bold"),
        (f'"{keyword}"  ', "bold cyan"),
        ("█" * lit, colour),
        ("░" * (width - lit), "dim"),
        f" {level:4.0f} dBFS  {max(left, 0):.1f} s",
    )


def first_free(folder: Path, who: str) -> int:
    """The number after the highest that a speaker's samples have."""
    numbers = [path.stem.split("_nohash_")[1] for path in folder.glob(f"{who}_nohash_*.wav")]
    return 1 + max((int(n) for n in numbers if n.isdecimal()), default=-1)


def speaker(name: str | None) -> str:
    """A name that can stand in a file's name."""
    try:
        return slug(spoken(name or getpass.getuser()))
    except (KwsPiError, OSError, KeyError):
        return f"speaker-{time.strftime('%Y%m%d')}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Records your own samples of a keyword.")
    parser.add_argument("--keyword", required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder for the samples")
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--who", help="whose voice it is (default: the user's name)")
    parser.add_argument("--device", default="", help="an ALSA device (default: the first card)")
    args = parser.parse_args(arguments)
    if args.samples < 1:
        parser.error("--samples must be at least 1")
    try:
        keyword, who = spoken(args.keyword), speaker(args.who)
        there = record(keyword, args.samples, args.output, who, args.device)
    except KwsPiError as error:
        console.print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
        return 1
    console.print(
        f'{args.output}: {there} samples by {who}; make compress KEYWORD="{keyword}" SYNTH=1 '
        f"RECORDINGS={args.output} trains with them.",
        highlight=False,
        soft_wrap=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
