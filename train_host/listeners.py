"""Listeners: networks that have learned to listen, but no keyword yet; others begin with them.

`train_host/pretrain.py` makes them, docs/decisions/0041-pretraining.md says why.
"""

from __future__ import annotations

from pathlib import Path

from train_host.network import Network, Shape, load_checkpoint
from train_host.phrase import fitted

SHAPES = {
    "listener": Shape("full", channels=16, hidden=128, layers=2, attention="deep"),
    "small-listener": Shape("separable", channels=44, hidden=72, layers=2, attention="flat"),
}
"""278,099 parameters for tutors, and 59,847 for what runs on the device."""
FOLDER = Path(__file__).resolve().parent.parent / "models" / "base"
"""Where the project's own lie; models/base/README.md says how they were made."""


def read_listener(name: str, folder: Path, window: int) -> Network:
    """The listener of a name, for a keyword whose attention window is so many steps.

    Raises CorpusError when there is none in the folder.
    """
    network = load_checkpoint(folder / f"{name}.pt")[0].train()
    network.shape = fitted(network.shape, window)
    return network
