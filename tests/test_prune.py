"""Pruning: what goes, what stays, and that a smaller network computes what the masked one does."""

import copy
import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

import shapes  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from shapes import STUDENT, random_network  # noqa: E402
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn  # noqa: E402

from device.errors import RecipeError  # noqa: E402
from export.graph import write_network  # noqa: E402
from export.quantize import quantize_network, quantized_twin  # noqa: E402
from train_host.macs import count_macs, parameters  # noqa: E402
from train_host.network import (  # noqa: E402
    BASE_32,
    Network,
    Shape,
    load_checkpoint,
    save_checkpoint,
)
from train_host.prune import (  # noqa: E402
    GradualPruning,
    KeepZeros,
    cut_attention,
    cut_channels,
    cut_hidden,
    cut_inputs,
    mask,
    prune_attention,
    prune_channels,
    prune_hidden,
    prune_inputs,
    prune_weights,
    sparsity,
)

FULL = Shape("full", channels=4, hidden=10, layers=1, attention="deep")
NARROW = Shape(
    "full",
    channels=5,
    hidden=8,
    layers=1,
    attention="deep",
    attention_width=3,
    inputs=tuple(range(2, 80, 3)),
)
SEPARABLE = Shape("separable", channels=6, hidden=7, layers=1, attention="deep")
SHAPES = {
    "base": BASE_32,
    "full": FULL,
    "narrow": NARROW,
    "separable": SEPARABLE,
    "student": STUDENT,
}
CUTS = {
    "channels": (cut_channels, prune_channels),
    "attention": (cut_attention, prune_attention),
    "hidden": (cut_hidden, prune_hidden),
    "inputs": (cut_inputs, prune_inputs),
}
"""Each kind of unit: what chooses and what prunes."""


def units(kind, shape):
    """How many of a kind a network of this shape has; 0 where it cannot lose any."""
    features = len(shape.inputs) if shape.inputs else shape.channels * 18
    return {
        "channels": shape.channels,
        "attention": (shape.attention_width or shape.hidden) * (shape.attention == "deep"),
        "hidden": shape.hidden * (shape.layers == 1),
        "inputs": features * (shape.convolution == "full"),
    }[kind]


POSSIBLE = [(kind, name) for kind in CUTS for name in SHAPES if units(kind, SHAPES[name])]


random_mel = functools.partial(shapes.random_mel, streams=3)


def weights(network):
    return {name: p.detach() for name, p in network.named_parameters() if p.dim() > 1}


def biases(network):
    return {name: p.detach() for name, p in network.named_parameters() if p.dim() == 1}


def run(network, mel):
    """What the network says of clips and of streams."""
    with torch.no_grad():
        return network.clip(mel), network.stream(mel, network.initial_state(len(mel)))[0]


def assert_same(one, other, mel, tolerance=1e-5):
    for found, expected in zip(run(one, mel), run(other, mel), strict=True):
        assert (found - expected).abs().max() < tolerance


def train(network, hook, steps, average=None):
    """Steps towards random targets, with the hook after each."""
    optimiser = torch.optim.AdamW(network.parameters(), 1e-2, weight_decay=1e-3)
    mel, target = random_mel(4), torch.tensor([0, 1, 0])
    for step in range(1, steps + 1):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network.clip(mel), target).backward()
        optimiser.step()
        hook(step)
        if average is not None:
            average.update_parameters(network)
        yield step


