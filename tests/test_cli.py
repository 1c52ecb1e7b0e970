"""The command line as a user calls it."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from device_kit import (
    LOUD,
    ROOT,
    alsa_environment,
    bursts,
    fake_microphone,
    kws_pi,
    loud_spotter,
    write_wav,
)

from device import __version__


def test_help_and_version() -> None:
    assert kws_pi("--version").stdout == f"kws-pi {__version__}\n"
    said = kws_pi("--help").stdout
    for command in ("run", "listen", "score", "devices"):
        assert command in said
        assert kws_pi(command, "--help").returncode == 0


def detections(*arguments: str | Path) -> list[dict[str, object]]:
    run = kws_pi("listen", *arguments, "--json", "--model", LOUD)
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_listen_to_a_file(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", bursts(8.0, (2.0, 5.0)))
    found = detections(path)
    assert [list(hit) for hit in found] == [["keyword", "time_s", "probability", "latency_ms"]] * 2
    expected = loud_spotter().push(bursts(8.0, (2.0, 5.0)).astype(np.float32) / 32768, 0.0)
    for hit, own in zip(found, expected, strict=True):
        assert hit["keyword"] == "loud"
        assert hit["time_s"] == pytest.approx(own.time_s, abs=1e-3)
        assert hit["probability"] == pytest.approx(own.probability, abs=1e-4)
        assert 0 < float(str(hit["latency_ms"])) < 1000


@pytest.mark.parametrize("chunk", ["1", "997", "60000"])
def test_chunks_do_not_change_the_result(tmp_path: Path, chunk: str) -> None:
    path = write_wav(tmp_path / "a.wav", bursts(3.0, (1.0,)))
    timeless = [
        [{**hit, "latency_ms": 0} for hit in found]
        for found in (detections(path), detections(path, "--chunk", chunk))
    ]
    assert len(timeless[0]) == 1
    assert timeless[0] == timeless[1]


def test_listen_to_raw_pcm(tmp_path: Path) -> None:
    stereo = np.repeat(bursts(4.0, (2.0,), 48000), 2)
    (tmp_path / "a.raw").write_bytes(stereo.astype("<i2").tobytes())
    found = detections(
        tmp_path / "a.raw", "--format", "S16_LE", "--rate", "48000", "--channels", "2"
    )
    assert [2.0 < float(str(hit["time_s"])) < 2.5 for hit in found] == [True]


def test_listen_says_it_in_words(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", bursts(3.0, (1.0,)))
    run = kws_pi("listen", path, "--model", LOUD)
    assert "1.28 s  loud  probability 0." in run.stdout
    assert run.stderr == "kws-pi: 3.0 s of audio, 1 detections\n"


def test_listen_to_an_alsa_device(tmp_path: Path) -> None:
    pytest.importorskip("alsaaudio")
    bursts(6.0, (2.0, 4.0)).tofile(tmp_path / "x.raw")
    environment = alsa_environment(tmp_path, fake_microphone(tmp_path / "x.raw"))
    with subprocess.Popen(
        [sys.executable, "-m", "device.cli", "listen", "fake", "--json", "--model", LOUD],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, an interrupt is ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            hits = [json.loads(process.stdout.readline()) for _ in range(2)]
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
        finally:
            process.kill()
        assert "Traceback" not in process.stderr.read()
    assert [2.0 < hits[0]["time_s"] < 2.5, 4.0 < hits[1]["time_s"] < 4.5] == [True, True]


def test_devices_lists_what_alsa_knows(tmp_path: Path) -> None:
    pytest.importorskip("alsaaudio")
    (tmp_path / "x.raw").write_bytes(bytes(32000))
    run = kws_pi(
        "devices", environment=alsa_environment(tmp_path, fake_microphone(tmp_path / "x.raw"))
    )
    assert run.returncode == 0, run.stderr
    assert "fake\n    rates: any Hz; kws-pi asks for 16000 Hz\n" in run.stdout


@pytest.mark.parametrize(
    "pcms", ["", "pcm.server { type hw; card 31; hint { show on; description 'not running' } }\n"]
)
def test_devices_says_when_there_is_none(tmp_path: Path, pcms: str) -> None:
    pytest.importorskip("alsaaudio")
    # Without ALSA's usual configuration the cards of this machine have no names.
    environment = alsa_environment(tmp_path, pcms)
    environment["ALSA_CONFIG_PATH"] = str(tmp_path / "asoundrc")
    run = kws_pi("devices", environment=environment)
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr == (
        "kws-pi: no microphone found; plug one in and check that `arecord -l` shows its card\n"
    )


def test_score(tmp_path: Path) -> None:
    good = write_wav(tmp_path / "good.wav", bursts(1.0, (0.3,)))
    (tmp_path / "bad.wav").write_bytes(b"")
    output = tmp_path / "scores.npz"
    run = kws_pi("score", good, tmp_path / "bad.wav", "--output", output, "--model", LOUD)
    assert run.returncode == 0
    skipped, summary = run.stderr.splitlines()
    assert "skipped" in skipped and "bad.wav" in skipped
    assert summary == f"kws-pi: 1 recordings scored, 1 skipped; wrote {output}"
    with np.load(output) as scores:
        assert scores["good"].shape == (19,)
        assert scores["good"].dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["listen", "/nonexistent/a.wav"], "cannot be read"),
        (["listen", "absent.wav"], "absent.wav: cannot be read"),
        (["listen", "/"], "is a folder"),
        (["listen", "a.wav", "--model", "/nonexistent/a.json"], "manifest cannot be read"),
        (["listen", "plughw:CARD=Nope,DEV=0"], "no sound device 'plughw:CARD=Nope,DEV=0'"),
        (["score", "/nonexistent/a.wav", "--output", "/tmp/never.npz"], "none of the 1 recordings"),
        (["run", "--config", "/nonexistent/config.toml"], "settings cannot be read"),
    ],
)
def test_errors_are_one_sentence_and_a_status(arguments: list[str], words: str) -> None:
    if "plughw" in arguments[1]:
        pytest.importorskip("alsaaudio")
    if "--model" not in arguments:
        arguments = [*arguments, "--model", str(LOUD)]
    run = kws_pi(*arguments)
    assert run.returncode == 1
    assert run.stdout == ""
    last = run.stderr.splitlines()[-1]
    assert last.startswith("kws-pi: ")
    assert words in last
    assert "Traceback" not in run.stderr


def test_missing_onnx_runtime_is_one_sentence(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        f"from device.cli import main; sys.exit(main(['score', 'x.wav', '--output', 'y.npz', "
        f"'--engine', 'onnxruntime', '--model', {str(LOUD)!r}]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert run.stderr.startswith("kws-pi: ONNX Runtime cannot be imported")
    assert run.stderr.count("\n") == 1


def test_output_that_nobody_reads(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", bursts(20.0, (2.0, 4.0, 6.0, 8.0)))
    run = subprocess.run(
        f"{sys.executable} -m device.cli listen {path} --model {LOUD} | true",
        shell=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in run.stderr
    assert "BrokenPipe" not in run.stderr


def test_five_minutes_cost_little_time_and_memory(tmp_path: Path) -> None:
    """Loose bounds, since the machine may be busy; the promise is 2.5 ms a second and 70 MiB."""
    path = write_wav(tmp_path / "a.wav", bursts(300.0, (100.0, 200.0)))
    code = (
        "import re, time; from pathlib import Path; from device import cli, model\n"
        "load = model.load_model\n"
        "def loaded(*given):\n"
        "    global start; m = load(*given); start = time.process_time(); return m\n"
        "model.load_model = loaded\n"
        f"cli.main(['listen', {str(path)!r}, '--model', {str(LOUD)!r}])\n"
        "cpu = (time.process_time() - start) / 0.3\n"
        # Not getrusage: its peak includes that of the process that forked this one.
        "status = Path('/proc/self/status').read_text()\n"
        "print(cpu, int(re.search(r'VmHWM:\\s+(\\d+) kB', status)[1]) / 1024)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    milliseconds, mebibytes = map(float, run.stdout.splitlines()[-1].split())
    assert milliseconds < 5.0
    assert mebibytes < 80.0
