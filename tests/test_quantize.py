"""Weight-only int8."""

import pytest
from hypothesis import given
from hypothesis.strategies import floats

torch = pytest.importorskip("torch")

from shapes import STUDENT  # noqa: E402

from export.quantize import (  # noqa: E402
    payload_bytes,
    quantize_network,
    quantize_weight,
    quantized_twin,
)
from train_host.network import Network  # noqa: E402


def test_error_is_at_most_half_a_scale():
    weight = torch.randn(12, 7) * torch.logspace(-3, 1, 12)[:, None]
    quantized = quantize_weight(weight)
    assert quantized.values.dtype == torch.int8
    error = (quantized.dequantize() - weight).abs()
    assert (error <= quantized.scales[:, None] * 0.5001).all()


def test_largest_of_each_row_is_kept():
    weight = torch.tensor([[0.5, -2.0], [0.01, 0.0], [0.0, 0.0]])
    quantized = quantize_weight(weight)
    assert quantized.values.tolist() == [[32, -127], [127, 0], [0, 0]]
    assert torch.allclose(quantized.dequantize().abs().amax(1), weight.abs().amax(1), rtol=2**-11)


@given(greatest=floats(1e-12, 1e4))
def test_scales_are_numbers_of_float16(greatest: float):
    weight = torch.tensor([[greatest, greatest / 3]])
    quantized = quantize_weight(weight)
    assert torch.equal(quantized.scales.half().float(), quantized.scales)
    assert (quantized.dequantize() - weight).abs().max() <= 0.51 * quantized.scales[0]


def test_twin_computes_with_the_int8_weights():
    network = Network(STUDENT)
    weights = quantize_network(network)
    twin = quantized_twin(network, weights)
    for name, parameter in twin.named_parameters():
        expected = weights[name].dequantize() if name in weights else network.get_parameter(name)
        assert torch.equal(parameter, expected)
    assert quantize_network(twin).keys() == weights.keys()


def test_payload_counts_weights_scales_and_biases():
    network = Network(STUDENT)
    matrices = [p for p in network.parameters() if p.dim() > 1]
    biases = [p for p in network.parameters() if p.dim() == 1]
    expected = sum(p.numel() + 4 * len(p) for p in matrices) + sum(4 * p.numel() for p in biases)
    assert payload_bytes(network, quantize_network(network)) == expected
