"""The microphone: the real ALSA library reading devices made from files.

What only a kernel driver does (overruns, a device that vanishes) is played by
a stand-in for the PCM.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from device_kit import RATE, ROOT, alsa_environment, bursts, fake_microphone, python

from device import microphone
from device.errors import (
    MicrophoneAbsent,
    MicrophoneBusy,
    MicrophoneError,
    MicrophoneStalled,
    MicrophoneSuspended,
    SetupError,
)
from device.microphone import Microphone, native_rate

try:
    import alsaaudio  # noqa: F401
except ImportError:
    real_alsa = pytest.mark.skip("pyalsaaudio is not installed")
else:
    real_alsa = pytest.mark.skipif(
        not Path("/usr/share/alsa/alsa.conf").exists(), reason="ALSA's configuration is missing"
    )

READ = """
import numpy as np
from device import microphone
from device.microphone import Microphone
{before}
m = Microphone({device!r}, **{options!r})
parts, got = [], 0
while got < {count}:
    block = m.read(1.0)
    assert not block.after_gap
    parts.append(block.samples)
    got += len(block.samples)
assert m.close() and m.overruns == 0
np.save({output!r}, np.concatenate(parts)[:{count}])
print(m.rate, m.channels)
"""


def record(
    folder: Path,
    environment: dict[str, str],
    device: str,
    count: int,
    before: str = "",
    **options: object,
) -> tuple[str, np.ndarray]:
    output = str(folder / "heard.npy")
    code = READ.format(device=device, options=options, count=count, output=output, before=before)
    run = python(code, environment)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return run.stdout.strip(), np.load(output)


@real_alsa
@pytest.mark.parametrize("chunk", [None, 333])
def test_samples_arrive_bit_by_bit(tmp_path: Path, chunk: int | None) -> None:
    sound = bursts(8.0, (1.0, 5.0))
    sound.tofile(tmp_path / "x.raw")
    environment = alsa_environment(tmp_path, fake_microphone(tmp_path / "x.raw"))
    said, heard = record(tmp_path, environment, "fake", len(sound), chunk=chunk)
    assert said == "16000 1"
    np.testing.assert_array_equal(heard * 32768, sound)


@real_alsa
def test_formats_and_channels_as_asked(tmp_path: Path) -> None:
    sound = bursts(2.0, (1.0,))
    np.repeat(sound.astype("<i4") << 16, 2).tofile(tmp_path / "x.raw")
    environment = alsa_environment(tmp_path, fake_microphone(tmp_path / "x.raw"))
    said, heard = record(
        tmp_path, environment, "fake", len(sound), sample_format="S32_LE", channels=2
    )
    assert said == "16000 2"
    np.testing.assert_array_equal(heard * 32768, sound)


CARD_AT_48_KHZ = """
pcm.!plughw {{
    @args [ CARD DEV ]
    @args.CARD {{ type string }}
    @args.DEV {{ type integer }}
    type file
    slave.pcm "null"
    file "/dev/null"
    infile "{sound}"
    format "raw"
}}
"""


@real_alsa
def test_48_khz_card_does_not_alias(tmp_path: Path) -> None:
    time_s = np.arange(4 * 48000) / 48000
    quiet = np.sin(2 * np.pi * 1000 * time_s)
    loud = np.sin(2 * np.pi * 10000 * time_s)
    for name, sound in (("1k", quiet), ("10k", loud)):
        (sound * 30000).astype("<i2").tofile(tmp_path / f"{name}.raw")
        environment = alsa_environment(
            tmp_path, CARD_AT_48_KHZ.format(sound=tmp_path / f"{name}.raw")
        )
        # A device made from a file takes any rate; hardware that takes 48 kHz alone
        # is played, so that 48 kHz must be asked of the plughw: device.
        only_48 = "microphone.device_rates = lambda device: 48000"
        said, heard = record(tmp_path, environment, "plughw:CARD=Mic,DEV=0", 48000, only_48)
        assert said == "48000 1"
        level = 20 * np.log10(np.sqrt(2 * np.mean(heard[1600:] ** 2)) / (30000 / 32768))
        assert level == pytest.approx(0, abs=0.05) if name == "1k" else level < -60


ATTEMPT = """
import os
from device import errors
from device.microphone import Microphone
for device in {devices!r}:
    try:
        kept = Microphone(device)
        print("open", flush=True)
    except errors.MicrophoneError as error:
        print(type(error).__name__, str(error).count(chr(10)), error, flush=True)
