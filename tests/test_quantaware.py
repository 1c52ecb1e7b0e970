"""Quantization-aware training, and the other ways to store a network in fewer bytes."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

from torch import nn  # noqa: E402

from device.errors import ExportError, RecipeError  # noqa: E402
from export.graph import write_network  # noqa: E402
from export.half import half_twin, write_half  # noqa: E402
from export.quantize import quantize_network, quantize_weight, quantized_twin  # noqa: E402
from export.torchscript import dynamic_twin, write_dynamic  # noqa: E402
from train_host.frontend import LogMel  # noqa: E402
from train_host.network import Network, Shape, fold_normalisation  # noqa: E402
from train_host.quantaware import attach, detach  # noqa: E402

SHAPES = {
    "separable": Shape("separable", channels=5, hidden=6, layers=1, attention="flat"),
    "full": Shape("full", channels=2, hidden=6, layers=2, attention="deep", attention_width=4),
}


@pytest.fixture(params=SHAPES.values(), ids=SHAPES)
def network(request) -> Network:
    torch.manual_seed(0)
    return Network(request.param)


def probabilities(network, mel):
    with torch.no_grad():
        return torch.softmax(network.stream(mel, network.initial_state(len(mel)))[0], 2)[..., 1]


def mel_of(streams=2, steps=20):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(streams, steps * 8, 40, generator=generator) * 3 - 6


def weights_of(network):
    return {name: p for name, p in network.named_parameters() if p.dim() > 1}


def test_network_computes_with_the_weights_that_the_export_stores(network):
    """All of them, the GRU's too, of which torch keeps a second list."""
    twin = quantized_twin(network, quantize_network(network))
    exact = probabilities(network, mel_of())
    attach(network)
    rounded = probabilities(network, mel_of())
    assert torch.allclose(rounded, probabilities(twin, mel_of()), atol=1e-6)
    assert (rounded - exact).abs().max() > 1e-5


@pytest.mark.parametrize("part", ["convolution", "gru", "linear"])
def test_each_part_alone(network, part):
    before = probabilities(network, mel_of())
    names = set(weights_of(network))
    attach(network, [part], bits=3)
    kinds = {"convolution": "convolution.", "gru": "gru.", "linear": ("energy.", "classifier.")}
    rounded = {n for n in names if n.startswith(kinds[part])}
    assert names - set(weights_of(network)) == rounded
    during = probabilities(network, mel_of())
    assert (during - before).abs().max() > 1e-3
    detach(network)
    assert torch.allclose(probabilities(network, mel_of()), during, atol=1e-6)
    assert set(weights_of(network)) == names
    for name in rounded:
        # Each row takes at most the 7 values of 3 bits, evenly spaced around 0.
        rows = weights_of(network)[name].detach().flatten(1)
        steps = rows / (rows.abs().amax(1, keepdim=True) / 3)
        assert torch.allclose(steps, steps.round(), atol=1e-4)


def test_gradients_reach_the_weights_behind(network):
    """As if nothing had been rounded: the straight-through estimator."""
    attach(network)
    logits, _ = network.stream(mel_of(), network.initial_state(2))
    logits.square().mean().backward()
    twin = quantized_twin(copy_of_originals(network), rounded_by_hand(network))
    logits, _ = twin.stream(mel_of(), twin.initial_state(2))
    logits.square().mean().backward()
    expected = {name: p.grad for name, p in twin.named_parameters()}
    for name, parameter in network.named_parameters():
        gradient = expected[plain(name)]
        assert parameter.grad is not None, name
        assert torch.allclose(parameter.grad, gradient, rtol=1e-4, atol=1e-7), name
        assert name.endswith("bias") or gradient.abs().max() > 0


def plain(name):
    return name.replace("parametrizations.", "").replace(".original", "")


def copy_of_originals(network):
    plain_network = Network(network.shape)
    plain_network.load_state_dict({plain(n): p.detach() for n, p in network.named_parameters()})
    return plain_network


def rounded_by_hand(network):
    return quantize_network(copy_of_originals(network))


def test_training_moves_the_weights_and_the_loss_falls(network):
    torch.manual_seed(1)
    attach(network, bits=4)
    before = [p.detach().clone() for p in network.parameters()]
    optimiser = torch.optim.AdamW(network.parameters(), 1e-2)
    mel, wanted = mel_of(8), torch.arange(8) % 2
    losses = []
    for _ in range(60):
        logits, _ = network.stream(mel, network.initial_state(8))
        loss = nn.functional.cross_entropy(logits[:, -1], wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3
    assert all(not torch.equal(p, b) for p, b in zip(network.parameters(), before, strict=True))
    trained = probabilities(network, mel)
    detach(network)
    assert torch.allclose(probabilities(network, mel), trained, atol=1e-6)


def test_export_loses_nothing_after_training_aware_of_it(network):
    attach(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.37).add_(0.01)
    detach(network)
    twin = quantized_twin(network, quantize_network(network))
    for ours, theirs in zip(network.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-6, atol=0)
    assert torch.allclose(
        probabilities(network, mel_of()), probabilities(twin, mel_of()), atol=1e-6
    )


def test_folding_the_normalisation_keeps_the_grid():
    torch.manual_seed(0)
    network = Network(SHAPES["separable"])
    attach(network)
    detach(network)
    before = quantize_network(network)
    fold_normalisation(network, torch.randn(40), torch.rand(40) + 0.5)
    after = quantize_network(network)
    for name, weight in weights_of(network).items():
        assert torch.equal(before[name].values, after[name].values)
        # But for the digits that a scale loses as a number of float16.
        assert torch.allclose(after[name].dequantize(), weight, rtol=2**-11, atol=0)


def test_copies_may_be_made_between(network):
    """The training loop copies the model to average it, after any number of calls."""
    attach(network)
    expected = probabilities(network, mel_of())
    twin = copy.deepcopy(network)
    assert torch.allclose(probabilities(twin, mel_of()), expected, atol=1e-6)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)
    assert torch.allclose(probabilities(twin, mel_of()), expected, atol=1e-6)
    detach(twin)
    assert torch.allclose(probabilities(twin, mel_of()), expected, atol=1e-6)
    with torch.no_grad():
        twin.gru.weight_ih_l0.mul_(2)
    assert not torch.allclose(probabilities(twin, mel_of()), expected, atol=1e-3)


