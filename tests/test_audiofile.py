"""Recordings: every format, and every way to be broken."""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from device_kit import RATE, write_wav

from device.audiofile import AudioFile
from device.errors import AudioFileError

SOUND = (np.sin(np.arange(20000) * 0.05) * 12000).astype(np.int16)


def read(path: Path, **options: object) -> np.ndarray:
    with AudioFile(path, RATE, **options) as recording:  # type: ignore[arg-type]
        return np.concatenate(list(recording))


@pytest.mark.parametrize("chunk", [1, 777, 1280, 100000])
def test_16_bit_wav(tmp_path: Path, chunk: int) -> None:
    path = write_wav(tmp_path / "a.wav", SOUND[:3000])
    np.testing.assert_array_equal(read(path, chunk=chunk) * 32768, SOUND[:3000])


def wav_bytes(data: bytes, kind: int, bits: int, rate: int = RATE, channels: int = 1) -> bytes:
    width = bits // 8 * channels
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * width, width, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form
    body += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("bits", [8, 24, 32])
def test_other_sample_widths(tmp_path: Path, bits: int) -> None:
    coarse = (SOUND // 256).astype(np.int16)  # 8 bits, so that every width holds them exactly
    wide = {
        8: (coarse + 128).astype(np.uint8).tobytes(),
        24: (coarse.astype("<i4") << 16).view(np.uint8).reshape(-1, 4)[:, :3].tobytes(),
        32: (coarse.astype("<i4") << 24).tobytes(),
    }[bits]
    (tmp_path / "a.wav").write_bytes(wav_bytes(wide, 1, bits))
    np.testing.assert_array_equal(read(tmp_path / "a.wav") * 128, coarse)


def test_channels_are_mixed_down(tmp_path: Path) -> None:
    stereo = np.stack([SOUND, np.zeros_like(SOUND)], axis=1)
    path = write_wav(tmp_path / "a.wav", stereo, channels=2)
    np.testing.assert_array_equal(read(path) * 65536, SOUND)


def test_10_khz_at_48_khz_does_not_alias(tmp_path: Path) -> None:
    time = np.arange(48000) / 48000
    path = write_wav(
        tmp_path / "a.wav", (np.sin(2e4 * np.pi * time) * 32000).astype(np.int16), rate=48000
    )
    heard = read(path)
    assert len(heard) == 16000
    level = 20 * np.log10(np.sqrt(np.mean(heard[800:-800] ** 2)) / (32000 / 32768 / np.sqrt(2)))
    assert level < -40


def test_raw_pcm(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(SOUND.astype("<i2").tobytes())
    np.testing.assert_array_equal(read(path) * 32768, SOUND)
    stereo = tmp_path / "b.bin"
    stereo.write_bytes(np.repeat(SOUND.astype("<i4") << 16, 2).tobytes())
    heard = read(stereo, sample_format="S32_LE", channels=2, rate=RATE)
    np.testing.assert_array_equal(heard * 32768, SOUND)
    assert len(read(path, rate=48000)) == -(-len(SOUND) // 3)


def test_header_wins_and_must_not_be_contradicted(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", SOUND)
    agreeing = read(path, sample_format="S16_LE", rate=RATE, channels=1)
    np.testing.assert_array_equal(agreeing * 32768, SOUND)
    with pytest.raises(AudioFileError, match="header says 16000 where --rate says 44100"):
        read(path, rate=44100)
    with pytest.raises(AudioFileError, match="header says S16_LE where --format says U8"):
        read(path, sample_format="U8")


def test_soundfile_reads_other_formats(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    sound = SOUND.astype(np.float32) / 32768
    soundfile.write(tmp_path / "a.flac", sound, RATE, subtype="PCM_16")
    np.testing.assert_array_equal(read(tmp_path / "a.flac"), sound)
    # Float WAV is more than the standard library reads.
    soundfile.write(tmp_path / "b.wav", np.append(sound, np.nan), RATE, subtype="FLOAT")
    np.testing.assert_array_equal(read(tmp_path / "b.wav"), np.append(sound, np.float32(0)))


def test_without_soundfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    (tmp_path / "a.ogg").write_bytes(b"OggS and so on")
    with pytest.raises(AudioFileError, match="convert it to WAV"):
        read(tmp_path / "a.ogg")


GOOD = wav_bytes(SOUND.astype("<i2").tobytes(), 1, 16)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (GOOD[:3], "not a"),
        (GOOD[:20], "corrupt WAV"),
        (GOOD[:44], "cut short"),
        (GOOD[:-5000], "cut short"),
        (wav_bytes(b"", 1, 16), "no samples"),
        (wav_bytes(b"1234", 1, 16, channels=0), "corrupt WAV"),
        (wav_bytes(b"1234", 1, 16, rate=0), "0 Hz is not audio"),
        (wav_bytes(b"12345678", 1, 64), "64-bit"),
        (b"RIFF\xff\xff\xff\xffWAVE" + bytes(range(256)), "corrupt WAV"),
        (bytes(range(256)) * 10, "not a"),
    ],
)
def test_broken_files_end_in_one_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "broken.wav"
    path.write_bytes(content)
    with pytest.raises(AudioFileError, match=sentence) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="cannot be read"):
        read(tmp_path / "absent.wav")


def test_length_unknown_to_the_program_that_wrote_it(tmp_path: Path) -> None:
    # What arecord and sox write into a pipe: the largest length there is.
    piped = bytearray(GOOD)
    piped[4:8] = piped[40:44] = struct.pack("<I", 0x7FFFFFFE)
    (tmp_path / "a.wav").write_bytes(piped)
    np.testing.assert_array_equal(read(tmp_path / "a.wav") * 32768, SOUND)
