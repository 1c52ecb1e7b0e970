"""Plays a recording of running speech through the spotter and shows the timeline.

    python -m device.demo [TAPE] [--model FILE]

Beside TAPE lies a table with the same name and the ending .csv, columns
start_s, end_s, text, voice, is_keyword (0 or 1): what is said when. The exit
status is 0 only if every keyword is detected once and nothing else is. The
loop is that of the daemon; the LED has gpiozero's mock pins where gpiozero is
installed.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from device.audiofile import AudioFile
from device.errors import AudioFileError, KwsPiError
from device.indicator import Indicator
from device.model import default_manifest, load_model
from device.settings import IndicatorSettings
from device.spotter import Hit, Spotter

TAPE = Path(__file__).resolve().parent.parent / "demo" / "tape.opus"
LATE_S = 1.0
"""A detection may come so long after the keyword's end."""
LED_ON_S = 1.0
STRIP_S = 10.0
"""Seconds in one strip of the timeline ..."""
COLUMN_S = 0.1
"""... and in one of its columns."""


@dataclass(frozen=True)
class Item:
    """One spoken word or sentence of the recording."""

    start_s: float
    end_s: float
    text: str
    voice: str
    is_keyword: bool


@dataclass(frozen=True)
class Play:
    """What happened while the recording was played."""

    length_s: float
    hits: tuple[Hit, ...]
    lit: tuple[tuple[float, float], ...]
    """When the LED was lit, from and to, in seconds of the recording."""


@dataclass(frozen=True)
class Verdict:
    """The detections compared with what was said."""

    found: tuple[tuple[Item, Hit | None], ...]
    """Each keyword with its detection."""
    false: tuple[Hit, ...]
    """Detections of something else, or of the same keyword again."""

    @property
    def right(self) -> bool:
        return not self.false and all(hit for _, hit in self.found)


def read_items(path: Path) -> list[Item]:
    """The table of what is said. Raises AudioFileError when it cannot be read."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [
                Item(
                    float(row["start_s"]),
                    float(row["end_s"]),
                    row["text"],
                    row["voice"],
                    row["is_keyword"] == "1",
                )
                for row in csv.DictReader(file)
            ]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise AudioFileError(
            f"{path}: not a table of what is said (columns start_s, end_s, text, voice, "
            f"is_keyword): {error}"
        ) from error


def play(spotter: Spotter, tape: Path) -> Play:
    """Plays the recording through the spotter with a virtual LED, as fast as it goes."""
    indicator = Indicator(IndicatorSettings("mock", on_s=LED_ON_S), lambda text: None)
    hits: list[Hit] = []
    lit: list[tuple[float, float]] = []
    lit_from = 0.0
    with AudioFile(tape, spotter.sample_rate, spotter.step_samples) as recording:
        for samples in recording:
            was_lit = indicator.lit
            new = spotter.push(samples, time.monotonic())
            # The LED's clock here is the recording's, not the wall's.
            indicator.tick(spotter.time_s)
            for hit in new:
                indicator.detected(hit, hit.time_s)
            hits += new
            if indicator.lit and not was_lit:
                lit_from = spotter.time_s
            elif was_lit and not indicator.lit:
                lit.append((lit_from, spotter.time_s))
    if indicator.lit:
        lit.append((lit_from, spotter.time_s))
    indicator.close()
    return Play(spotter.time_s, tuple(hits), tuple(lit))


def judge(items: Sequence[Item], hits: Sequence[Hit]) -> Verdict:
    """Gives each keyword the first detection between its start and LATE_S after its end."""
    left = list(hits)
    found = []
    for item in items:
        if item.is_keyword:
            its = [hit for hit in left if item.start_s <= hit.time_s <= item.end_s + LATE_S]
            found.append((item, its[0] if its else None))
            left = [hit for hit in left if not its or hit is not its[0]]
    return Verdict(tuple(found), tuple(left))


def timeline(items: Sequence[Item], played: Play, verdict: Verdict) -> str:
    """Strips of STRIP_S seconds: what was said, the detections and the LED."""
    width = round(STRIP_S / COLUMN_S)
    right = {id(hit) for _, hit in verdict.found if hit}
    lines = []
    for strip in range(math.ceil(max(played.length_s, 1e-9) / STRIP_S)):
        start = strip * STRIP_S
        ruler, said, detected, led = ([" "] * width for _ in range(4))
        for second in range(round(STRIP_S)):
            _put(ruler, second / STRIP_S * width, f"{start + second:.0f}")
        for item, after in zip(items, [*items[1:], None], strict=True):
            low, high = (round((t - start) / COLUMN_S) for t in (item.start_s, item.end_s))
            for column in range(max(low, 0), min(high, width)):
                said[column] = "=" if item.is_keyword else "-"
            if 0 <= low < width:
                text = item.text.upper() if item.is_keyword else item.text
                room = (after.start_s - start) / COLUMN_S - low - 1 if after else width
                _put(said, low, text[: max(1, round(room))])
        for hit in played.hits:
            if start < hit.time_s <= start + STRIP_S:
                mark = "^" if id(hit) in right else "X"
                _put(detected, (hit.time_s - start) / COLUMN_S - 1, mark)
        for lit_from, lit_to in played.lit:
            low, high = (round((t - start) / COLUMN_S) for t in (lit_from, lit_to))
            for column in range(max(low, 0), min(high, width)):
                led[column] = "#"
        lanes = (("s", ruler), ("said", said), ("detected", detected), ("LED", led))
        lines += [f"{name:>9} {''.join(lane).rstrip()}" for name, lane in lanes]
        lines.append("")
    lines.append("keywords in capitals; ^ detection, X false detection, # LED lit")
    return "\n".join(lines)


def summary(verdict: Verdict) -> str:
    """One line for each keyword and false detection, and the count."""
    lines = []
    for item, hit in verdict.found:
        after = (
            f"detected at {hit.time_s:.2f} s, {hit.time_s - item.end_s:+.2f} s after its end, "
            f"probability {hit.probability:.2f}"
            if hit
            else "MISSED"
        )
        lines.append(f"{item.start_s:7.2f} s  {item.text!r} ({item.voice}): {after}")
    lines += [
        f"{hit.time_s:7.2f} s  FALSE detection, probability {hit.probability:.2f}"
        for hit in verdict.false
    ]
    found = sum(hit is not None for _, hit in verdict.found)
    lines.append(f"{found} of {len(verdict.found)} keywords, {len(verdict.false)} false")
    return "\n".join(lines)


def _put(lane: list[str], column: float, text: str) -> None:
    at = min(max(round(column), 0), len(lane) - 1)
    lane[at : at + len(text)] = text[: len(lane) - at]


def main(arguments: Sequence[str] | None = None) -> int:
    """Plays, prints, and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m device.demo",
        description="Plays running speech through the spotter and shows the timeline.",
    )
    parser.add_argument("tape", nargs="?", type=Path, default=TAPE, help="the recording")
    parser.add_argument("--model", type=Path, metavar="FILE", help="the model's manifest")
    options = parser.parse_args(arguments)
    try:
        items = read_items(options.tape.with_suffix(".csv"))
        spotter = Spotter(load_model(options.model or default_manifest()))
        started = time.perf_counter()
        played = play(spotter, options.tape)
        wall_s = time.perf_counter() - started
    except KwsPiError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    verdict = judge(items, played.hits)
    print(timeline(items, played, verdict))
    print(f"\n{played.length_s:.1f} s of speech, played in {wall_s:.2f} s\n")
    print(summary(verdict))
    return 0 if verdict.right and verdict.found else 1


if __name__ == "__main__":
    sys.exit(main())
