"""Scores: the raw probabilities of the whole file, from the initial state."""

import os
from pathlib import Path

import numpy as np
import pytest
from device_kit import LOUD, bursts, write_wav

from device.errors import AudioFileError
from device.model import Model, load_model
from device.score import TAIL_RMS, score_file, score_files


@pytest.fixture
def model() -> Model:
    return load_model(LOUD)


def test_every_step_from_the_initial_state(model: Model, tmp_path: Path) -> None:
    sound = bursts(1.0, (0.3,))[:15000]
    path = write_wav(tmp_path / "a.wav", sound)
    scores = score_file(model, path)
    assert scores.dtype == np.float32
    # 15,000 samples and half a second of noise fill 18 steps, the last in part.
    assert scores.shape == (18,)
    model.reset()
    first = [model.step(s) for s in (sound[:14080] / 32768).astype(np.float32).reshape(-1, 1280)]
    np.testing.assert_array_equal(scores[:11], np.float32(first))
    assert scores.max() > 0.9
    # The same again: nothing of the first file is left in the state.
    np.testing.assert_array_equal(score_file(model, path), scores)


def test_tail_is_quiet_noise(model: Model, tmp_path: Path) -> None:
    seen: list[np.ndarray] = []
    push = model.log_mel.push
    model.log_mel.push = lambda s: seen.append(s.copy()) or push(s)  # type: ignore
    score_file(model, write_wav(tmp_path / "a.wav", np.full(1280, 5000, np.int16)))
    tail = np.concatenate(seen)[1280:]
    assert len(tail) == 7 * 1280
    assert np.sqrt(np.mean(tail**2)) == pytest.approx(TAIL_RMS, rel=0.05)


def test_short_and_48_khz_files(model: Model, tmp_path: Path) -> None:
    assert score_file(model, write_wav(tmp_path / "a.wav", bursts(0.01, ()))).shape == (7,)
    path = write_wav(tmp_path / "b.wav", bursts(1.0, (), 48000), rate=48000)
    assert score_file(model, path).shape == (19,)


def test_archive_names_arrays_by_stem(model: Model, tmp_path: Path) -> None:
    # `file` is also the name of numpy.savez's own parameter.
    paths = [write_wav(tmp_path / f"{n}.wav", bursts(0.5, (0.1,))) for n in ("file", "b.c", "äh")]
    output = tmp_path / "scores.npz"
    tally = score_files(model, paths, output, pytest.fail)
    assert (tally.scored, tally.skipped) == (3, 0)
    with np.load(output, allow_pickle=False) as scores:
        assert sorted(scores) == ["b.c", "file", "äh"]
        np.testing.assert_array_equal(scores["file"], score_file(model, paths[0]))
    mask = os.umask(0o022)
    os.umask(mask)
    assert output.stat().st_mode & 0o777 == 0o666 & ~mask


def test_broken_file_is_skipped_with_a_warning(model: Model, tmp_path: Path) -> None:
    good = write_wav(tmp_path / "good.wav", bursts(0.5, ()))
    bad, empty = tmp_path / "bad.wav", tmp_path / "empty.wav"
    bad.write_bytes(b"RIFF1234WAVEjunk")
    empty.touch()
    warnings: list[str] = []
    tally = score_files(model, [bad, good, empty], tmp_path / "s.npz", warnings.append)
    assert (tally.scored, tally.skipped) == (1, 2)
    assert [str(path) in warning for path, warning in zip([bad, empty], warnings, strict=True)] == [
        True,
        True,
    ]
    with np.load(tmp_path / "s.npz") as scores:
        assert list(scores) == ["good"]


def test_nothing_to_score_leaves_the_old_output(model: Model, tmp_path: Path) -> None:
    (tmp_path / "s.npz").write_text("old")
    with pytest.raises(AudioFileError, match="none of the 1 recordings"):
        score_files(model, [tmp_path / "absent.wav"], tmp_path / "s.npz", lambda text: None)
    assert [path.name for path in tmp_path.iterdir()] == ["s.npz"]
    assert (tmp_path / "s.npz").read_text() == "old"


def test_shared_stem_is_refused(model: Model, tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "x.wav", tmp_path / "b" / "x.wav"]
    with pytest.raises(AudioFileError, match="share the name 'x'"):
        score_files(model, paths, tmp_path / "s.npz", lambda text: None)


def test_output_that_cannot_be_written(model: Model, tmp_path: Path) -> None:
    good = write_wav(tmp_path / "good.wav", bursts(0.1, ()))
    with pytest.raises(AudioFileError, match="cannot be written"):
        score_files(model, [good], tmp_path / "absent" / "s.npz", lambda text: None)