os._exit(0)  # ALSA's share plugin, the only one that is ever busy, breaks memory when closed
"""


@real_alsa
def test_absent_and_busy_devices(tmp_path: Path) -> None:
    once = (
        'pcm.once { type share; slave { pcm "null"; rate 16000; channels 1; format S16_LE }; '
        "bindings.0 0 }\n" + fake_microphone(tmp_path / "nofile.raw")
    )
    environment = alsa_environment(tmp_path, once)
    devices = ["plughw:CARD=Nope,DEV=0", "nosuchname", "fake", "once", "once"]
    code = (
        ATTEMPT.format(devices=devices)
        .replace("Microphone(device)", "_open(device)")
        .replace("import Microphone", "import _open")
    )
    run = python(code, environment)
    assert run.returncode == 0, run.stderr
    # ALSA's own complaints are kept off the terminal.
    assert run.stderr == ""
    kinds = [line.split()[:2] for line in run.stdout.splitlines()]
    assert kinds == [["MicrophoneAbsent", "0"]] * 3 + [["open"], ["MicrophoneBusy", "0"]]


FROM_FIFO = """
import os, time
from device.errors import MicrophoneStalled
from device.microphone import Microphone
keep = os.open({fifo!r}, os.O_RDWR)
os.write(keep, bytes(32000))
m = Microphone("fake", deadline_s={deadline_s})
heard = 0
while heard < 15360:
    heard += len(m.read(1.0).samples)
"""
"""A microphone that delivers what is written into a FIFO, after its first second."""

STALL = """
started = time.monotonic()
try:
    while True:
        m.read(0.05)
except MicrophoneStalled as error:
    print("stalled", 0.2 < time.monotonic() - started < 1.0)
print("closed", m.close())
os.write(keep, bytes(32000))
print("closed", m.close())
"""


@real_alsa
def test_stalled_stream_and_a_driver_that_does_not_return(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.fifo")
    environment = alsa_environment(tmp_path, fake_microphone(tmp_path / "x.fifo"))
    code = FROM_FIFO.format(fifo=str(tmp_path / "x.fifo"), deadline_s=0.3) + STALL
    run = python(code, environment)
    assert run.stdout.splitlines() == ["stalled True", "closed False", "closed True"], run.stderr


HELD_UP = """
print("ready", flush=True)
m.read(0.3)
os.write(keep, bytes(32000))
print("heard", len(m.read(1.0).samples), flush=True)
os._exit(0)
"""


@real_alsa
def test_a_program_that_was_held_up_does_not_call_the_microphone_stalled(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.fifo")
    environment = alsa_environment(tmp_path, fake_microphone(tmp_path / "x.fifo"))
    code = FROM_FIFO.format(fifo=str(tmp_path / "x.fifo"), deadline_s=0.5) + HELD_UP
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        program.send_signal(signal.SIGSTOP)
        time.sleep(1.0)
        program.send_signal(signal.SIGCONT)
        assert program.stdout.readline() == "heard 1280\n"


@real_alsa
def test_no_card_at_all() -> None:
    if Path("/proc/asound/cards").exists():
        pytest.skip("this machine has sound cards")
    with pytest.raises(MicrophoneAbsent, match="no microphone found"):
        Microphone("")


# Devices that take nothing but two channels, or nothing but 44.1 kHz, as hardware does.
FIXED = """
pcm.stereo {{ type multi; slaves.a {{ pcm "fake"; channels 2 }}
  bindings.0 {{ slave a; channel 0 }}; bindings.1 {{ slave a; channel 1 }} }}
