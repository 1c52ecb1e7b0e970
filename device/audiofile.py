"""Recordings as a stream of samples: WAV, raw PCM, and what soundfile reads where it is present.

A recording is read in chunks, mixed down to mono and brought to the model's
sample rate on the way.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import stat
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from device.errors import AudioFileError
from device.formats import FORMATS
from device.pcm import decode, mix_down, tame
from device.resample import Resampler

Samples = NDArray[np.float32]

RATES = range(1000, 768001)
_WAV_FORMATS = {1: "U8", 2: "S16_LE", 3: "S24_3LE", 4: "S32_LE"}
_RAW_SUFFIXES = (".raw", ".pcm")
# Programs that write to a pipe cannot go back and fill in the length.
_LENGTH_UNKNOWN = 0x7FFF_0000


class AudioFile:
    """One recording, opened. Iterating gives mono float32 chunks at `sample_rate`.

    Raises AudioFileError, when opened or while it is read, when the file is
    absent, empty, cut short or not a recording.
    """

    def __init__(
        self,
        path: Path,
        sample_rate: int,
        chunk: int = 1280,
        sample_format: str | None = None,
        rate: int | None = None,
        channels: int | None = None,
    ) -> None:
        """`chunk`: frames of the file to read at a time.

        `sample_format`, `rate` and `channels` describe raw PCM (default
        S16_LE, the model's rate, 1). A file with a header speaks for itself;
        they may be given then, but must agree with it.
        """
        self.path = path
        self._chunk = chunk
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(path.open("rb"))
                start = file.peek(12)[:12]
            except OSError as error:
                raise AudioFileError(
                    f"{path}: cannot be read ({error.strerror}); give the path of a recording"
                ) from error
            if not start:
                raise AudioFileError(f"{path}: the file is empty; record it again")
            raw = sample_format is not None or path.suffix.lower() in _RAW_SUFFIXES
            chunks: Iterator[Samples] | None = None
            if start[:4] == b"RIFF" and start[8:12] == b"WAVE":
                with contextlib.suppress(_NotPcmError):
                    wav = _open_wav(path, file)
                    found = (_WAV_FORMATS[wav.getsampwidth()], wav.getframerate())
                    self._set(*found, wav.getnchannels(), sample_format, rate, channels)
                    chunks = self._wav_chunks(wav)
            elif raw:
                self._set(
                    sample_format or "S16_LE",
                    sample_rate if rate is None else rate,
                    1 if channels is None else channels,
                )
                chunks = self._raw_chunks(file)
            if chunks is None:
                sound = stack.enter_context(_open_soundfile(path))
                self._set(None, sound.samplerate, sound.channels, None, rate, channels)
                chunks = self._soundfile_chunks(sound)
            self._chunks = chunks
            self._resampler = Resampler(self.rate, sample_rate)
            self._stack = stack.pop_all()

    def __enter__(self) -> AudioFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[Samples]:
        frames = 0
        for samples in self._chunks:
            frames += len(samples)
            converted = self._resampler.push(samples)
            if len(converted):
                yield converted
        if not frames:
            raise AudioFileError(f"{self.path}: holds no samples; record it again")
        rest = self._resampler.flush()
        if len(rest):
            yield rest

    def _set(
        self,
        found_format: str | None,
        found_rate: int,
        found_channels: int,
        sample_format: str | None = None,
        rate: int | None = None,
        channels: int | None = None,
    ) -> None:
        for option, said, found in (
            ("--format", sample_format, found_format),
            ("--rate", rate, found_rate),
            ("--channels", channels, found_channels),
        ):
            if said is not None and said != found:
                raise AudioFileError(
                    f"{self.path}: its header says {found} where {option} says {said}; "
                    f"leave {option} out"
                )
        if found_rate not in RATES:
            raise AudioFileError(
                f"{self.path}: a rate of {found_rate} Hz is not audio; "
                f"convert it to one between {RATES[0]} and {RATES[-1]} Hz"
            )
        self.sample_format, self.rate, self.channels = found_format, found_rate, found_channels

    def _wav_chunks(self, wav: wave.Wave_read) -> Iterator[Samples]:
        sample_format = _WAV_FORMATS[wav.getsampwidth()]
        while True:
            try:
                data = wav.readframes(self._chunk)
            except (OSError, EOFError, wave.Error, RuntimeError) as error:
                raise AudioFileError(f"{self.path}: cannot be read to its end ({error})") from error
            if not data:
                return
            yield decode(data, sample_format, self.channels)

    def _raw_chunks(self, file: BinaryIO) -> Iterator[Samples]:
        assert self.sample_format is not None
        size = self._chunk * FORMATS[self.sample_format] * self.channels
        while True:
            try:
                data = file.read(size)
            except OSError as error:
                raise AudioFileError(
                    f"{self.path}: cannot be read to its end ({error.strerror})"
                ) from error
            if not data:
                return
            yield decode(data, self.sample_format, self.channels)

    def _soundfile_chunks(self, sound: Any) -> Iterator[Samples]:
        while True:
            try:
                frames = sound.read(self._chunk, dtype="float32", always_2d=True)
            except RuntimeError as error:
                raise AudioFileError(f"{self.path}: cannot be read to its end ({error})") from error
            if not len(frames):
                return
            yield mix_down(tame(frames))


class _NotPcmError(Exception):
    """A WAV file whose samples the standard library does not read."""


def _open_wav(path: Path, file: BinaryIO) -> wave.Wave_read:
    try:
        wav = wave.Wave_read(file)
    except wave.Error as error:
        if "unknown format" in str(error):
            raise _NotPcmError from error
        raise AudioFileError(f"{path}: a corrupt WAV file ({error}); record it again") from error
    except (EOFError, OSError, RuntimeError, ArithmeticError, ValueError, MemoryError) as error:
        raise AudioFileError(
            f"{path}: a corrupt WAV file (its header is cut short); record it again"
        ) from error
    if wav.getsampwidth() not in _WAV_FORMATS:
        raise AudioFileError(
            f"{path}: {8 * wav.getsampwidth()}-bit samples; convert it to 16-bit PCM"
        )
    if not wav.getnframes():
        raise AudioFileError(f"{path}: holds no samples; record it again")
    status = os.fstat(file.fileno())
    length = wav.getnframes() * wav.getsampwidth() * wav.getnchannels()
    if stat.S_ISREG(status.st_mode) and status.st_size < length < _LENGTH_UNKNOWN:
        raise AudioFileError(
            f"{path}: cut short (its header promises {length} bytes of samples, the file has "
            f"{status.st_size}); copy or record it again"
        )
    return wav


def _open_soundfile(path: Path) -> Any:
    try:
        soundfile = importlib.import_module("soundfile")
    except (ImportError, OSError) as error:
        raise AudioFileError(
            f"{path}: not a PCM WAV file; convert it to WAV, install the Python package "
            "soundfile, or describe raw PCM with --format"
        ) from error
    try:
        return soundfile.SoundFile(str(path))
    except (RuntimeError, OSError, TypeError) as error:
        raise AudioFileError(
            f"{path}: not a recording that can be read ({str(error).rstrip('.')}); "
            "convert it to 16-bit WAV"
        ) from error
