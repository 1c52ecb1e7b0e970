"""`make lab-memory`: peak memory on the emulated Raspberry Pi, ours beside microWakeWord's.

    python tests/lab/memory.py

Every program hears the same keyword: the daemon through the sound card, with each engine, and
`kws-pi listen` and microWakeWord from a file. The figure is the kernel's VmHWM, which does not
depend on how fast the emulated processor is.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent.parent), str(HERE)]

from machine import start  # noqa: E402
from target import ROOT, Target, Word, find_word  # noqa: E402
from wheels import fetch  # noqa: E402

ENGINE = ("onnxruntime", "flatbuffers", "packaging", "protobuf")
PEER = ("pymicro-wakeword", "pymicro-features")
PACKAGES = "/usr/local/lib/python3.13/dist-packages"
"""Where pip would put them for every program."""
LISTEN = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
MICRO = """
import wave
from pymicro_wakeword import MicroWakeWord, MicroWakeWordFeatures, Model
spotter, features = MicroWakeWord.from_builtin(Model("okay_nabu")), MicroWakeWordFeatures()
with wave.open("/tmp/word.wav") as file:
    while pcm := file.readframes(1280):
        for frame in features.process_streaming(pcm):
            spotter.process_streaming_prob(frame)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def unpack(pi: Target, wheels: list[Path], folder: str) -> None:
    for wheel in wheels:
        pi.machine.copy(wheel, "/tmp/wheel.zip")
        pi.root(f"mkdir -p {folder} && python3 -m zipfile -e /tmp/wheel.zip {folder}")


def of_the_daemon(pi: Target, word: Word) -> float:
    """MiB, after it has found the keyword."""
    pi.wait_until_it_hears()
    pi.play(word)
    status = pi.root(f"cat /proc/{pi.health()['pid']}/status")
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    assert found, status
    return int(found[1]) / 1024


def measure(pi: Target, folder: Path) -> dict[str, float]:
    """MiB by program."""
    word = find_word(folder / "word.wav")
    pi.fleet("deploy")
    figures = {"kws-pi, the daemon, numpy": of_the_daemon(pi, word)}

    def listen(name: str, *command: str) -> None:
        words = " ".join(command)
        figures[name] = int(pi.run(f"python3 -c '{LISTEN}' {words}")) / 1024

    listen("kws-pi listen, numpy", "kws-pi listen /tmp/word.wav")
    unpack(pi, fetch(ROOT / "requirements/device.txt", ENGINE, folder / "engine"), PACKAGES)
    with pi.settings('engine = "onnxruntime"\n'):
        pi.root("systemctl restart kws-pi")
        figures["kws-pi, the daemon, ONNX Runtime"] = of_the_daemon(pi, word)
    listen("kws-pi listen, ONNX Runtime", "kws-pi listen /tmp/word.wav --engine onnxruntime")
    pi.root(f"rm -r {PACKAGES}")
    unpack(pi, fetch(ROOT / "requirements/peers.txt", PEER, folder / "peer"), "/tmp/peer")
    shown = pi.run(f"PYTHONPATH=/tmp/peer python3 -c '{MICRO}'")
    figures["microWakeWord (pymicro-wakeword), from a file"] = int(shown) / 1024
    return figures


def main() -> int:
    pi = Target()
    started = start(pi.machine, keep=False)
    with tempfile.TemporaryDirectory(prefix="kws-pi-lab-") as folder:
        figures = measure(pi, Path(folder))
    print("peak memory on an emulated Raspberry Pi 3, MiB")
    for name, mib in figures.items():
        print(f"{mib:6.1f}  {name}")
    if started:
        pi.machine.shut_down()
    return 0


if __name__ == "__main__":
    sys.exit(main())