pcm.cd {{ type share; slave {{ pcm "fake"; rate 44100; channels 1; format S16_LE }}; bindings.0 0 }}
pcm.phone {{ type share; slave {{ pcm "fake"; rate 4000; channels 1; format S16_LE }}
  bindings.0 0 }}
{fake}
"""

LISTEN = """
import os
from device import microphone
from device.errors import MicrophoneError
from device.microphone import Microphone

class Unclosed:
    # ALSA's share plugin breaks memory when closed.
    def __init__(self, pcm):
        self.pcm = pcm
        opened.append(pcm)

    def __getattr__(self, name):
        return getattr(self.pcm, name)

    def close(self):
        pass

opened = []
really_open = microphone._open
microphone._open = lambda *arguments: Unclosed(really_open(*arguments))
Microphone._capture = lambda self: None  # the share plugin cannot be read, only opened
try:
    m = Microphone({device!r})
    print(m.rate, m.channels, flush=True)
except MicrophoneError as error:
    print(error, flush=True)
os._exit(0)  # nor is anything closed on the way out
"""


@real_alsa
@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("stereo", "16000 2"),
        ("cd", "44100 1"),
        (
            "phone",
            "phone gives 4000 samples a second, too few to understand speech; choose a "
            "device that takes 8000 Hz or more",
        ),
    ],
)
def test_what_the_device_gives_instead_is_taken_or_refused(
    tmp_path: Path, device: str, said: str
) -> None:
    bursts(2.0, (1.0,)).tofile(tmp_path / "x.raw")
    pcms = FIXED.format(fake=fake_microphone(tmp_path / "x.raw"))
    run = python(LISTEN.format(device=device), alsa_environment(tmp_path, pcms))
    assert run.stdout.strip() == said, run.stderr
    assert run.stderr == ""


class AlsaError(Exception):
    pass


class ScriptedPcm:
    """A PCM that returns what a test lists; when the list is used up it has no more samples."""

    def __init__(self, results: list[object]) -> None:
        self._results = results
        self._ready, self._never_written = os.pipe()
        self.closed = threading.Event()

    def info(self) -> dict[str, object]:
        return {
            "format_name": "S16_LE",
            "channels": 1,
            "rate": RATE,
            "period_size": 320,
            "buffer_size": 3200,
        }

    def polldescriptors(self) -> list[tuple[int, int]]:
        return [(self._ready, 1)]

    def read(self) -> tuple[int, bytes]:
        result = self._results.pop(0) if self._results else 0
        if isinstance(result, Exception):
            raise result
        if callable(result):
            result = result()
        assert isinstance(result, int)
        return result, b"\x00\x10" * max(result, 0)

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """The results that the next microphone's device will return."""
    results: list[object] = []
    pcm = ScriptedPcm(results)
    module = SimpleNamespace(
        ALSAAudioError=AlsaError,
        PCM=lambda *arguments, **options: pcm,
        PCM_CAPTURE=0,
        PCM_NONBLOCK=1,
        PCM_FORMAT_S16_LE=2,
    )
    monkeypatch.setattr(microphone, "alsa", lambda: module)
    yield results
    assert pcm.closed.wait(2.0), "the device was left open"


def test_overrun_as_pyalsaaudio_011_tells_it(script: list[object]) -> None:
    script += [320] * 8 + [-32] + [320] * 4
    mic = Microphone("card")
    first, second = mic.read(1.0), mic.read(1.0)
    assert first is not None and second is not None
    assert (len(first.samples), first.after_gap) == (1280, False)
    assert (len(second.samples), second.after_gap) == (1280, False)
    third = mic.read(1.0)
    assert third is not None
    assert (len(third.samples), third.after_gap) == (1280, True)
    assert mic.overruns == 1
    assert mic.close()


def test_overrun_that_pyalsaaudio_010_hides(script: list[object]) -> None:
    def late() -> int:
        time.sleep(0.3)
        return 0

    # Half a second's silence of a device that is not read, and no error.
    script += [320] * 4 + [0, late] + [320] * 4
    mic = Microphone("card")
    first, second = mic.read(1.0), mic.read(1.0)
    assert first is not None and second is not None
    assert (first.after_gap, second.after_gap) == (False, True)
    assert mic.overruns == 1
    assert mic.close()


