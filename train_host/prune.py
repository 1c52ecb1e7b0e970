"""Pruning: fewer weights, or fewer units.

Unstructured pruning sets single weights to zero and leaves every size as it
was. Structured pruning takes whole units out, and what it returns is a
smaller `Network` of plain dense tensors.

For single weights torch.nn.utils.prune chooses what goes. Its masks are not
left in the modules as it would have them, with each weight recomputed before
every call: the training loop copies the model to average it, which such a
module refuses. Here the mask is multiplied into the parameter itself after
each step of the optimiser, so that a pruned network is at any time a plain
one, which saves, counts and exports as any other.

For whole units the cuts are written out below, since torch-pruning knows no
GRU: each is a list of the tensors that a unit has a part in, read once to take
the parts out (`shrink`) and once to set them to zero (`mask`). Both networks
compute the same.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.prune import L1Unstructured

from device.errors import RecipeError
from train_host.network import Network, Shape

Scope = Literal["global", "layer"]
"""Whether all weights compete, or those of each tensor among themselves."""


def prune_weights(network: Network, sparsity: float, scope: Scope = "global") -> Network:
    """A copy whose smallest weights are zero: the share `sparsity` of them, in [0, 1).

    Magnitude pruning (Han et al., "Learning both weights and connections for
    efficient neural networks", arXiv 1506.02626). Weights are all parameters of
    two axes or more; biases stay. With `scope` "global" the smallest of all
    weights go, with "layer" the same share of each tensor, of which at least one
    stays; weights that are zero already count in that share and stay zero. Train
    the result on with `KeepZeros`. Raises RecipeError for any other sparsity or
    scope.
    """
    pruned = copy.deepcopy(network)
    weights = _weights(pruned)
    _hold(weights, _smallest_out(weights, sparsity, scope))
    return pruned


def sparsity(network: Network) -> float:
    """The share of zeros among the weights of `network`."""
    weights = _weights(network)
    return sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)


class KeepZeros:
    """A hook for after each step of the optimiser: what was zero at first stays zero.

    For weights only, as in `prune_weights`. Call it once more after a training
    that averages its weights.
    """

    def __init__(self, network: Network) -> None:
        self._weights = _weights(network)
        self._masks = [(w != 0).to(w.dtype) for w in self._weights]

    def __call__(self, step: int) -> None:
        _hold(self._weights, self._masks)


class GradualPruning:
    """A hook for after each step of the optimiser: the share of zeros grows from step to step.

    The cubic schedule of Zhu and Gupta, "To prune, or not to prune: exploring
    the efficacy of pruning for model compression" (arXiv 1710.01878, equation 1):
    with t from `begin` to `end`,

        sparsity(t) = final + (initial - final) (1 - (t - begin) / (end - begin))^3

    taken every `every` steps and at `end`. What is zero once stays zero, as its
    updates are undone. A hook whose first call comes late, as after a training
    that broke off, starts from the schedule's share at that step. An average of
    the weights over the steps holds remains of what was pruned on the way: call
    `hold` after such a training.

    Weights and `scope` are those of `prune_weights`. Raises RecipeError for a
    sparsity outside [0, 1), one that falls, steps in disorder, or another scope.
    """

    def __init__(
        self,
        network: Network,
        *,
        final: float,
        begin: int,
        end: int,
        every: int = 20,
        initial: float = 0.0,
        scope: Scope = "global",
    ) -> None:
        if not 0 <= initial <= final < 1:
            raise RecipeError(
                f"the sparsity cannot grow from {initial} to {final}: "
                "take numbers from 0 to below 1, the final one not below the initial"
            )
        if not (0 <= begin < end and every > 0):
            raise RecipeError(
                f"cannot prune from step {begin} to step {end} every {every} steps: "
                "let it begin at 0 or later and end after it began"
            )
        _check_scope(scope)
        self.final, self.initial, self.scope = final, initial, scope
        self.begin, self.end, self.every = begin, end, every
        self._weights = _weights(network)
        self._masks: list[Tensor] | None = None

    def sparsity(self, step: int) -> float:
        """The share of zeros that the schedule asks for at `step`."""
        if step < self.begin:
            return 0.0
        left = 1 - min(1.0, (step - self.begin) / (self.end - self.begin))
        return self.final + (self.initial - self.final) * left**3

    def __call__(self, step: int) -> None:
        if step < self.begin:
            return
        self.hold()  # first, so that what was pruned before ranks lowest again
        since = step - self.begin
        due = step == self.end or (step < self.end and since % self.every == 0)
        if due or self._masks is None:
            self._masks = _smallest_out(self._weights, self.sparsity(step), self.scope)
            self.hold()

    def hold(self) -> None:
        """Sets what was pruned so far to zero again."""
        if self._masks is not None:
            _hold(self._weights, self._masks)


def _weights(network: nn.Module) -> list[Tensor]:
    return [parameter for parameter in network.parameters() if parameter.dim() > 1]


def _hold(weights: list[Tensor], masks: list[Tensor]) -> None:
    # In place: nn.GRU and the optimiser hold on to the tensors themselves.
    with torch.no_grad():
        for weight, mask in zip(weights, masks, strict=True):
            weight.mul_(mask)


def _smallest_out(weights: list[Tensor], share: float, scope: Scope) -> list[Tensor]:
    """For each weight a mask of its shape: 0 for the smallest and all zeros, 1 for the rest."""
    _check_scope(scope)
    if not 0 <= share < 1:
        raise RecipeError(f"cannot prune a share of {share} of the weights: take 0 to below 1")
    flat = [weight.detach().flatten() for weight in weights]
    rivals = [torch.cat(flat)] if scope == "global" else flat
    masks = []
    for rival in rivals:
        # One weight stays, or a narrow layer would say nothing any more.
        amount = min(round(share * len(rival)), len(rival) - 1)
        masks.append(L1Unstructured(amount).compute_mask(rival, (rival != 0).to(rival.dtype)))
    if scope == "global":
        masks = list(masks[0].split([len(f) for f in flat]))
    return [mask.reshape(weight.shape) for mask, weight in zip(masks, weights, strict=True)]


def _check_scope(scope: str) -> None:
    if scope not in ("global", "layer"):
        raise RecipeError(f"the scope of pruning is global or layer, not {scope}")


@dataclass(frozen=True)
class Cut:
    """Which units of a network stay."""

    shape: Shape
    """The network's shape without the others."""
    kept: dict[tuple[str, int], Tensor]
    """For a parameter's name and an axis of it: the indices that stay, in order."""


def shrink(network: Network, cut: Cut) -> Network:
    """A new network that has only what `cut` keeps."""
    tensors = dict(network.state_dict())
    for (name, axis), kept in cut.kept.items():
        tensors[name] = tensors[name].index_select(axis, kept)
    smaller = Network(cut.shape, network.front_end)
    smaller.load_state_dict(tensors)
    return smaller.train(network.training)


def mask(network: Network, cut: Cut) -> Network:
    """A copy of the same shape in which all that `cut` does not keep is zero.

    From a stream's initial state on it computes what `shrink` returns. That
    holds for a GRU unit as well: with its weights and biases zero its candidate
    is tanh(0), and the state, a mean of the candidate and itself, stays at zero.
    """
    masked = copy.deepcopy(network)
    parameters = dict(masked.named_parameters())
    with torch.no_grad():
        for (name, axis), kept in cut.kept.items():
            gone = torch.ones(parameters[name].shape[axis], dtype=torch.bool)
            gone[kept] = False
            parameters[name].index_fill_(axis, gone.nonzero()[:, 0], 0.0)
    return masked


def prune_channels(network: Network, keep: int) -> Network:
    """A new network with the `keep` strongest channels of the convolution.

    Filter pruning (Li et al., "Pruning filters for efficient ConvNets", arXiv
    1608.08710); of a separable convolution, of its pointwise part. Filters
    (channels, ...) become (keep, ...), and the GRU loses the inputs that came
    from the others. Raises RecipeError unless `keep` is from 1 to all there are.
    """
    return shrink(network, cut_channels(network, keep))


def prune_attention(network: Network, keep: int) -> Network:
    """A new network with the `keep` strongest units of its deep attention.

    Its layers (width, hidden) and (1, width) become (keep, hidden) and (1,
    keep): node pruning, with both layers in one group as in Fang et al.,
    "DepGraph: towards any structural pruning" (arXiv 2301.12900). Raises
    RecipeError for a flat attention, which has no such units, and unless `keep`
    is from 1 to all there are.
    """
    return shrink(network, cut_attention(network, keep))


def prune_hidden(network: Network, keep: int) -> Network:
    """A new network with the `keep` strongest units of its GRU, which has one layer.

    A unit goes with its rows in the gates r, z and n and with every column that
    reads it: in the state's weights, the attention and the classifier (Wen et
    al., "Learning intrinsic sparse structures within long short-term memory",
    arXiv 1709.05027). Weights (3 hidden, inputs) and (3 hidden, hidden) become
    (3 keep, inputs) and (3 keep, keep); a deep attention keeps its width.
    Raises RecipeError for a GRU of more layers, and unless `keep` is from 1 to
    all there are.
    """
    return shrink(network, cut_hidden(network, keep))


def prune_inputs(network: Network, keep: int) -> Network:
    """A new network whose GRU takes the `keep` strongest features of the full convolution.

    Column pruning (Wen et al., "Learning structured sparsity in deep neural
    networks", arXiv 1608.03665): the GRU's first weights (3 hidden, inputs)
    become (3 hidden, keep), and `Shape.inputs` says which features they take.
    Channels of which no feature is left go as well. Raises RecipeError for a
    separable convolution, whose features are its channels, and unless `keep` is
    from 1 to all there are.
    """
    return shrink(network, cut_inputs(network, keep))


def cut_channels(network: Network, keep: int) -> Cut:
    """The cut of `prune_channels`; a channel is its filter and the columns that read it."""
    columns = network.get_parameter("gru.weight_ih_l0").detach()
    channel = _taken(network) // _positions(network)  # of each column
    reads = torch.stack([columns[:, channel == c].norm() for c in range(network.shape.channels)])
    writes = _norms(network, f"{_filters(network)}.weight", 0)
    kept = _strongest("channels", keep, writes, reads)
    return _with_channels(network, kept, torch.isin(channel, kept).nonzero()[:, 0])


def cut_attention(network: Network, keep: int) -> Cut:
    """The cut of `prune_attention`; a unit is a row of one layer and a column of the next."""
    if network.shape.attention != "deep":
        raise RecipeError("a flat attention has no width to prune: leave this stage out")
    writes = _norms(network, "energy.0.weight", 0)
    kept = _strongest("attention units", keep, writes, _norms(network, "energy.2.weight", 1))
    return Cut(
        replace(network.shape, attention_width=keep),
        {("energy.0.weight", 0): kept, ("energy.0.bias", 0): kept, ("energy.2.weight", 1): kept},
    )


def cut_hidden(network: Network, keep: int) -> Cut:
    """The cut of `prune_hidden`; a unit is its rows in all gates and all columns that read it."""
    shape = network.shape
    if shape.layers != 1:
        raise RecipeError(
            f"only a GRU of one layer can lose units, not one of {shape.layers}: "
            "start from a network with one layer"
        )
    energy = "energy.0.weight" if shape.attention == "deep" else "energy.weight"
    readers = ["gru.weight_hh_l0", energy, "classifier.weight"]
    gates = [f"gru.{kind}_l0" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    rows = torch.stack([_norms(network, name, 0) for name in gates[:2]])
    writes = rows.reshape(6, shape.hidden).norm(dim=0)  # two weights of three gates each
    reads = torch.stack([_norms(network, name, 1) for name in readers]).norm(dim=0)
    kept = _strongest("hidden units", keep, writes, reads)
    kept_rows = torch.cat([kept + gate * shape.hidden for gate in range(3)])
    width = shape.attention_width
    if shape.attention == "deep" and width is None:
        width = shape.hidden  # None would let the attention shrink with the GRU
    return Cut(
        replace(shape, hidden=keep, attention_width=width),
        {(name, 0): kept_rows for name in gates} | {(name, 1): kept for name in readers},
    )


def cut_inputs(network: Network, keep: int) -> Cut:
    """The cut of `prune_inputs`; a feature is its channel's filter and the column that reads it."""
    if network.shape.convolution != "full":
        raise RecipeError(
            "each input of the GRU is a channel of its own in a separable convolution: "
            "prune channels instead"
        )
    channel = _taken(network) // _positions(network)
    writes = _norms(network, f"{_filters(network)}.weight", 0)[channel]
    kept = _strongest("inputs", keep, writes, _norms(network, "gru.weight_ih_l0", 1))
    return _with_channels(network, channel[kept].unique(), kept)


def _with_channels(network: Network, channels: Tensor, columns: Tensor) -> Cut:
    """Keeps these channels of the convolution and these columns of the GRU, which read them."""
    shape, positions = network.shape, _positions(network)
    taken = _taken(network)[columns]
    if not len(taken):
        raise RecipeError(
            "the GRU takes no feature of the channels that would stay: keep more channels"
        )
    renumbered = torch.searchsorted(channels, taken // positions) * positions + taken % positions
    whole = renumbered.tolist() == list(range(len(channels) * positions))
    return Cut(
        replace(
            shape,
            channels=len(channels),
            inputs=None if whole else tuple(renumbered.tolist()),
        ),
        {
            (f"{_filters(network)}.weight", 0): channels,
            (f"{_filters(network)}.bias", 0): channels,
            ("gru.weight_ih_l0", 1): columns,
        },
    )


def _filters(network: Network) -> str:
    """The part of the convolution whose outputs are the channels."""
    full = network.shape.convolution == "full"
    return "convolution.conv" if full else "convolution.pointwise"


def _positions(network: Network) -> int:
    """Features of each channel."""
    shape = network.shape
    if shape.convolution == "separable":
        return 1
    return (network.front_end.mel_bands - shape.kernel[0]) // shape.stride[0] + 1


def _taken(network: Network) -> Tensor:
    """(GRU inputs,): the feature of the convolution that each is."""
    if network.shape.inputs is not None:
        return network.inputs
    return torch.arange(network.gru.input_size)


def _norms(network: Network, name: str, axis: int) -> Tensor:
    """The Euclidean norm of each slice of a weight along `axis`."""
    slices = network.get_parameter(name).detach().movedim(axis, 0).flatten(1)
    norms: Tensor = torch.linalg.vector_norm(slices, dim=1)
    return norms


def _strongest(what: str, keep: int, writes: Tensor, reads: Tensor) -> Tensor:
    """Indices, in order, of the `keep` units that matter most.

    By the norm of the weights that a unit computes with times the norm of the
    weights that read it, both (units,), without biases. A unit acts through
    both, so weak weights on either side make it weak. A product, because a
    factor can move from one side to the other without changing what the network
    computes (exactly so for a filter, with ReLU or without), and then must not
    change the choice, as it would that of one norm over all these weights.
    """
    count = len(writes)
    if not 1 <= keep <= count:
        raise RecipeError(f"cannot keep {keep} of {count} {what}: take a number from 1 to {count}")
    order = (writes * reads).argsort(descending=True, stable=True)
    return order[:keep].sort().values
