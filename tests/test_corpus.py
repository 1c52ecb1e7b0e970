"""Corpora: layout, splits, bad files, rates, tapes."""

import csv
import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile

from device.errors import AudioFileError, CorpusError
from train_host.arrange import deal_out, hold_out_speakers, join, with_keyword
from train_host.corpus import (
    NOISE,
    Clip,
    Corpus,
    load,
    read_audio,
    read_folder,
    read_recordings,
    read_samples,
    read_synthetic,
    source_of,
)
from train_host.split import Split

RATE = 16000


def tone(path: Path, hertz: float = 440.0, seconds: float = 1.0, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(int(seconds * rate)) / rate
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * hertz * t), rate, subtype="PCM_16")
    return path


def test_folder_is_read_by_word_speaker_and_split(tmp_path: Path) -> None:
    tone(tmp_path / "yes" / "0c40e715_nohash_0.wav")
    tone(tmp_path / "no" / "026290a7_nohash_2.wav")
    tone(tmp_path / NOISE / "hum.wav", seconds=10)
    corpus = read_folder(tmp_path)
    assert corpus.words() == {"no": 1, "yes": 1}
    assert [(c.speaker, c.split) for c in corpus.clips] == [
        ("026290a7", "validation"),
        ("0c40e715", "testing"),
    ]
    train, validate = corpus.noise
    assert (train.split, validate.split) == ("training", "validation")
    assert len(load(train)) + len(load(validate)) == 10 * RATE
    assert str(tmp_path) in corpus.name


def test_bad_files_are_skipped_counted_and_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tone(tmp_path / "yes" / "a_nohash_0.wav")
    (tmp_path / "yes" / "b_nohash_0.wav").write_bytes(b"")
    (tmp_path / "yes" / "c_nohash_0.wav").write_bytes(b"RIFF, but no more")
    tone(tmp_path / "yes" / "d_nohash_0.wav", seconds=0)
    soundfile.write(tmp_path / "yes" / "e_nohash_0.wav", np.full(9, np.nan), RATE, subtype="FLOAT")
    with caplog.at_level(logging.WARNING):
        corpus = read_folder(tmp_path)
    assert len(corpus.clips) == 1
    assert corpus.skipped == 4
    for name in ("b_nohash_0", "c_nohash_0", "d_nohash_0", "e_nohash_0", "4 files"):
        assert name in caplog.text


def test_missing_keyword_names_the_words_that_are_there(tmp_path: Path) -> None:
    tone(tmp_path / "yes" / "a_nohash_0.wav")
    tone(tmp_path / "no" / "a_nohash_0.wav")
    with pytest.raises(CorpusError, match=r"'sheila'.*no, yes"):
        read_folder(tmp_path).require("sheila")


@pytest.mark.parametrize("read", [read_folder, read_recordings, read_synthetic])
def test_absent_or_empty_folder_is_one_sentence(read: object, tmp_path: Path) -> None:
    for folder in (tmp_path / "absent", tmp_path):
        with pytest.raises(CorpusError, match=str(folder)) as caught:
            read(folder)  # type: ignore[operator]
        assert "\n" not in str(caught.value)


def test_speakers_of_the_keyword_are_held_out(tmp_path: Path) -> None:
    for speaker in ("00176480", "0a7c2a8d"):
        tone(tmp_path / "yes" / f"{speaker}_nohash_0.wav")
    tone(tmp_path / "sheila" / "0a7c2a8d_nohash_0.wav")
    corpus = read_folder(tmp_path)
    assert {c.split for c in corpus.clips} == {"training"}
    held = hold_out_speakers(corpus, "sheila")
    assert {c.split for c in held.clips if c.speaker == "0a7c2a8d"} == {"validation"}
    assert {c.split for c in held.clips if c.speaker == "00176480"} == {"training"}


def test_sources_keep_what_belongs_together() -> None:
    assert source_of(Path("6319-275224-0018.flac")) == "6319"
    assert source_of(Path("1-17150-A.wav")) == "1-17150"
    assert source_of(Path("1-17150-A-12.wav")) == "1-17150"
    assert source_of(Path("kitchen.wav")) == "kitchen"
    assert source_of(Path("kitchen.hq.wav")) == "kitchen"
    assert source_of(Path("6319-275224-0018.hq.wav")) == "6319"


