"""Quantization-aware training: the network learns with the weights that it will be stored with.

Between `attach` and `detach` each weight is rounded whenever it is used, to
the grid that `export.quantize` stores, while the optimiser moves the exact
weight behind it: the rounding lets the gradient through (the straight-through
estimator of Bengio et al., arXiv 1308.3432; for quantization Jacob et al.,
"Quantization and training of neural networks for efficient integer-arithmetic-only
inference", arXiv 1712.05877, section 3). Activations stay float, since the
exported network's do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from device.errors import RecipeError
from export.quantize import row_scales
from train_host.network import Network

PARTS: dict[str, tuple[type[nn.Module], ...]] = {
    "convolution": (nn.Conv1d, nn.Conv2d),
    "gru": (nn.GRU,),
    "linear": (nn.Linear,),
}


class Rounded(nn.Module):
    """The nearest weight on a grid of `bits` bits, each row of the first axis with its scale.

    Scales are those of `row_scales`, taken from the weight at each call; they
    carry no gradient, the weight's own passes unchanged.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.largest = 2 ** (bits - 1) - 1

    def forward(self, weight: Tensor) -> Tensor:
        scales = row_scales(weight, self.largest)
        return torch.fake_quantize_per_channel_affine(
            weight,
            scales,
            torch.zeros_like(scales, dtype=torch.int32),
            axis=0,
            quant_min=-self.largest,
            quant_max=self.largest,
        )


def attach(network: Network, parts: Iterable[str] = tuple(PARTS), bits: int = 8) -> None:
    """Rounds the weights of the named parts wherever the network uses them, until `detach`.

    Biases are left alone. The export stores int8 whatever `bits`, the nearest to
    the grid; of fewer bits it holds fewer values, which makes its compressed file
    smaller. Raises RecipeError for a part that is not in `PARTS` and for other than
    2 to 8 bits.
    """
    parts = tuple(parts)
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        raise RecipeError(f"parts must be some of {', '.join(PARTS)}, not {list(parts)}")
    if bits not in range(2, 9):
        raise RecipeError(f"bits must be a whole number from 2 to 8, not {bits}")
    kinds = tuple(kind for part in parts for kind in PARTS[part])
    for module in list(network.modules()):
        if not isinstance(module, kinds):
            continue
        names = [name for name, p in module.named_parameters(recurse=False) if p.dim() > 1]
        for name in names:
            parametrize.register_parametrization(module, name, Rounded(bits))
        if isinstance(module, nn.GRU):
            module.register_forward_pre_hook(_gather)
            module.register_forward_hook(_forget)
            _forget(module)


def detach(network: Network) -> None:
    """Ends `attach`: each weight stays as it was last rounded, a plain parameter again."""
    for module in list(network.modules()):
        if not parametrize.is_parametrized(module):
            continue
        for name in list(module.parametrizations):  # type: ignore[arg-type]
            parametrize.remove_parametrizations(module, name, leave_parametrized=True)
        if isinstance(module, nn.GRU):
            hooks: Any
            for hooks in (module._forward_pre_hooks, module._forward_hooks):
                for key in [k for k, hook in hooks.items() if hook in (_gather, _forget)]:
                    del hooks[key]
            _gather(module)


def _gather(gru: nn.Module, *_: Any) -> None:
    """Shows a GRU its weights as they are now: it computes with a list that it made at first."""
    assert isinstance(gru, nn.GRU)
    gru._flat_weights = [getattr(gru, name) for name in gru._flat_weights_names]


def _forget(gru: nn.Module, *_: Any) -> None:
    """Empties that list: a copy of the network must not hold what was computed for one call."""
    assert isinstance(gru, nn.GRU)
    gru._flat_weights = [None] * len(gru._flat_weights_names)
