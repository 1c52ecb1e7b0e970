"""Traces of peers, kept on disk: they never change, and an hour of tape takes minutes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from device.manifest import Detection
from train_host.listening import Trace
from train_host.peers import Peer
from train_host.tape import Samples


class KeptPeer:
    """A peer that listens to the same samples only once; its traces lie in a folder.

    A trace is found by package, version, the model's files and the samples themselves.
    """

    def __init__(self, peer: Peer, word: str, folder: Path) -> None:
        """`word`: what the peer listens for."""
        self.peer = peer
        self.word = word
        model = hashlib.sha256(b"".join(file.read_bytes() for file in peer.files)).hexdigest()
        self._folder = folder / f"{peer.version.replace(' ', '-')}-{model[:16]}"

    @property
    def name(self) -> str:
        return self.peer.name

    @property
    def step_s(self) -> float:
        return self.peer.step_s

    @property
    def detection(self) -> Detection:
        return self.peer.detection

    def probabilities(self, samples: Samples) -> Trace:
        digest = hashlib.sha256(np.ascontiguousarray(samples, "<f4").tobytes()).hexdigest()
        path = self._folder / f"{digest}.npy"
        if path.is_file():
            kept: Trace = np.load(path, allow_pickle=False)
            return kept
        trace = self.peer.probabilities(samples)
        self._folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.save(file, trace, allow_pickle=False)
        part.replace(path)
        return trace
