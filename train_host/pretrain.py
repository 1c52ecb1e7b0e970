"""Makes the listeners in models/base: networks that have learned to listen, to no keyword yet.

A keyword of one's own comes with few recordings or none, too little to learn
from what speech is. So a network first learns to tell from running speech and
single words, in noise and through poor microphones, what the speech embedding
(`train_host.speech_embedding`) hears in the same without them. Tutors and verifiers
begin there.

Source: distillation into hidden layers after A. Romero et al., "FitNets",
arXiv 1412.6550.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from scipy.signal import resample_poly
from torch import Tensor, nn

from device.errors import CorpusError
from device.manifest import FrontEnd
from train_host import corpus as corpora
from train_host import folds
from train_host.corpus import RATE, Clip, Corpus
from train_host.features import FeatureStore, build_store
from train_host.fit import Drawn, fit
from train_host.frontend import LogMel
from train_host.listeners import SHAPES
from train_host.network import Network, Shape, save_checkpoint
from train_host.speech_embedding import SIZE, SpeechEmbedding
from train_host.stores import command, console
from train_host.surroundings import Surroundings, power_of

CHAIN_S = 8
"""Clips of single words follow one another until there are so many seconds, ..."""
LEVEL = 0.05
"""... each at this RMS, since their microphones differed."""
TEMPI = ((6, 7), (12, 13), (13, 12), (7, 6))
"""Running speech is heard as it is, and as other voices: played at one of these speeds."""
SCENE_STEPS = 37
"""Length of a scene, 2.96 s."""
DELAY = 9
"""An embedding that begins with one step has ended with the one so many steps later."""
BATCH = 96
LEARNING_RATE = 2e-3


@dataclass(frozen=True)
class Kind:
    """Recordings of one kind, one after the other."""

    mel: FeatureStore
    """Log-mel; a recording's frames are those of its embeddings' steps, and some more."""
    embeddings: list[NDArray[np.float32]]
    """Of each recording, (K, 96): number k begins with frame k * `frames_per_step`."""


@dataclass(frozen=True)
class Heard:
    """B scenes of K steps."""

    mel: Tensor
    """(B, frames, bands), log-mel as a poor microphone gives it."""
    embedding: Tensor
    """(B, K, 96), normalised: of what was said, known with this step."""


class Scenes(Drawn):
    """Makes batches; each kind of recording gets the same share."""

    def __init__(
        self,
        kinds: Sequence[Kind],
        noise: FeatureStore,
        front_end: FrontEnd,
        frames_per_step: int,
        seed: int,
    ) -> None:
        super().__init__(seed)
        self.kinds = kinds
        self.floor = np.float32(front_end.floor)
        self.step = frames_per_step
        self.surroundings = Surroundings(noise, front_end, self.rng)
        every = np.concatenate([e for kind in kinds for e in kind.embeddings])
        self.mean, self.std = every.mean(axis=0), every.std(axis=0)
        # Where there is room for more scenes, more are taken.
        self.rooms = [
            np.cumsum([max(0, len(e) - SCENE_STEPS) for e in kind.embeddings]) for kind in kinds
        ]

    def batch(self, size: int) -> Heard:
        """A batch of `size` scenes."""
        scenes = [self._scene(row % len(self.kinds)) for row in range(size)]
        mel, embedding = (np.stack(part) for part in zip(*scenes, strict=True))
        return Heard(torch.from_numpy(mel), torch.from_numpy(embedding))

    def _scene(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        kind, rooms = self.kinds[number], self.rooms[number]
        place = int(self.rng.integers(rooms[-1]))
        index = int(np.searchsorted(rooms, place, side="right"))
        first = place - (int(rooms[index - 1]) if index else 0)
        frames = SCENE_STEPS * self.step
        clean = kind.mel[index][first * self.step :][:frames]
        coloured = self.surroundings.colour(power_of(clean))
        log_mel = np.log(np.maximum(self.surroundings.background(coloured, frames), self.floor))
        self.surroundings.hide(log_mel)
        known = kind.embeddings[index][first : first + SCENE_STEPS - DELAY]
        return log_mel, (known - self.mean) / self.std


class EmbeddingObjective(nn.Module):
    """Mean squared error of the embeddings that a linear layer reads off the GRU's outputs."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        # Not a part of this module: `fit` has its parameters already.
        self._network = (network,)
        self.head = nn.Linear(network.shape.hidden, SIZE)

    def forward(self, heard: Heard) -> Tensor:
        network = self._network[0]
        outputs = network.trace(heard.mel, network.initial_state(len(heard.mel))).outputs
        return nn.functional.mse_loss(self.head(outputs[:, DELAY:]), heard.embedding)