def test_row_of_zeros_stays():
    network = Network(SHAPES["separable"])
    with torch.no_grad():
        network.convolution.depthwise.weight[3] = 0
    attach(network)
    assert torch.isfinite(probabilities(network, mel_of())).all()
    detach(network)
    assert not network.convolution.depthwise.weight[3].any()


def test_unknown_part_and_bits_are_one_sentence(network):
    with pytest.raises(RecipeError, match="convolution, gru, linear"):
        attach(network, ["attention"])
    with pytest.raises(RecipeError, match="from 2 to 8"):
        attach(network, bits=1)


def test_fewer_bits_err_more():
    weight = torch.randn(8, 50, generator=torch.Generator().manual_seed(0))
    linear = Network(SHAPES["separable"])
    errors = []
    for bits in (8, 6, 4, 2):
        with torch.no_grad():
            linear.energy = nn.Linear(50, 8)
            linear.energy.weight.copy_(weight)
        attach(linear, ["linear"], bits)
        errors.append(float((linear.energy.weight.detach() - weight).abs().mean()))
        detach(linear)
    assert errors == sorted(errors)
    assert errors[0] == pytest.approx(
        float((quantize_weight(weight).dequantize() - weight).abs().mean()), rel=1e-4
    )


def test_float16_file_is_smaller_and_computes_what_its_twin_does(network):
    twin, model = half_twin(network), write_half(network)
    for ours, theirs in zip(network.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=2**-11, atol=1e-7)
    numbers = sum(p.numel() for p in network.parameters())
    saved = write_network(network, {}).ByteSize() - model.ByteSize()
    assert 1.5 * numbers < saved <= 2 * numbers
    session = onnxruntime.InferenceSession(model.SerializeToString())
    state = {s.name: np.full(s.shape, s.initial, np.float32) for s in network.state_layout()}
    mel, found = mel_of(1), []
    for start in range(0, mel.shape[1], 8):
        probability, *after = session.run(
            ["probability", *(f"{name}_next" for name in state)],
            {"mel": mel[:, start : start + 8].numpy(), **state},
        )
        state = dict(zip(state, after, strict=True))
        found.append(probability[0])
    assert np.abs(np.array(found) - probabilities(twin, mel)[0].numpy()).max() < 1e-5


def test_float16_that_overflows_is_one_sentence(network):
    with torch.no_grad():
        network.classifier.bias[0] = 1e6
    with pytest.raises(ExportError, match="too large for float16"):
        half_twin(network)


def test_dynamic_twin_quantizes_gru_and_linear(network):
    exact = probabilities(network, mel_of(1))
    twin = dynamic_twin(network)
    found = probabilities(twin, mel_of(1))
    assert not [m for m in twin.modules() if isinstance(m, nn.GRU | nn.Linear)]
    assert 0 < (found - exact).abs().max() < 0.05
    assert isinstance(network.gru, nn.GRU)


def test_dynamic_twin_computes_as_a_device_calls_it(network):
    """Whatever is in the call, each stream gets what it gets alone and step by step."""
    twin, mel = dynamic_twin(network), mel_of(3)
    mel[1] *= 3  # would coarsen the others' scales
    together, after = twin.stream(mel, twin.initial_state(3))
    for row in range(3):
        state = twin.initial_state()
        for index in range(20):
            step = mel[row : row + 1, 8 * index : 8 * index + 8]
            logits, state = twin.stream(step, state)
            assert torch.equal(logits[0, 0], together[row, index])
        for name, part, whole in zip(state._fields, state, after, strict=True):
            assert torch.equal(
                part.select(int(name == "hidden"), 0), whole.select(int(name == "hidden"), row)
            )


def test_dynamic_twin_is_what_the_export_writes(network):
    samples = torch.randn(1280 * 12, generator=torch.Generator().manual_seed(0)) * 0.1
    module = write_dynamic(network)
    written = torch.cat([module(chunk) for chunk in samples.split(1280)])
    mel = LogMel(network.front_end).whole(samples[None])
    assert torch.allclose(probabilities(dynamic_twin(network), mel)[0], written, atol=1e-5)