# Single weights


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0, 0.99), seed=st.integers(0, 99))
def test_the_smallest_of_all_weights_go(share, seed):
    network = random_network(SEPARABLE, seed)
    pruned = prune_weights(network, share, "global")
    before = torch.cat([w.flatten() for w in weights(network).values()])
    after = torch.cat([w.flatten() for w in weights(pruned).values()])
    gone = after == 0
    assert gone.sum() == round(share * len(before))
    assert torch.equal(after[~gone], before[~gone])
    if gone.any():
        assert before[gone].abs().max() <= before[~gone].abs().min()


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0, 0.99), seed=st.integers(0, 99))
def test_the_smallest_of_each_layer_go(share, seed):
    network = random_network(SEPARABLE, seed)
    pruned = weights(prune_weights(network, share, "layer"))
    for name, before in weights(network).items():
        gone = pruned[name] == 0
        assert gone.sum() == min(round(share * before.numel()), before.numel() - 1), name
        assert torch.equal(pruned[name][~gone], before[~gone])
        if gone.any():
            assert before[gone].abs().max() <= before[~gone].abs().min()


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_pruning_of_weights_spares_biases_and_the_original(scope):
    network = random_network(BASE_32)
    kept = copy.deepcopy(network.state_dict())
    pruned = prune_weights(network, 0.8, scope)
    for name, bias in biases(network).items():
        assert torch.equal(pruned.get_parameter(name), bias)
    assert all(torch.equal(value, kept[name]) for name, value in network.state_dict().items())
    assert sparsity(network) == 0
    assert sparsity(pruned) == pytest.approx(0.8, abs=0.001)


def test_zeros_of_an_earlier_stage_count_and_stay():
    once = prune_weights(random_network(SEPARABLE), 0.5)
    twice = prune_weights(once, 0.3)
    assert all(torch.equal(w, weights(once)[name]) for name, w in weights(twice).items())


def test_the_gru_computes_with_its_pruned_weights(tmp_path: Path):
    network = random_network(FULL)
    pruned = prune_weights(network, 0.7, "layer")
    assert sorted(pruned.state_dict()) == sorted(network.state_dict())
    save_checkpoint(pruned, tmp_path / "a.pt")
    again, _ = load_checkpoint(tmp_path / "a.pt")
    mel = random_mel(5)
    assert_same(pruned, again, mel, tolerance=1e-7)
    only_gru = copy.deepcopy(network)
    with torch.no_grad():
        for name, weight in only_gru.gru.named_parameters():
            weight.copy_(pruned.gru.get_parameter(name))
    assert (run(only_gru, mel)[0] - run(network, mel)[0]).abs().max() > 1e-4


def test_kept_zeros_stay_in_training_while_the_rest_learns():
    network = prune_weights(random_network(FULL), 0.6, "layer").train()
    before = copy.deepcopy(weights(network))
    for _ in train(network, KeepZeros(network), 5):
        pass
    for name, weight in weights(network).items():
        assert torch.equal(weight == 0, before[name] == 0), name
        assert (weight != before[name]).any(), name
    again = Network(FULL)
    again.load_state_dict(network.state_dict())
    assert_same(network, again, random_mel(3), tolerance=1e-7)


# The gradual schedule


def test_schedule_is_the_papers_cubic():
    schedule = GradualPruning(random_network(FULL), final=0.8, begin=10, end=30)
    assert [schedule.sparsity(step) for step in (0, 9, 10)] == [0, 0, 0]
    assert schedule.sparsity(20) == pytest.approx(0.8 - 0.8 / 8)
    assert schedule.sparsity(25) == pytest.approx(0.8 - 0.8 / 64)
    assert schedule.sparsity(30) == schedule.sparsity(99) == 0.8
    later = GradualPruning(random_network(FULL), initial=0.5, final=0.9, begin=0, end=10)
    assert later.sparsity(0) == pytest.approx(0.5)
    assert later.sparsity(5) == pytest.approx(0.9 - 0.4 / 8)


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_zeros_grow_by_the_schedule_and_never_come_back(scope):
    network = random_network(FULL).train()
    hook = GradualPruning(network, final=0.8, begin=3, end=17, every=5, scope=scope)
    zeros = {name: torch.zeros_like(w, dtype=torch.bool) for name, w in weights(network).items()}
    for step in train(network, hook, 20):
        due = max((s for s in (3, 8, 13, 17) if s <= step), default=0)
        assert sparsity(network) == pytest.approx(hook.sparsity(due), abs=0.01), step
        for name, weight in weights(network).items():
            assert (weight[zeros[name]] == 0).all(), (step, name)
            zeros[name] = weight == 0
    if scope == "layer":
        for name, weight in weights(network).items():
            assert int((weight == 0).sum()) == round(0.8 * weight.numel()), name


