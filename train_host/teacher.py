"""The published teacher of the origin, read into our network."""

from __future__ import annotations

from pathlib import Path

import torch

from device.errors import CorpusError
from train_host.network import BASE_64, Network


def load_published(path: Path) -> Network:
    """The course's base model from its TorchScript archive.

    Only its weights are taken, and put into the hidden-64 base; nothing of
    the archive's code is run. Raises CorpusError when the file is no such
    archive.
    """
    try:
        weights = torch.jit.load(str(path), map_location="cpu").state_dict()
    except (OSError, RuntimeError, ValueError) as error:
        raise CorpusError(
            f"{path}: not a TorchScript archive; give TEACHER=FILE the published kws.pth"
        ) from error
    names = {
        "m.conv.0.": "convolution.conv.",
        "m.gru.": "gru.",
        "m.attention.energy.": "energy.",
        "m.classifier.": "classifier.",
    }
    renamed = {
        new + key.removeprefix(old): value
        for key, value in weights.items()
        for old, new in names.items()
        if key.startswith(old)
    }
    network = Network(BASE_64)
    try:
        network.load_state_dict(renamed)
    except RuntimeError as error:
        raise CorpusError(
            f"{path}: its layers are not those of the published base model"
        ) from error
    return network.eval()
