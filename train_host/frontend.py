"""The log-mel front end in torch, on torchaudio's MelSpectrogram.

Frames are not centred: frame j of a stream covers samples [hop j - tail,
hop j + hop), where samples before the start count as zeros, so that every
step of 1,280 samples completes exactly eight frames (docs/decisions).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

from device.manifest import FrontEnd


def _mel_spectrogram(front_end: FrontEnd, center: bool) -> MelSpectrogram:
    return MelSpectrogram(
        sample_rate=front_end.sample_rate,
        n_fft=front_end.window,
        win_length=front_end.window,
        hop_length=front_end.hop,
        n_mels=front_end.mel_bands,
        center=center,
    )


def mel_filterbank(front_end: FrontEnd) -> Tensor:
    """The triangular filters, (window // 2 + 1, mel bands)."""
    filters: Tensor = _mel_spectrogram(front_end, center=False).mel_scale.fb
    return filters


class LogMel(nn.Module):
    """Samples (B, tail + hop n), float32 in [-1, 1] -> log-mel (B, n, bands)."""

    def __init__(self, front_end: FrontEnd | None = None) -> None:
        super().__init__()
        self.front_end = front_end or FrontEnd()
        self.mel = _mel_spectrogram(self.front_end, center=False)

    def forward(self, samples: Tensor) -> Tensor:
        energies = self.mel(samples).clamp(self.front_end.floor, self.front_end.ceiling)
        return torch.log(energies).transpose(1, 2)

    def whole(self, samples: Tensor) -> Tensor:
        """Log-mel of whole recordings (B, samples), preceded by silence as a stream is."""
        log_mel: Tensor = self(nn.functional.pad(samples, (self.front_end.tail, 0)))
        return log_mel