def chained(clips: Sequence[Clip], rng: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    """Recordings of at least `CHAIN_S` seconds, of single words in any order."""
    pieces: list[NDArray[np.float32]] = []
    for index in rng.permutation(len(clips)):
        samples = corpora.load(clips[index])
        pieces.append(samples * np.float32(LEVEL / (np.sqrt(np.mean(samples**2)) + 1e-4)))
        if sum(map(len, pieces)) >= CHAIN_S * RATE:
            yield np.clip(np.concatenate(pieces), -1, 1)
            pieces = []


def whole(clips: Sequence[Clip]) -> Iterator[NDArray[np.float32]]:
    """Recordings as they are."""
    return map(corpora.load, clips)


def other_voices(clips: Sequence[Clip], rng: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    """Recordings played faster or slower."""
    for samples in whole(clips):
        up, down = TEMPI[rng.integers(len(TEMPI))]
        yield resample_poly(samples, up, down).astype(np.float32)


def listen(
    name: str, recordings: Iterable[NDArray[np.float32]], log_mel: LogMel, embed: SpeechEmbedding
) -> Kind:
    """What the front end and the embedding hear in recordings."""
    mel: list[NDArray[np.float16]] = []
    embeddings: list[NDArray[np.float32]] = []
    for samples in track(recordings, f"embeddings: {name}", console=console):
        heard = embed(samples)
        if len(heard) <= SCENE_STEPS:
            continue
        with torch.no_grad():
            frames = log_mel.whole(torch.from_numpy(samples)[None])[0].numpy()
        mel.append(frames.astype(np.float16))
        embeddings.append(heard)
    bounds = np.cumsum([0, *map(len, mel)], dtype=np.int64)
    return Kind(
        FeatureStore(np.concatenate(mel), bounds, np.zeros((len(mel), 2), np.int64)), embeddings
    )


def read_kinds(args: argparse.Namespace, folder: Corpus, front_end: FrontEnd) -> list[Kind]:
    """What the training split holds of the folder of words, the running speech and the voices.

    Raises SetupError without the embedding, CorpusError as the readers do.
    """
    log_mel, embed = LogMel(front_end), SpeechEmbedding()
    rng = np.random.default_rng(args.seed)
    speech = of_training(corpora.read_recordings(args.speech).clips, args.fold)
    words = of_training(folder.clips)
    sources = [
        ("running speech", whole(speech)),
        ("other voices", other_voices(speech, rng)),
        ("words", chained(words, rng)),
    ]
    if args.synthetic:
        voices = of_training(corpora.read_synthetic(args.synthetic).clips)
        sources.append(("synthetic voices", chained(voices, rng)))
    return [listen(name, recordings, log_mel, embed) for name, recordings in sources]


def of_training(clips: Sequence[Clip], fold: int | None = None) -> list[Clip]:
    """Those of the training split; of long recordings those that a fold does not hold out."""
    kept, _ = folds.part(clips, fold)
    return [clip for clip in kept if clip.split == "training"]


def teach(
    name: str, shape: Shape, kinds: Sequence[Kind], noise: FeatureStore, args: argparse.Namespace
) -> None:
    """Trains one listener and writes it."""
    path = args.output / f"{name}.pt"
    torch.manual_seed(args.seed)
    network = Network(shape)
    scenes = Scenes(kinds, noise, network.front_end, shape.stride[1], args.seed)
    curve = fit(
        name,
        network,
        EmbeddingObjective(network),
        scenes,
        steps=args.steps,
        batch=BATCH,
        rate=LEARNING_RATE,
        partial=args.output / f"{name}.partial.pt",
    )
    hours = [sum(map(len, kind.embeddings)) * shape.stride[1] / 360000 for kind in kinds]
    save_checkpoint(
        network,
        path,
        origin="distilled from the speech embedding",
        hours=[round(each, 2) for each in hours],
        curve=curve,
        seed=args.seed,
    )
    console.print(f"{sum(hours):.1f} h, error {curve[-1][1]:.3f} of the variance: {path}")


def run(args: argparse.Namespace) -> None:
    if None in (args.data, args.speech, args.noise):
        raise CorpusError("give DATA=DIR, SPEECH=DIR and NOISE=DIR, the recordings to listen to")
    torch.set_num_threads(1)
    front_end = FrontEnd()
    folder = corpora.read_folder(args.data)
    kinds = read_kinds(args, folder, front_end)
    noise = folder.noise + corpora.read_recordings(args.noise, corpora.NOISE).noise
    store = build_store(of_training(noise, args.fold), args.cache, front_end=front_end)
    args.output.mkdir(parents=True, exist_ok=True)
    for name, shape in SHAPES.items():
        teach(name, shape, kinds, store, args)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, help="Speech Commands")
    parser.add_argument("--speech", type=Path, help="folder of running speech")
    parser.add_argument("--noise", type=Path, help="folder of noise")
    parser.add_argument("--synthetic", type=Path, help="folder made by train_host.synthesize")
    parser.add_argument("--cache", type=Path, default=Path("build/features"))
    parser.add_argument("--output", type=Path, required=True, help="folder for the networks")
    parser.add_argument("--fold", type=int, choices=range(folds.FOLDS), help="hold out this third")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    return command(run, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
