"""The shipped recording is what its table says."""

import csv
from pathlib import Path

import numpy as np

from train_host.corpus import RATE, read_audio
from train_host.tts_neural import Kokoro
from train_host.tts_programs import EspeakNg, Festival, Flite

DEMO = Path(__file__).parent.parent / "demo"
NEAR = "she sheep shield celia leila sheena she'll ceiling delia stella julia feeling ophelia"


def rows() -> list[dict[str, str]]:
    with (DEMO / "tape.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_minute_with_five_keywords_in_four_voices_and_ten_near_words() -> None:
    keywords = [r for r in rows() if r["is_keyword"] == "1"]
    assert len(keywords) == 5
    assert len({r["voice"] for r in keywords}) == 4
    others = " ".join(r["text"] for r in rows() if r["is_keyword"] == "0").lower()
    said = others.replace(",", "").replace(".", "").split()
    assert "sheila" not in said
    assert sum(word in said for word in NEAR.split()) >= 10
    assert len(read_audio(DEMO / "tape.opus")) >= 60 * RATE


def test_speech_is_where_the_table_says_and_only_there() -> None:
    tape = read_audio(DEMO / "tape.opus")
    heard = np.zeros(len(tape), bool)
    for row in rows():
        start, stop = (round(float(row[k]) * RATE) for k in ("start_s", "end_s"))
        heard[max(0, start - RATE // 5) : stop + RATE // 5] = True
        # The onset may be soft, but the span's loudest tenth of a second is speech.
        power = np.convolve(tape[start:stop] ** 2, np.full(1600, 1 / 1600), "valid").max()
        assert 10 * np.log10(power) > -30, row
    quiet = tape[~heard]
    assert len(quiet) > 5 * RATE
    assert -60 < 10 * np.log10(np.mean(quiet**2)) < -45


def test_its_voices_are_kept_for_the_demonstration() -> None:
    kept = {f"espeak-en-gb-x-rp-{v}" for v in EspeakNg.DEMO}
    kept |= {f"flite-{k}" for k, (role, _) in Flite.SPEAKERS.items() if role == "demo"}
    kept |= {f"festival-{k[:3]}" for k, (role, _) in Festival.SPEAKERS.items() if role == "demo"}
    kept |= {f"kokoro-{k.replace('_', '-')}" for k in Kokoro.DEMO}
    assert {r["voice"] for r in rows()} == kept
