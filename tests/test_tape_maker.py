"""Tapes of keywords: where they stand, how loud they are, and what is added to them."""

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from device.errors import CorpusError
from train_host import tape_conditions, tape_maker
from train_host.corpus import NOISE, SPEECH, Clip
from train_host.sound_stream import SoundStream
from train_host.tape import RATE, Samples, voiced_power
from train_host.tape_conditions import (
    AFTER_AN_HOUR,
    CONDITIONS,
    NEGATIVES,
    NOISE_DB,
    QUIET,
    backdrop,
    negatives,
    quiet_hour,
    reverberate,
    tapes,
)
from train_host.tape_maker import LEVEL_DB, Take, takes
from train_host.tape_material import Material


def tone(seconds: float, hertz: float, level: float) -> Samples:
    t = np.arange(round(seconds * RATE)) / RATE
    return (level * np.sin(2 * np.pi * hertz * t)).astype(np.float32)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """Two "words" of 0.5 s within clips of 1 s, 60 s of "speech" in syllables, noise."""
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)

    def write(name: str, samples: np.ndarray, word: str, **more) -> Clip:
        path = folder / f"{name}.wav"
        soundfile.write(path, samples, RATE)
        fields = {"split": "validation", "kind": "real", **more}
        return Clip(word=word, speaker=name, path=path, **fields)

    def spoken(hertz: float) -> np.ndarray:
        samples = rng.normal(0, 1e-5, RATE)
        samples[RATE // 4 : 3 * RATE // 4] += tone(0.5, hertz, 0.02)
        return samples

    syllables = tone(60, 200, 0.1) * (np.arange(60 * RATE) % 8000 < 6000)
    room = np.zeros(4000, np.float32)
    room[[0, 3000]] = 0.8, 0.6
    return Material(
        keywords=(
            write("anna", spoken(500), "word"),
            write("voice", spoken(700), "word", kind="synthetic"),
        ),
        speech=(write("speech", syllables, SPEECH),),
        noise=(write("noise", rng.normal(0, 0.03, 20 * RATE), NOISE),),
        rooms=(room,),
        origins={},
    )


@pytest.fixture(scope="module")
def take(material: Material) -> Take:
    (found,) = takes(material.keywords, material.speech, np.random.default_rng(0))
    return found


def test_every_keyword_is_placed_real_ones_first(take: Take) -> None:
    times = tape_maker.MOST_TIMES
    assert [e.kind for e in take.events] == ["real"] * times + ["synthetic"] * times
    starts = [event.start_s for event in take.events]
    assert all(2 < b - a < 10 for a, b in pairwise(starts))
    assert starts == sorted(starts)


def test_of_many_synthetic_clips_every_voice_gives_its_share(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tape_maker, "MOST_SYNTHETIC", 4)
    monkeypatch.setattr(tape_maker, "FEW", 1)
    voice = material.keywords[1]
    clips = [dataclasses.replace(voice, speaker=name) for name in "aaaaaaabc"]
    (take,) = takes(clips, material.speech, np.random.default_rng(0))
    assert sorted(event.speaker for event in take.events) == ["a", "a", "b", "c"]


def test_an_event_is_where_the_word_is_and_ends_with_its_last_voiced_frame(take: Take) -> None:
    for placed in take.placed:
        word = take.words[placed.stretch]
        loud = np.flatnonzero(np.abs(word) > 0.1 * np.abs(word).max()) + placed.stretch.start
        assert abs(loud[0] / RATE - placed.event.start_s) <= 0.02
        assert abs(loud[-1] / RATE - placed.event.end_s) <= 0.021


def test_keywords_stand_in_pauses_at_about_the_level_of_the_speech(take: Take) -> None:
    speech = voiced_power(tone(1, 200, 0.1))
    for placed in take.placed:
        begin, end = placed.at, placed.at + len(placed.voiced) * tape_maker.FRAME
        assert not take.speech[begin:end].any()
        ratio = 10 * np.log10(voiced_power(take.words[begin:end], placed.voiced) / speech)
        assert abs(ratio) <= LEVEL_DB + 0.5
        # The speech around it was cut where it paused.
        before = take.speech[placed.stretch]
        cut = int(np.flatnonzero(before)[-1])
        assert (len(before) - cut) / RATE > 0.05


@pytest.mark.parametrize("snr_db", [20.0, 0.0, -5.0])
def test_the_ratio_is_that_of_the_voiced_part(
    material: Material, take: Take, snr_db: float
) -> None:
    stream = SoundStream(material.noise, np.random.default_rng(0), print)
    sound = backdrop(take, stream, snr_db)
    assert len(sound) == len(take.words)
    for placed in take.placed:
        word = voiced_power(take.words[placed.at :], placed.voiced)
        below = voiced_power(sound[placed.at :], placed.voiced)
        assert 10 * np.log10(word / below) == pytest.approx(snr_db, abs=0.01)


def test_noise_that_pauses_sounds_below_every_word(tmp_path: Path, take: Take) -> None:
    bursts = tone(30, 1000, 0.3) * (np.arange(30 * RATE) % (4 * RATE) < RATE)
    soundfile.write(tmp_path / "bark.wav", bursts, RATE)
    clip = Clip(NOISE, "bark", "validation", "real", tmp_path / "bark.wav")
    sound = backdrop(take, SoundStream([clip], np.random.default_rng(0), print), 10.0)
    for placed in take.placed:
        assert voiced_power(sound[placed.at :], placed.voiced) > 0


def test_silent_noise_is_refused(tmp_path: Path, take: Take) -> None:
    soundfile.write(tmp_path / "none.wav", np.zeros(5 * RATE), RATE)
    clip = Clip(NOISE, "none", "validation", "real", tmp_path / "none.wav")
    with pytest.raises(CorpusError, match="silent"):
        backdrop(take, SoundStream([clip], np.random.default_rng(0), print), 10.0)


def test_a_room_of_one_echo_adds_the_echo(take: Take, material: Material) -> None:
    room = material.rooms[0]
    wet = reverberate(take, [room], np.random.default_rng(0))
    dry = take.speech + take.words
    expected = 0.8 * dry
    expected[3000:] += 0.6 * dry[:-3000]
    np.testing.assert_allclose(wet, expected, atol=1e-5)


def test_every_condition_has_the_same_events_and_length(
    material: Material, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tape_conditions, "HOUR", 20 * RATE)
    found, again = ({tape.name: tape for tape in tapes(material)} for _ in range(2))
    assert list(found) == [NEGATIVES, *CONDITIONS, QUIET]
    clean = found["clean"]
    assert clean.events == take.events
    for name in CONDITIONS:
        tape = found[name]
        late = 20.0 if name == AFTER_AN_HOUR else 0.0
        np.testing.assert_allclose(
            [e.end_s for e in tape.events], [e.end_s + late for e in clean.events]
        )
        assert tape.seconds == pytest.approx(clean.seconds + late)
        np.testing.assert_array_equal(again[name].samples, tape.samples)
    soft = found["gain -20 dB"].samples
    np.testing.assert_allclose(soft, clean.samples / 10, atol=2e-5)
    noises = [found[name].samples - clean.samples for name in NOISE_DB]
    assert [round(10 * np.log10(np.var(noises[0]) / np.var(n)), 1) for n in noises] == [
        0.0,
        -10.0,
        -15.0,
        -20.0,
    ]


def test_negatives_are_the_recordings_as_they_are(material: Material) -> None:
    (tape,) = negatives(material.speech * 2)
    samples, _ = soundfile.read(material.speech[0].path, dtype="float32")
    np.testing.assert_allclose(tape.samples, np.r_[samples, samples], atol=2**-15)
    assert not tape.events


def test_an_unreadable_recording_is_left_out_with_a_warning(
    material: Material, tmp_path: Path
) -> None:
    (tmp_path / "bad.wav").write_bytes(b"RIFF....WAVEjunk")
    bad = Clip(SPEECH, "bad", "validation", "real", tmp_path / "bad.wav")
    warnings: list[str] = []
    (tape,) = negatives([bad, *material.speech], warnings.append)
    assert tape.seconds == 60
    assert len(warnings) == 1
    with pytest.raises(CorpusError, match="running speech"):
        list(negatives([bad], warnings.append))


def test_an_hour_of_noise_is_filled_at_several_gains(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tape_conditions, "HOUR", 240 * RATE)
    tape = quiet_hour(material.noise, np.random.default_rng(0))
    assert tape.seconds == pytest.approx(240, abs=60)
    levels = {
        round(10 * np.log10(np.mean(np.square(tape.samples[at : at + 10 * RATE]))))
        for at in (i * 60 * RATE for i in range(4))
    }
    assert len(levels) == 4


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 50_000), min_size=1, max_size=6), cut=st.booleans())
def test_a_stream_loses_nothing_between_pieces(
    material: Material, sizes: list[int], cut: bool
) -> None:
    stream = SoundStream(material.noise, np.random.default_rng(0), print)
    if cut:
        parts = [stream.take_to_pause(size, size + 3200) for size in sizes]
        assert all(
            size <= len(part) <= size + 3200 for size, part in zip(sizes, parts, strict=True)
        )
    else:
        parts = [stream.take(size) for size in sizes]
        assert [len(part) for part in parts] == sizes
    whole = np.concatenate(parts)
    samples, _ = soundfile.read(material.noise[0].path, dtype="float32")
    np.testing.assert_allclose(whole, np.resize(samples, len(whole)), atol=1e-6)
