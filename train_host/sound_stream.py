"""Recordings played one after the other, without end, to be taken in pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from device.audiofile import AudioFile
from device.errors import AudioFileError, CorpusError
from train_host.corpus import Clip, load
from train_host.tape import FRAME, RATE, Samples


def pieces(clip: Clip) -> Iterator[Samples]:
    """A recording in pieces of a second or so, mono, 16 kHz, read as the device reads files."""
    if clip.length is not None:
        yield load(clip)
        return
    with AudioFile(clip.path, RATE, chunk=RATE) as recording:
        yield from recording


def play(clips: Sequence[Clip], warn: Callable[[str], None]) -> Iterator[Samples]:
    """All recordings, one after the other; a warning about each that cannot be read."""
    for clip in clips:
        try:
            yield from pieces(clip)
        except AudioFileError as error:
            warn(f"skipped: {error}")


class SoundStream:
    """Recordings in a random order, again and again."""

    def __init__(
        self, clips: Sequence[Clip], rng: np.random.Generator, warn: Callable[[str], None]
    ) -> None:
        self._clips, self._rng, self._warn = clips, rng, warn
        self._source = self._endless()
        self._rest = np.empty(0, np.float32)

    def take(self, length: int) -> Samples:
        """The next `length` samples. Raises CorpusError when no recording can be read."""
        held, parts = len(self._rest), [self._rest]
        while held < length:
            parts.append(next(self._source))
            held += len(parts[-1])
        whole = np.concatenate(parts)
        self._rest = whole[length:]
        return whole[:length]

    def take_to_pause(self, shortest: int, longest: int) -> Samples:
        """The next samples, cut where they are quietest between two lengths."""
        piece = self.take(longest)
        choice = piece[shortest : shortest + (longest - shortest) // FRAME * FRAME]
        energy = np.square(choice.reshape(-1, FRAME)).sum(axis=1)
        cut = shortest + int(np.argmin(energy)) * FRAME + FRAME // 2
        self._rest = np.concatenate([piece[cut:], self._rest])
        return piece[:cut]

    def _endless(self) -> Iterator[Samples]:
        while True:
            heard = 0
            order = self._rng.permutation(len(self._clips))
            for piece in play([self._clips[i] for i in order], self._warn):
                heard += len(piece)
                yield piece
            if not heard:
                raise CorpusError("none of the recordings can be read; give other folders")