def test_what_was_lost_while_the_machine_slept_is_a_gap(
    script: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept = 0.0

    def sleep() -> int:
        # Suspended for an hour; the driver goes on afterwards as if nothing had been.
        nonlocal slept
        slept = 3600.0
        return 0

    class Time(SimpleNamespace):
        CLOCK_BOOTTIME = time.CLOCK_BOOTTIME
        monotonic = staticmethod(time.monotonic)

        def clock_gettime(self, clock: int) -> float:
            assert clock == time.CLOCK_BOOTTIME
            return time.clock_gettime(clock) + slept

    monkeypatch.setattr(microphone, "time", Time())
    script += [320] * 4 + [0, sleep] + [320] * 4
    mic = Microphone("card")
    first, second = mic.read(1.0), mic.read(1.0)
    assert first is not None and second is not None
    assert (first.after_gap, second.after_gap) == (False, True)
    assert mic.close()


def test_a_reader_that_comes_late_hears_the_newest(
    script: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(microphone, "LATE_S", 0.2)
    woken = threading.Event()

    def wait() -> int:
        woken.wait(5.0)
        return 320

    script += [320] * 12 + [wait] + [320] * 3
    mic = Microphone("card", deadline_s=10.0)
    assert mic.read(1.0) is not None
    time.sleep(0.3)
    assert mic.read(1.0) is None
    assert mic.late == 1
    woken.set()
    block = mic.read(1.0)
    assert block is not None
    assert (len(block.samples), block.after_gap) == (1280, True)
    assert mic.close()


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (AlsaError("No such device [card]"), MicrophoneAbsent, "no sound device 'card'"),
        (AlsaError("Streams pipe error [card]"), MicrophoneSuspended, "'card' was suspended"),
        (AlsaError("File descriptor in bad state [card]"), MicrophoneError, "in bad state"),
        (ValueError("surprise"), MicrophoneError, "surprise"),
    ],
)
def test_the_threads_error_reaches_the_reader(
    script: list[object], error: Exception, kind: type, words: str
) -> None:
    script += [320, error]
    mic = Microphone("card")
    block = mic.read(1.0)
    assert block is not None
    assert len(block.samples) == 320
    with pytest.raises(kind, match=words):
        mic.read(1.0)
    assert mic.close()


def test_silent_stream_misses_its_deadline(script: list[object]) -> None:
    script += [320] * 4
    mic = Microphone("card", deadline_s=0.2)
    assert mic.read(1.0) is not None
    assert mic.read(0.05) is None
    with pytest.raises(MicrophoneStalled, match="card is open but has delivered no sound"):
        mic.read(0.3)
    # The driver returns, so the device can be closed.
    assert mic.close()


def test_format_that_is_not_read(script: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        ScriptedPcm, "info", lambda self: {**_INFO, "format_name": "MU_LAW"}, raising=True
    )
    with pytest.raises(MicrophoneError, match="MU_LAW"):
        Microphone("card")


_INFO = {"channels": 1, "rate": RATE, "period_size": 320, "buffer_size": 3200}


def test_missing_pyalsaaudio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "alsaaudio", None)
    with pytest.raises(SetupError, match="python3-alsaaudio"):
        Microphone("card")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Device or resource busy [x]", MicrophoneBusy),
        ("No such file or directory [x]", MicrophoneAbsent),
        ("Permission denied [x]", MicrophoneError),
        ("Invalid argument [x]", MicrophoneError),
    ],
)
def test_errors_by_name(text: str, kind: type) -> None:
    assert type(microphone._named(Exception(text), "x")) is kind


@pytest.mark.parametrize(
    ("rates", "rate"),
    [
        (16000, 16000),
        (48000, 48000),
        ((8000, 48000), 16000),
        ((44100, 192000), 48000),
        ((44100, 45000), 44100),
        ((8000, 11025), 11025),
        ([8000, 16000, 48000], 16000),
        ([44100, 48000, 96000], 48000),
        ([44100, 88200], 44100),
        ([8000, 11025], 11025),
    ],
)
def test_native_rate(rates: microphone.Rates, rate: int) -> None:
    assert native_rate(rates, 16000) == rate
