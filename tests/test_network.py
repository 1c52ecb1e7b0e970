"""The network: sizes of the origin, stream equals offline, folding, checkpoints."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from shapes import PRUNED, STUDENT, random_mel, random_network  # noqa: E402

from device.errors import CorpusError  # noqa: E402
from export.graph import write_network  # noqa: E402
from export.quantize import quantize_network  # noqa: E402
from train_host.macs import (  # noqa: E402
    count_graph_macs,
    count_macs,
    count_stream_macs,
    parameters,
)
from train_host.network import (  # noqa: E402
    BASE_32,
    BASE_64,
    Network,
    StreamState,
    fold_normalisation,
    load_checkpoint,
    save_checkpoint,
)

SHAPES = {"base 32": BASE_32, "base 64": BASE_64, "student": STUDENT, "pruned": PRUNED}


@pytest.mark.parametrize(("shape", "count"), [(BASE_32, 25_387), (BASE_64, 70_443)])
def test_base_has_the_origins_parameters(shape, count):
    assert parameters(Network(shape)) == count


def test_base_has_the_origins_macs():
    assert count_macs(Network(BASE_32)) == 432_672


@pytest.mark.parametrize("int8", [False, True], ids=["float", "int8"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_macs_of_the_exported_graph_are_those_of_the_network(shape, int8):
    network = random_network(shape)
    graph = write_network(network, quantize_network(network) if int8 else {})
    counted = count_graph_macs(graph, network.front_end)
    assert counted == (count_macs(network), count_stream_macs(network))


def test_student_is_small_enough():
    assert 432_672 / count_macs(Network(STUDENT)) >= 10.65
    assert count_stream_macs(Network(BASE_32)) / count_stream_macs(Network(STUDENT)) >= 10.65


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 9), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_stream_equals_offline(shape, cuts, seed):
    network, mel = random_network(shape), random_mel(sum(cuts), seed)
    with torch.no_grad():
        whole, end = network.stream(mel, network.initial_state(2))
        state, pieces, start = network.initial_state(2), [], 0
        for cut in cuts:
            logits, state = network.stream(mel[:, 8 * start : 8 * (start + cut)], state)
            pieces.append(logits)
            start += cut
    assert torch.allclose(torch.cat(pieces, 1), whole, atol=1e-5)
    for name, one, other in zip(StreamState._fields, state, end, strict=True):
        assert torch.allclose(one, other, atol=1e-5), name


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_attention_forgets_what_left_its_window(shape):
    network, mel = random_network(shape), random_mel(30)
    with torch.no_grad():
        _, state = network.stream(mel, network.initial_state(2))
        altered = state._replace(
            energies=torch.cat([torch.full((2, 1), 50.0), state.energies[:, 1:]], 1)
        )
        one, _ = network.stream(mel[:, :8], state)
        other, _ = network.stream(mel[:, :8], altered)
    assert torch.equal(one, other)


def test_frames_must_be_whole_steps():
    network = random_network(STUDENT)
    with pytest.raises(ValueError, match="whole number of steps"):
        network.stream(torch.zeros(1, 9, 40), network.initial_state())


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_folding_changes_nothing(shape):
    network, mel = random_network(shape), random_mel(10)
    mean, std = torch.linspace(-9, -4, 40), torch.linspace(1, 4, 40)
    if shape.convolution == "full":
        with pytest.raises(ValueError, match="one mean and deviation for all bands"):
            fold_normalisation(network, mean, std)
        mean, std = mean[:1].expand(40), std[:1].expand(40)
    state = network.initial_state(2)
    normalised = state._replace(conv_tail=(state.conv_tail - mean) / std)
    with torch.no_grad():
        expected, _ = network.stream((mel - mean) / std, normalised)
        fold_normalisation(network, mean, std)
        found, _ = network.stream(mel, state)
    assert torch.allclose(found, expected, atol=1e-4)


def test_checkpoint_returns_network_and_record(tmp_path: Path):
    network = random_network(STUDENT, seed=3)
    save_checkpoint(network, tmp_path / "a.pt", keyword="sheila", curve=[(1, 0.5)])
    again, record = load_checkpoint(tmp_path / "a.pt")
    assert again.shape == STUDENT
    assert record["keyword"] == "sheila"
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def test_no_checkpoint_is_one_sentence(tmp_path: Path):
    (tmp_path / "a.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(CorpusError, match=r"a\.pt: not a checkpoint; run `make train` again"):
        load_checkpoint(tmp_path / "a.pt")


def test_checkpoint_of_other_layers_is_one_sentence(tmp_path: Path):
    save_checkpoint(random_network(STUDENT), tmp_path / "a.pt")
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    content["weights"]["convolution.depthwise.bias"] = torch.zeros(40)
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CorpusError, match="another version of kws-pi"):
        load_checkpoint(tmp_path / "a.pt")


def test_checkpoint_cannot_run_code(tmp_path: Path):
    class Malice:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "touched",))

    torch.save({"shape": Malice()}, tmp_path / "a.pt")
    with pytest.raises(CorpusError):
        load_checkpoint(tmp_path / "a.pt")
    assert not (tmp_path / "touched").exists()
