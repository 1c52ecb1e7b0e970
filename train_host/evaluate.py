"""Scores of clips and streams by the float networks, for validation while training."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch

from train_host.features import FeatureStore
from train_host.network import Network
from train_host.phrase import around, clip_frames

TAIL_FRAMES = 50
"""Quiet noise after each clip, as `kws-pi score` appends it: 0.5 s."""
BLOCK = 4096
"""Steps of a stream that are computed at once."""
QUIET_LOG_MEL = float(np.log(1e-7 * 300))
"""Roughly the log-mel of white noise at -70 dBFS."""


Array = npt.NDArray[np.float32]
Confirm = Callable[[Array, npt.NDArray[np.floating]], Array]
"""What a cascade makes of the first network's probabilities on frames of log-mel:
`train_host.verifier.Confirmation`."""


def alone(
    store: FeatureStore, step: int
) -> Iterator[tuple[npt.NDArray[np.int64], list[int], torch.Tensor]]:
    """A store's clips in batches, each clip from the start of a stream and in quiet noise.

    Of each batch which clips it holds, the steps that each takes, and their frames,
    (clips, frames, bands), quiet to the end of the longest.
    """
    order = np.argsort(np.diff(store.bounds))
    for rows in np.array_split(order, -(-len(order) // 256)) if len(order) else []:
        steps = [-(-(len(store[i]) + TAIL_FRAMES) // step) for i in rows]
        mel = np.full(
            (len(rows), max(steps) * step, store.frames.shape[1]), QUIET_LOG_MEL, np.float32
        )
        for row, i in enumerate(rows):
            mel[row, : len(store[i])] = store[i]
        yield rows, steps, torch.from_numpy(mel)


@torch.no_grad()
def stream_traces(
    network: Network, store: FeatureStore, confirm: Confirm | None = None
) -> list[Array]:
    """The probability of every step of each clip, each from the start of a stream."""
    traces: list[Array] = [np.empty(0, np.float32)] * len(store)
    step = network.shape.stride[1]
    for rows, steps, mel in alone(store, step):
        logits, _ = network.stream(mel, network.initial_state(len(rows)))
        probabilities = torch.softmax(logits, 2)[..., 1].numpy()
        for row, i in enumerate(rows):
            trace = probabilities[row, : steps[row]]
            heard = mel[row, : len(trace) * step].numpy()
            traces[i] = confirm(trace, heard) if confirm else trace
    return traces


def stream_scores(network: Network, store: FeatureStore, confirm: Confirm | None = None) -> Array:
    """The highest probability of each clip, streamed from the start of a stream."""
    return np.array([trace.max() for trace in stream_traces(network, store, confirm)], np.float32)


def played(store: FeatureStore, step: int, offset: int = 0) -> Iterator[torch.Tensor]:
    """A store's recordings as one stream, in blocks (1, frames, bands) of whole steps."""
    block = BLOCK * step
    for start in range(offset, len(store.frames) - step + 1, block):
        frames = store.frames[start : start + block].astype(np.float32)
        yield torch.from_numpy(frames[: len(frames) // step * step])[None]


@torch.no_grad()
def stream_probabilities(
    network: Network, store: FeatureStore, offset: int = 0, confirm: Confirm | None = None
) -> Array:
    """The probability of every step of all of a store's recordings, played as one stream.

    The stream begins `offset` frames after the first recording's beginning.
    """
    step = network.shape.stride[1]
    state, found = network.initial_state(), []
    for frames in played(store, step, offset):
        logits, state = network.stream(frames, state)
        found.append(torch.softmax(logits, 2)[0, :, 1].numpy())
    probabilities = np.concatenate(found)
    if confirm is None:
        return probabilities
    return confirm(probabilities, store.frames[offset:][: len(probabilities) * step])


@torch.no_grad()
def clip_scores(network: Network, store: FeatureStore) -> Array:
    """The probability of each clip at once, cut or padded to one second, as the origin scores it.

    Of a longer recording the second around the word; for the network of a
    longer phrase, as many frames as its attention window has.
    """
    frames = clip_frames(network.shape.window, network.shape.stride[1])
    scores = np.zeros(len(store), np.float32)
    for rows in np.array_split(np.arange(len(store)), max(1, len(store) // 256)):
        mel = np.full((len(rows), frames, store.frames.shape[1]), QUIET_LOG_MEL, np.float32)
        for row, i in enumerate(rows):
            clip = around(store[i], store.active[i], frames)
            mel[row, : len(clip)] = clip
        scores[rows] = torch.softmax(network.clip(torch.from_numpy(mel)), 1)[:, 1].numpy()
    return scores
