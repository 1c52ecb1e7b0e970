"""`kws-pi score`: the raw probability of every step of recordings, for evaluation.

Each file starts from the initial state; there is no mute, smoothing or
threshold. Step k covers samples up to step_samples (k + 1). Half a second of
quiet noise follows the recording, so that a late peak is seen; the last step
is filled up with the same noise.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from device.audiofile import AudioFile
from device.errors import AudioFileError
from device.model import Model

TAIL_S = 0.5
TAIL_RMS = 10 ** (-70 / 20)
"""-70 dBFS (3.2e-4 of full scale): the floor of a quiet room. Digital silence would be
a sound that no microphone gives."""
TAIL_SEED = 0


@dataclass(frozen=True)
class Tally:
    """How many files were scored and skipped."""

    scored: int
    skipped: int


def score_file(model: Model, path: Path) -> NDArray[np.float32]:
    """The probabilities of one recording, float32 (steps,).

    Raises AudioFileError.
    """
    # A whole number of steps at a time, so that pieces are seldom joined.
    chunk = 16 * model.manifest.step_samples
    with AudioFile(path, model.manifest.front_end.sample_rate, chunk=chunk) as recording:
        return score_samples(model, recording)


def score_samples(model: Model, pieces: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The probabilities of a recording that comes in pieces, each float32 (any number,)."""
    model.reset()
    return np.fromiter((model.step(step) for step in _steps(model, pieces)), np.float32)


def _steps(model: Model, pieces: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """The recording and the noise after it, cut into whole steps."""
    rate, step = model.manifest.front_end.sample_rate, model.manifest.step_samples
    rest = np.empty(0, np.float32)
    for samples in pieces:
        rest = np.concatenate([rest, samples])
        whole = len(rest) // step * step
        yield from rest[:whole].reshape(-1, step)
        rest = rest[whole:]
    tail = round(TAIL_S * rate)
    tail += -(len(rest) + tail) % step
    noise = np.random.default_rng(TAIL_SEED).standard_normal(tail) * TAIL_RMS
    yield from np.concatenate([rest, noise.astype(np.float32)]).reshape(-1, step)


def score_files(
    model: Model, paths: Sequence[Path], output: Path, warn: Callable[[str], None]
) -> Tally:
    """Writes one array per recording, named by its stem, to an .npz file.

    A recording that cannot be read is skipped with a warning. Raises
    AudioFileError when two recordings share a stem, when none could be read
    (nothing is written then), or when the output cannot be written.
    """
    _check_stems(paths)
    scored = skipped = 0
    try:
        with _replacing(output) as file, zipfile.ZipFile(file, "w") as archive:
            for path in paths:
                try:
                    probabilities = score_file(model, path)
                except AudioFileError as error:
                    warn(f"skipped: {error}")
                    skipped += 1
                    continue
                with archive.open(f"{path.stem}.npy", "w") as member:
                    np.lib.format.write_array(member, probabilities)
                scored += 1
            if not scored:
                raise AudioFileError(
                    f"none of the {len(paths)} recordings could be read; nothing was written"
                )
    except OSError as error:
        raise AudioFileError(
            f"{output}: cannot be written ({error.strerror}); choose another --output"
        ) from error
    return Tally(scored, skipped)


def _check_stems(paths: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for path in paths:
        if path.stem in seen:
            raise AudioFileError(
                f"{seen[path.stem]} and {path} share the name {path.stem!r}, by which their "
                "scores would be stored; score them into two outputs or rename one"
            )
        seen[path.stem] = path


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the name only when it is complete."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as new:
        part = Path(new.name)
        try:
            yield new
            new.flush()
            # Temporary files are private; the result shall be as any other new file.
            mask = os.umask(0)
            os.umask(mask)
            part.chmod(0o666 & ~mask)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
