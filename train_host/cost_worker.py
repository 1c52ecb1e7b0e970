"""Runs one spotter over a recording for `make evaluate-peers`, in a process of its own.

    python -m train_host.cost_worker kws-pi MANIFEST RECORDING.wav
    python -m train_host.cost_worker PACKAGE KEYWORD RECORDING.wav

It imports what the spotter needs and nothing else, so that its memory is that
of a program which does nothing but listen. Each line on its standard input is
a word, answered by a number in a line:

* `listen`: seconds of CPU, in all threads, to read the recording and listen to
  it: our models as `kws-pi listen` does, the packages as their own command
  lines do, both given 80 ms at a time;
* `memory`: the most bytes of memory that the process has had resident.
"""

from __future__ import annotations

import sys
import time
import wave
from collections.abc import Callable
from pathlib import Path

from device.errors import KwsPiError
from train_host.memory import peak_memory

OURS = "kws-pi"
PIECE = 1280
"""Samples read at a time: 80 ms."""


def our_listening(manifest: Path, recording: Path) -> Callable[[], float]:
    from device.model import load_model
    from train_host.bench_worker import time_listening

    model = load_model(manifest)
    return lambda: time_listening(model, recording)


def peers_listening(package: str, keyword: str, recording: Path) -> Callable[[], float]:
    from train_host.peers import open_peer

    peer = open_peer(package, keyword)

    def listen() -> float:
        peer.reset()
        begin = time.process_time()
        with wave.open(str(recording)) as file:
            while pcm := file.readframes(PIECE):
                peer.push(pcm)
        return time.process_time() - begin

    return listen


def main(arguments: list[str]) -> int:
    spotter, which, recording = arguments[0], arguments[1], Path(arguments[2])
    try:
        if spotter == OURS:
            listen = our_listening(Path(which), recording)
        else:
            listen = peers_listening(spotter, which, recording)
    except KwsPiError as error:
        print(error, file=sys.stderr)
        return 1
    answers = {"listen": listen, "memory": peak_memory}
    for line in sys.stdin:
        print(answers[line.strip()](), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