def test_zeros_from_before_the_schedule_never_come_back():
    network = prune_weights(random_network(FULL), 0.6).train()
    zeros = {name: w == 0 for name, w in weights(network).items()}
    hook = GradualPruning(network, final=0.3, begin=0, end=6, every=2)
    hook(0)
    for _ in train(network, hook, 7):
        assert all(torch.equal(w == 0, zeros[name]) for name, w in weights(network).items())


def test_schedule_goes_on_where_a_training_broke_off():
    network = random_network(FULL)
    hook = GradualPruning(network, final=0.8, begin=0, end=100, every=10)
    hook(47)
    assert sparsity(network) == pytest.approx(hook.sparsity(47), abs=0.001)
    late = random_network(FULL)
    GradualPruning(late, final=0.8, begin=0, end=100)(150)
    assert sparsity(late) == pytest.approx(0.8, abs=0.001)


def test_hold_clears_what_an_average_has_left():
    network = random_network(FULL).train()
    hook = GradualPruning(network, final=0.8, begin=1, end=9, every=2)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for _ in train(network, hook, 10, average):
        pass
    network.load_state_dict(average.module.state_dict())
    assert sparsity(network) < 0.5
    hook.hold()
    assert sparsity(network) == pytest.approx(0.8, abs=0.001)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"final": 1.0}, "cannot grow from 0.0 to 1.0"),
        ({"initial": 0.9, "final": 0.5}, "cannot grow from 0.9 to 0.5"),
        ({"end": 5, "begin": 5}, "from step 5 to step 5"),
        ({"begin": -1}, "from step -1 to"),
        ({"every": 0}, "every 0 steps"),
        ({"scope": "local"}, "global or layer, not local"),
    ],
)
def test_a_schedule_without_sense_is_refused(options, sentence):
    with pytest.raises(RecipeError, match=sentence):
        GradualPruning(random_network(FULL), **{"final": 0.5, "begin": 0, "end": 9, **options})


@pytest.mark.parametrize("share", [-0.1, 1.0, 50.0])
def test_a_share_outside_its_range_is_refused(share):
    with pytest.raises(RecipeError, match=f"a share of {share} of the weights: take 0 to below 1"):
        prune_weights(random_network(FULL), share)


def test_another_scope_is_refused():
    with pytest.raises(RecipeError, match="global or layer, not local"):
        prune_weights(random_network(FULL), 0.5, "local")


# Whole units


@pytest.mark.parametrize(("kind", "name"), POSSIBLE)
@settings(max_examples=10, deadline=None)
@given(data=st.data(), seed=st.integers(0, 99))
def test_pruned_equals_masked(kind, name, data, seed):
    choose, prune = CUTS[kind]
    network = random_network(SHAPES[name], seed)
    keep = data.draw(st.integers(1, units(kind, SHAPES[name])))
    original = copy.deepcopy(network.state_dict())
    cut = choose(network, keep)
    pruned, masked = prune(network, keep), mask(network, cut)
    assert units(kind, pruned.shape) == keep
    assert pruned.shape == cut.shape
    assert masked.shape == network.shape
    assert_same(pruned, masked, random_mel(14, seed))
    for key, value in network.state_dict().items():
        assert torch.equal(value, original[key]), key


