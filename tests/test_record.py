"""Recording: what is kept, what is asked for again, and the real ALSA library."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from device_kit import alsa_environment, fake_microphone, python
from hypothesis import given, settings
from hypothesis import strategies as st

from device.errors import SetupError
from train_host import record as module
from train_host.record import RATE, TAKE_S, cut, first_free, main, speaker

try:
    import alsaaudio  # noqa: F401
except ImportError:
    real_alsa = pytest.mark.skip("pyalsaaudio is not installed")
else:
    real_alsa = pytest.mark.skipif(
        not Path("/usr/share/alsa/alsa.conf").exists(), reason="ALSA's configuration is missing"
    )


def heard(at: float = 1.0, seconds: float = 0.6, level: float = 0.2, noise: float = 1e-3):
    """A take: noise, and a louder noise that comes and goes as a word does."""
    rng = np.random.default_rng(0)
    sound = noise * rng.standard_normal(round(TAKE_S * RATE))
    begin, count = round(at * RATE), round(seconds * RATE)
    word = level * np.hanning(count) ** 0.3 * rng.standard_normal(count)
    sound[begin : begin + count] += word[: len(sound) - begin]
    return sound.clip(-1, 1).astype(np.float32)


@settings(deadline=None)
@given(st.floats(0.05, 2.2), st.floats(0.25, 0.7), st.floats(0.03, 0.2))
def test_what_is_kept_is_the_word_and_a_little_around_it(
    at: float, seconds: float, level: float
) -> None:
    take = heard(at, seconds, level)
    speech, wrong = cut(take)
    assert speech is not None, wrong
    assert seconds - 0.05 < len(speech) / RATE < seconds + 0.5
    assert np.square(speech).sum() > 0.97 * np.square(take).sum()


@pytest.mark.parametrize(
    ("take", "words"),
    [
        (np.zeros(RATE, np.float32), "muted"),
        (heard(level=0.0), "no speech"),
        (heard(level=0.002, noise=1e-4), "too quiet"),
        (heard(level=0.9), "clipped"),
        (heard(seconds=0.1), "too short"),
        (heard(at=0.0), "cut off"),
        (heard(at=2.7), "cut off"),
    ],
)
def test_what_is_wrong_is_said(take: np.ndarray, words: str) -> None:
    speech, wrong = cut(take)
    assert speech is None
    assert words in wrong


def test_names_and_numbers(tmp_path: Path) -> None:
    assert first_free(tmp_path, "anna") == 0
    for name in ("anna_nohash_0.wav", "anna_nohash_9.wav", "bob_nohash_30.wav"):
        (tmp_path / name).touch()
    assert first_free(tmp_path, "anna") == 10
    assert speaker("Anna K.") == "anna-k"
    assert speaker("Ольга").startswith("speaker-")


def test_without_alsa_one_sentence_says_what_to_do(monkeypatch, tmp_path, capsys) -> None:
    def absent():
        raise SetupError("no alsaaudio")

    monkeypatch.setattr(module, "alsa", absent)
    assert main(["--keyword", "hey marvin", "--output", str(tmp_path / "x")]) == 1
    assert "libasound2-dev" in capsys.readouterr().out
    assert not (tmp_path / "x").exists()
    assert main(["--keyword", "!", "--output", str(tmp_path / "x")]) == 1


CALL = "import sys; from train_host.record import main; sys.exit(main({arguments!r}))"


@real_alsa
def test_samples_come_from_a_real_alsa_device(tmp_path: Path) -> None:
    pause = np.zeros(round(module.PAUSE_S * RATE) // 1280 * 1280 + 1280, np.float32)
    take = round(TAKE_S * RATE / 1280 + 0.49) * 1280
    parts = [heard(), heard(level=0.0), heard(level=0.9), heard(seconds=0.5)]
    sound = np.concatenate([np.r_[np.resize(p, take), pause] for p in parts])
    (sound * 32767).astype("<i2").tofile(tmp_path / "x.raw")
    environment = alsa_environment(tmp_path, fake_microphone(tmp_path / "x.raw"))
    folder = tmp_path / "recordings" / "hey-marvin"
    arguments = ["--keyword", "Hey Marvin", "--samples", "2", "--who", "Anna", "--device", "fake"]
    run = python(CALL.format(arguments=[*arguments, "--output", str(folder)]), environment)
    assert run.returncode == 0, run.stderr + run.stdout
    assert "no speech" in run.stdout and "clipped" in run.stdout
    assert sorted(p.name for p in folder.iterdir()) == ["anna_nohash_0.wav", "anna_nohash_1.wav"]
    for path, seconds in zip(sorted(folder.iterdir()), (0.6, 0.5), strict=True):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (RATE, 1, "PCM_16")
        assert info.duration == pytest.approx(seconds + 0.4, abs=0.06)


@real_alsa
def test_silence_ends_after_a_few_tries_and_an_absent_microphone_at_once(tmp_path: Path) -> None:
    np.zeros(RATE, "<i2").tofile(tmp_path / "x.raw")
    environment = alsa_environment(tmp_path, fake_microphone(tmp_path / "x.raw"))
    for device, words in (("fake", "samples in a row"), ("none", "no sound device 'none'")):
        arguments = ["--keyword", "yes", "--device", device, "--output", str(tmp_path / "out")]
        run = python(CALL.format(arguments=arguments), environment)
        assert run.returncode == 1
        assert words in run.stdout
        assert "Traceback" not in run.stderr
