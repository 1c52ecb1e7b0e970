"""The corpus that is in the repository, and the tapes that it is made of."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from device.errors import CorpusError
from train_host.corpus import EMBEDDED, NOISE, RATE, load, read_embedded
from train_host.embedded.__main__ import HEADER, MARGIN, NOISE_PIECES, Tape, quotas
from train_host.tts_neural import Kokoro
from train_host.tts_programs import EspeakNg, Festival, Flite

CORPUS = read_embedded()


def test_clips_come_back_from_a_tape_where_they_were_put(tmp_path: Path) -> None:
    tape, rows = Tape(), []
    for n, hertz in enumerate((300, 700, 1500)):
        t = np.arange(RATE // 2 + 137 * n) / RATE
        tone = np.pad((0.2 * np.sin(2 * np.pi * hertz * t)).astype(np.float32), MARGIN)
        start = tape.add(tone)
        rows.append(
            [
                "t.opus",
                f"w{n}",
                "training",
                start,
                len(tone),
                MARGIN,
                len(tone) - MARGIN,
                "",
                "v",
                "",
            ]
        )
    tape.write(tmp_path / "t.opus")
    with (tmp_path / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows([HEADER.split(), *rows])
    for clip, hertz in zip(read_embedded(tmp_path).clips, (300, 700, 1500), strict=True):
        samples = load(clip)
        assert len(samples) == clip.length
        assert clip.span is not None
        start, stop = clip.span
        inside = samples[start + 160 : stop - 160]
        assert np.argmax(np.abs(np.fft.rfft(inside))) * RATE / len(inside) == pytest.approx(
            hertz, abs=3
        )
        assert np.std(samples[: start - 160]) < 0.05 * np.std(inside)
        assert np.std(samples[stop + 160 :]) < 0.05 * np.std(inside)


def test_size_and_words() -> None:
    assert sum(path.stat().st_size for path in EMBEDDED.glob("*.opus")) <= 8e6
    words = CORPUS.words()
    assert words["sheila"] >= 500
    assert len(words) > 31
    assert {"she", "sheep", "shield", "celia", "leila", "yes"} <= set(words)
    assert set(words) == {word.lower() for word in quotas()}
    assert "synthetic" in CORPUS.name


def test_every_word_can_be_trained_and_validated() -> None:
    counts = Counter((clip.word, clip.split) for clip in CORPUS.clips)
    for word in CORPUS.words():
        assert counts[word, "training"] >= 5, word
        assert counts[word, "validation"] >= 1, word


def test_no_voice_is_in_two_splits_and_none_is_of_the_demonstration() -> None:
    splits: dict[str, set[str]] = {}
    for clip in (*CORPUS.clips, *CORPUS.noise):
        splits.setdefault(clip.speaker, set()).add(clip.split)
    assert all(len(found) == 1 for found in splits.values())
    people = [f"-{v}" for v in EspeakNg.DEMO] + [v.replace("_", "-") for v in Kokoro.DEMO]
    people += [f"flite-{k}" for k, (role, _) in Flite.SPEAKERS.items() if role == "demo"]
    people += [f"festival-{k[:3]}" for k, (role, _) in Festival.SPEAKERS.items() if role == "demo"]
    assert not [voice for voice in splits for person in people if voice.endswith(person)]


def test_every_row_names_engine_voice_and_licence() -> None:
    with (EMBEDDED / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(CORPUS.clips) + len(CORPUS.noise)
    assert all(row["engine"] and row["voice"] and row["licence"] for row in rows)
    assert all((EMBEDDED / row["tape"]).is_file() for row in rows)


def test_speech_is_where_the_index_says() -> None:
    for clip in CORPUS.clips[::40]:
        samples = load(clip)
        assert len(samples) == clip.length
        assert clip.span is not None
        inside = np.mean(np.square(samples[slice(*clip.span)]))
        assert -33 < 10 * np.log10(inside) < -13, clip


def test_noise_of_every_kind_in_both_splits() -> None:
    assert {clip.word for clip in CORPUS.noise} == {NOISE}
    for split, (count, seconds) in NOISE_PIECES.items():
        clips = [clip for clip in CORPUS.noise if clip.split == split]
        assert len(clips) == 8 * count
        assert all(len(load(clip)) == seconds * RATE for clip in clips)


def test_absent_word_is_one_sentence_with_the_words_that_are_there() -> None:
    with pytest.raises(CorpusError, match=r"'alfredo'.*sheila") as caught:
        CORPUS.require("alfredo")
    assert "\n" not in str(caught.value)


def test_absent_corpus_says_how_to_build_it(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="make corpus"):
        read_embedded(tmp_path)