def test_recordings_of_one_speaker_share_a_split(tmp_path: Path) -> None:
    for speaker in range(40):
        for n in range(3):
            tone(tmp_path / "deep" / "er" / f"{speaker}-7-{n:04d}.flac", seconds=0.1)
    corpus = read_recordings(tmp_path)
    assert len(corpus.clips) == 120
    assert len({(c.speaker, c.split) for c in corpus.clips}) == 40
    noise = read_recordings(tmp_path, NOISE)
    assert (len(noise.clips), len(noise.noise)) == (0, 120)
    assert join([corpus, noise]).noise == noise.noise


def test_other_rate_and_stereo_are_converted_without_alias(tmp_path: Path) -> None:
    t = np.arange(48000) / 48000
    low, high = np.sin(2 * np.pi * 1000 * t), np.sin(2 * np.pi * 10000 * t)
    for name, signal in (("low", low), ("high", high)):
        soundfile.write(tmp_path / f"{name}.wav", 0.5 * np.stack([signal, signal], 1), 48000)
    kept, aliased = read_audio(tmp_path / "low.wav"), read_audio(tmp_path / "high.wav")
    assert kept.shape == (RATE,)
    assert kept.dtype == np.float32
    middle = slice(1000, -1000)
    assert 20 * np.log10(np.std(aliased[middle]) / np.std(kept[middle])) < -40


def test_unreadable_clip_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"no")
    with pytest.raises(AudioFileError, match=r"x\.wav"):
        load(Clip("yes", "a", "training", "real", tmp_path / "x.wav"))


def test_synthetic_folder_takes_the_role_as_split(tmp_path: Path) -> None:
    tone(tmp_path / "sheila" / "slt_nohash_0.wav")
    with (tmp_path / "index.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["file", "word", "engine", "voice", "licence", "role", "from", "to"])
        name = "sheila/slt_nohash_0.wav"
        out.writerow([name, "sheila", "flite", "slt", "BSD", "validation", 1600, 8000])
        out.writerow(["sheila/gone.wav", "sheila", "flite", "slt", "BSD", "training", "", ""])
    corpus = read_synthetic(tmp_path)
    (clip,) = corpus.clips
    assert (clip.split, clip.kind, clip.speaker, clip.engine) == (
        "validation",
        "synthetic",
        "slt",
        "flite",
    )
    assert clip.span == (1600, 8000)
    assert corpus.skipped == 1


def test_any_folder_of_recordings_serves(tmp_path: Path) -> None:
    for name in (
        "Anna 1",
        "anna-2",
        "anna-3",
        "bob (1)",
        "hey_marvin_4",
        "rec-17",
        "0c40e715_nohash_1",
    ):
        tone(tmp_path / "Hey_Marvin" / f"{name}.wav")
    corpus = with_keyword(read_folder(tmp_path), "hey marvin")
    assert corpus.words() == {"hey marvin": 7}
    speakers = [clip.speaker for clip in corpus.clips]
    assert speakers == ["0c40e715", "Anna", "anna", "anna", "bob", "hey_marvin_4", "rec-17"]


def test_few_speakers_are_dealt_out_and_many_are_left_alone() -> None:
    def clips(*splits: Split) -> Corpus:
        return Corpus(
            "few",
            tuple(Clip("a", f"s{n}", s, "real", Path("x")) for n, s in enumerate(splits)),
        )

    alone = deal_out(clips("training", "training", "testing"), "a")
    assert sorted(c.split for c in alone.clips) == ["training", "training", "validation"]
    one = deal_out(clips("validation"), "a")
    assert [c.split for c in one.clips] == ["training"]
    many = clips("training", "validation", "testing")
    assert deal_out(many, "a") == many


def test_own_recordings_train_and_validate(tmp_path: Path) -> None:
    folder = tmp_path / "recordings" / "hey-marvin"
    for n in range(8):
        tone(folder / f"anna_nohash_{n}.wav")
    for given in (folder, folder.parent):
        own = read_samples(given, "hey marvin")
        assert [c.split for c in own.clips] == 2 * [*["training"] * 3, "validation"]
        assert {(c.word, c.speaker) for c in own.clips} == {("hey marvin", "anna")}
    for bad in (tmp_path / "none", tmp_path):
        with pytest.raises(CorpusError, match="make record"):
            read_samples(bad, "hey marvin")