@pytest.mark.parametrize(("kind", "name"), POSSIBLE)
def test_pruned_is_smaller_and_another_network(kind, name):
    network = random_network(SHAPES[name])
    pruned = CUTS[kind][1](network, units(kind, SHAPES[name]) // 2)
    assert parameters(pruned) < parameters(network)
    assert count_macs(pruned) < count_macs(network)
    assert any(
        (one - other).abs().max() > 1e-4
        for one, other in zip(run(pruned, random_mel(5)), run(network, random_mel(5)), strict=True)
    )


@pytest.mark.parametrize(("kind", "name"), POSSIBLE)
def test_keeping_all_changes_nothing(kind, name):
    network = random_network(SHAPES[name])
    pruned = CUTS[kind][1](network, units(kind, SHAPES[name]))
    assert_same(pruned, network, random_mel(5), tolerance=1e-6)
    if kind != "inputs" or not SHAPES[name].inputs:
        assert parameters(pruned) == parameters(network)


def test_masked_hidden_units_are_silent():
    network = random_network(SEPARABLE)
    cut = cut_hidden(network, 3)
    mel = random_mel(20)
    with torch.no_grad():
        outputs = mask(network, cut).trace(mel, network.initial_state(len(mel))).outputs
    kept = cut.kept[("classifier.weight", 1)].tolist()
    silent = [unit for unit in range(7) if unit not in kept]
    assert (outputs[:, :, silent] == 0).all()
    assert (outputs[:, :, kept] != 0).any(dim=1).all()


@pytest.mark.parametrize("shape", [FULL, NARROW, SEPARABLE], ids=["full", "narrow", "separable"])
def test_masked_channels_give_nothing(shape):
    network, mel = random_network(shape), random_mel(9)
    cut = cut_channels(network, 2)
    with torch.no_grad():
        features = mask(network, cut).trace(mel, network.initial_state(len(mel))).features
    kept = cut.kept[("gru.weight_ih_l0", 1)].tolist()
    others = [column for column in range(features.shape[2]) if column not in kept]
    assert others
    assert (features[:, :, others] == 0).all()
    assert (features[:, :, kept] != 0).any()


def weaken(network, factors):
    with torch.no_grad():
        for (name, axis, index), factor in factors.items():
            network.get_parameter(name).select(axis, index).mul_(factor)


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("channels", [("convolution.conv.weight", 0)]),
        ("attention", [("energy.0.weight", 0)]),
        ("attention", [("energy.2.weight", 1)]),
        ("hidden", [("gru.weight_hh_l0", 1), ("energy.0.weight", 1), ("classifier.weight", 1)]),
        ("inputs", [("gru.weight_ih_l0", 1)]),
    ],
)
@pytest.mark.parametrize("weak", [0, 3])
def test_the_weak_unit_goes(kind, parts, weak):
    network = random_network(FULL)
    weaken(network, {(name, axis, weak): 1e-3 for name, axis in parts})
    cut = CUTS[kind][0](network, units(kind, FULL) - 1)
    gone = set(range(units(kind, FULL)))
    gone -= set(cut.kept[parts[0]].tolist())
    assert gone == {weak}


def test_a_hidden_unit_with_weak_gates_goes():
    network = random_network(FULL)
    rows = [
        (f"gru.{kind}_l0", 0, 10 * gate + 4)
        for kind in ("weight_ih", "weight_hh")
        for gate in range(3)
    ]
    weaken(network, dict.fromkeys(rows, 1e-3))
    assert 4 not in cut_hidden(network, 9).kept[("classifier.weight", 1)]


def test_a_factor_between_filter_and_reader_changes_no_choice():
    network, moved = random_network(FULL), random_network(FULL)
    columns = {("gru.weight_ih_l0", 1, column): 1 / 16 for column in range(18, 36)}
    parts = {("convolution.conv.weight", 0, 1): 16.0, ("convolution.conv.bias", 0, 1): 16.0}
    weaken(moved, {**parts, **columns})
    assert_same(moved, network, random_mel(5))
    for keep in (1, 2, 3):
        assert cut_channels(moved, keep).shape == cut_channels(network, keep).shape
        for key, kept in cut_channels(network, keep).kept.items():
            assert torch.equal(cut_channels(moved, keep).kept[key], kept)


def test_channels_without_a_feature_go_with_the_inputs():
    network = random_network(FULL)
    weaken(network, {("gru.weight_ih_l0", 1, column): 1e-3 for column in range(18, 36)})
    pruned = prune_inputs(network, 54)
    assert pruned.shape == dataclasses.replace(FULL, channels=3, inputs=None)
    fewer = prune_inputs(network, 50)
    assert fewer.shape.channels == 3
    assert len(fewer.shape.inputs) == 50
    assert max(fewer.shape.inputs) < 54


def test_the_attention_keeps_its_width_when_the_gru_shrinks():
    pruned = prune_hidden(random_network(FULL), 6)
    assert (pruned.shape.hidden, pruned.shape.attention_width) == (6, 10)
    assert pruned.energy[0].weight.shape == (10, 6)


def test_pruned_keeps_training_mode():
    network = random_network(FULL)
    assert not prune_hidden(network, 4).training
    assert prune_hidden(network.train(), 4).training


@pytest.mark.parametrize(("kind", "name"), POSSIBLE)
@pytest.mark.parametrize("excess", [None, 1])
def test_a_number_out_of_range_is_refused(kind, name, excess):
    count = units(kind, SHAPES[name])
    keep = 0 if excess is None else count + excess
    with pytest.raises(RecipeError, match=f"cannot keep {keep} of {count} .*from 1 to {count}$"):
        CUTS[kind][1](random_network(SHAPES[name]), keep)


@pytest.mark.parametrize(
    ("prune", "shape", "sentence"),
    [
        (prune_hidden, BASE_32, "only a GRU of one layer can lose units, not one of 2"),
        (prune_attention, STUDENT, "a flat attention has no width to prune"),
        (prune_inputs, STUDENT, "prune channels instead"),
    ],
)
def test_what_a_network_does_not_have_is_refused(prune, shape, sentence):
    with pytest.raises(RecipeError, match=sentence):
        prune(random_network(shape), 4)


def test_channels_that_nothing_reads_are_refused():
    network = random_network(dataclasses.replace(FULL, inputs=(20, 21)))
    with torch.no_grad():
        network.gru.weight_ih_l0.zero_()
    with pytest.raises(RecipeError, match="keep more channels"):
        prune_channels(network, 1)


# Pruned networks leave as any other


@pytest.mark.parametrize(
    ("shape", "stages"),
    [
        (BASE_32, [(prune_channels, 5), (prune_inputs, 40), (prune_attention, 6)]),
        (FULL, [(prune_hidden, 4), (prune_inputs, 9), (prune_channels, 1), (prune_attention, 1)]),
        (NARROW, [(prune_inputs, 20), (prune_attention, 2), (prune_hidden, 1)]),
        (SEPARABLE, [(prune_hidden, 5), (prune_channels, 3), (prune_attention, 4)]),
        (STUDENT, [(prune_channels, 12), (prune_hidden, 9), (prune_weights, 0.5)]),
    ],
    ids=["base", "full", "narrow", "separable", "student"],
)
def test_a_sequence_saves_and_exports(shape, stages, tmp_path: Path):
    network = random_network(shape)
    for prune, amount in stages:
        network = prune(network, amount)
    save_checkpoint(network, tmp_path / "a.pt")
    network, _ = load_checkpoint(tmp_path / "a.pt")
    quantized = quantize_network(network)
    twin, mel = quantized_twin(network, quantized), random_mel(30)[:1]
    session = onnxruntime.InferenceSession(write_network(network, quantized).SerializeToString())
    state = {s.name: np.full(s.shape, s.initial, np.float32) for s in network.state_layout()}
    found = []
    for start in range(0, mel.shape[1], 8):
        feed = {"mel": mel[:, start : start + 8].numpy(), **state}
        probability, *after = session.run(["probability", *(f"{n}_next" for n in state)], feed)
        state = dict(zip(state, after, strict=True))
        found.append(probability[0])
    expected = torch.softmax(run(twin, mel)[1], 2)[0, :, 1]
    assert np.abs(np.array(found) - expected.numpy()).max() < 1e-5
