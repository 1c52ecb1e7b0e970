"""Recipes: what may stand in one, and that each method and term does its work in one."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from shapes import STUDENT  # noqa: E402

import train_host.recipe  # noqa: E402
from device.errors import CorpusError, RecipeError  # noqa: E402
from device.manifest import FrontEnd  # noqa: E402
from export.graph import write_network  # noqa: E402
from export.quantize import quantize_network, quantized_twin  # noqa: E402
from train_host import listeners  # noqa: E402
from train_host.features import FeatureStore  # noqa: E402
from train_host.macs import count_macs  # noqa: E402
from train_host.methods import METHODS, TERMS, Training  # noqa: E402
from train_host.network import Network, Shape, save_checkpoint  # noqa: E402
from train_host.prune import sparsity  # noqa: E402
from train_host.recipe import (  # noqa: E402
    CONFIRM,
    FOLDER,
    carry_out,
    parse_recipe,
    read_recipe,
)
from train_host.scenes import Composer, Material  # noqa: E402

FULL = {"convolution": "full", "channels": 3, "hidden": 6, "layers": 1, "attention": "deep"}
SEPARABLE = {**FULL, "convolution": "separable", "channels": 5}
TEACHER = Shape("full", channels=2, hidden=9, layers=2, attention="deep")


def noise(count: int, length: int, seed: int) -> FeatureStore:
    frames = np.random.default_rng(seed).normal(-6, 3, (count * length, 40)).astype(np.float16)
    return FeatureStore(
        frames, np.arange(count + 1) * length, np.array([[10, length - 10]] * count)
    )


@pytest.fixture
def training(tmp_path: Path) -> Training:
    material = Material([noise(3, 60, 0)], [noise(3, 60, 1)], noise(1, 900, 2), None)
    torch.manual_seed(0)
    teacher = Network(TEACHER).eval()
    return Training(Composer(material, 8, FrontEnd(), 0), teacher, teacher, tmp_path, batch=6)


def recipe_of(shape, *stages):
    return parse_recipe("try", {"shape": shape, "stage": list(stages)})


@pytest.mark.parametrize("path", sorted(FOLDER.glob("**/*.toml")), ids=lambda p: p.stem)
def test_shipped_recipes_can_be_read(path: Path):
    recipe = read_recipe(path)
    assert recipe.description
    assert recipe.name == path.stem


@pytest.mark.parametrize(
    ("size", "macs", "size_bytes"),
    [("tiny", 27_042, 5_340), ("small", 60_000, 16_384)],
)
def test_sizes_keep_their_limits(size: str, macs: int, size_bytes: int):
    network = Network(read_recipe(FOLDER / f"{size}.toml").shape)
    assert count_macs(network) <= macs
    onnx = write_network(network, quantize_network(network)).SerializeToString()
    assert len(onnx) <= size_bytes


@pytest.mark.parametrize(
    ("stage", "shape"),
    [
        ({"method": "prune-channels", "keep": 2}, {"channels": 2}),
        ({"method": "prune-attention", "keep": 2}, {"attention_width": 2}),
        ({"method": "prune-hidden", "keep": 4}, {"hidden": 4}),
    ],
    ids=lambda s: s.get("method"),
)
def test_pruned_units_are_gone(training, stage, shape):
    train = {"method": "train", "steps": 2}
    network, curve = carry_out(recipe_of(FULL, train, {**stage, "steps": 2}), training)
    for key, value in shape.items():
        assert getattr(network.shape, key) == value
    assert curve[-1][0] == 4
    assert not list(training.folder.iterdir())


def test_pruned_inputs_are_gone(training):
    network, _ = carry_out(
        recipe_of(FULL, {"method": "prune-inputs", "keep": 7, "steps": 2}), training
    )
    assert network.gru.input_size == 7


@pytest.mark.parametrize("gradual", [False, True], ids=["at once", "gradual"])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_pruned_weights_stay_zero(training, scope, gradual):
    stage = {"method": "prune-weights", "sparsity": 0.6, "scope": scope, "gradual": gradual}
    network, _ = carry_out(recipe_of(SEPARABLE, {**stage, "steps": 5}), training)
    assert sparsity(network) == pytest.approx(0.6, abs=0.02)


def test_zeros_outlive_the_stages_that_follow(training):
    network, _ = carry_out(
        recipe_of(
            SEPARABLE,
            {"method": "prune-weights", "sparsity": 0.5, "steps": 2},
            {"method": "train", "steps": 2},
            {"method": "quantize-aware", "parts": ["gru"], "steps": 2},
            {"method": "prune-hidden", "keep": 4, "steps": 2},
        ),
        training,
    )
    assert sparsity(network) > 0.4


def test_quantization_loses_nothing_after_training_aware_of_it(training):
    stage = {"method": "quantize-aware", "parts": ["convolution", "gru", "linear"], "steps": 3}
    for shape in (SEPARABLE, FULL):
        network, _ = carry_out(recipe_of(shape, stage), training)
        twin = quantized_twin(network, quantize_network(network))
        for (name, one), other in zip(network.named_parameters(), twin.parameters(), strict=True):
            # The normalisation that is folded into the filters moves their scales, which are
            # rounded to float16's numbers again.
            rtol = 2**-11 if name.startswith("convolution") else 0.0
            assert torch.allclose(one, other, rtol=rtol, atol=1e-6)


@pytest.mark.parametrize(
    "term",
    [
        {"term": "clip-soft-labels", "temperature": 3.0},
        {"term": "stream-soft-labels", "weight": 0.7},
        {"term": "to-teacher"},
        {"term": "to-teacher", "learn": True},
        {"term": "to-student"},
        {"term": "to-student", "learn": True},
        {"term": "to-student", "filter_steps": 2},
        {"term": "attention-map"},
    ],
    ids=lambda t: "-".join(map(str, t.values())),
)
def test_each_term_changes_what_is_learnt(training, term):
    stage = {"method": "train", "steps": 3}
    begun = training.scenes.state
    alone, _ = carry_out(recipe_of(SEPARABLE, stage), training)
    training.scenes.state = begun
    taught, _ = carry_out(recipe_of(SEPARABLE, {**stage, "distil": [term]}), training)
    assert not torch.equal(alone.gru.weight_hh_l0, taught.gru.weight_hh_l0)


def test_a_term_without_its_tutor_is_one_sentence(training):
    alone = dataclasses.replace(training, tutor=None)
    recipe = recipe_of(SEPARABLE, {"steps": 1, "distil": [{"term": "attention-map"}]})
    assert recipe.needs_tutor
    with pytest.raises(RecipeError, match="asks for the tutor"):
        carry_out(recipe, alone)
    taught = recipe_of(SEPARABLE, {"steps": 1, "distil": [{"term": "clip-soft-labels"}]})
    assert not taught.needs_tutor
    carry_out(taught, alone)


def test_a_student_that_is_confirmed_needs_a_tutor():
    stages = {"shape": SEPARABLE, "stage": [{"steps": 1}]}
    assert parse_recipe("alone", stages).needs_tutor is False
    assert parse_recipe("confirmed", {**stages, "confirm": "tutor"}).needs_tutor
    with pytest.raises(RecipeError, match="confirm must be one of tutor, verifier"):
        parse_recipe("perhaps", {**stages, "confirm": True})


@pytest.mark.parametrize("name", CONFIRM)
def test_what_confirms_others_begins_as_a_listener(name):
    recipe = read_recipe(FOLDER / f"{name}.toml")
    assert recipe.shape is None
    assert (listeners.FOLDER / f"{recipe.start}.pt").exists()


def test_a_student_may_begin_as_a_listener(training, tmp_path):
    recipe = parse_recipe("gone-on", {"start": "listener", "stage": [{"steps": 1, "rate": 1e-9}]})
    training = dataclasses.replace(training, listeners=tmp_path)
    with pytest.raises(CorpusError, match="not a checkpoint"):
        carry_out(recipe, training)
    listener = Network(STUDENT)
    save_checkpoint(listener, tmp_path / "listener.pt")
    network, _ = carry_out(recipe, training)
    assert network.shape == listener.shape
    for one, other in zip(network.parameters(), listener.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_steps_stretch_all_stages(training):
    recipe = recipe_of(SEPARABLE, {"steps": 30}, {"steps": 10})
    assert carry_out(recipe, training, steps=8)[1][-1][0] == 8


def test_a_broken_off_recipe_goes_on(training, monkeypatch):
    recipe = recipe_of(FULL, {"steps": 2}, {"method": "prune-hidden", "keep": 4, "steps": 2})
    monkeypatch.setitem(METHODS, "prune-hidden", broken_off)
    with pytest.raises(KeyboardInterrupt):
        carry_out(recipe, training)
    monkeypatch.undo()
    trained = []
    fit = "train_host.recipe.fit"
    monkeypatch.setattr(fit, lambda name, *_, **__: trained.append(name) or [(2, 0.5)])
    network, curve = carry_out(recipe, training)
    assert trained == ["try, 2: prune-hidden"]
    assert network.shape.hidden == 4
    assert [step for step, _ in curve] == [2, 4]


def broken_off(model, steps, keep):
    raise KeyboardInterrupt


STEPS = {"steps": 1}
WRONG = {
    "no stage": ({"shape": SEPARABLE}, "at least one"),
    "unknown key": ({"shape": SEPARABLE, "stage": [STEPS], "colour": 1}, "'colour' is not known"),
    "unknown method": ({"shape": SEPARABLE, "stage": [{**STEPS, "method": "pray"}]}, "'pray'"),
    "unknown setting": ({"shape": SEPARABLE, "stage": [{**STEPS, "keep": 3}]}, "'keep' is not"),
    "missing setting": (
        {"shape": SEPARABLE, "stage": [{**STEPS, "method": "prune-hidden"}]},
        "keep is missing",
    ),
    "no steps": ({"shape": SEPARABLE, "stage": [{"method": "train"}]}, "steps must be"),
    "wild rate": ({"shape": SEPARABLE, "stage": [{**STEPS, "rate": 4.0}]}, "rate must be"),
    "unknown term": (
        {"shape": SEPARABLE, "stage": [{**STEPS, "distil": [{"term": "osmosis"}]}]},
        "clip-soft-labels",
    ),
    "unknown setting of a term": (
        {"shape": SEPARABLE, "stage": [{**STEPS, "distil": [{"term": "to-teacher", "heat": 1}]}]},
        "'heat' is not known",
    ),
    "no shape": ({"stage": [STEPS]}, r"table \[shape\]"),
    "shape and start": ({"shape": SEPARABLE, "start": "teacher", "stage": [STEPS]}, "either a"),
    "wrong start": ({"start": "base", "stage": [STEPS]}, "either a"),
    "wrong shape": ({"shape": {**SEPARABLE, "attention": "rapt"}, "stage": [STEPS]}, "deep, flat"),
    "wrong size": ({"shape": {**SEPARABLE, "hidden": 0}, "stage": [STEPS]}, "hidden must be"),
}


@pytest.mark.parametrize(("content", "says"), WRONG.values(), ids=WRONG)
def test_wrong_recipes_are_refused_by_name(content, says):
    with pytest.raises(RecipeError, match=says):
        parse_recipe("wrong", content)


def test_unreadable_files_are_one_sentence(tmp_path: Path):
    with pytest.raises(RecipeError, match="cannot be read as a recipe"):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "torn.toml").write_text("[shape\n")
    with pytest.raises(RecipeError, match=r"torn\.toml: not TOML"):
        read_recipe(tmp_path / "torn.toml")


def test_every_term_and_method_is_named_in_the_description():
    import train_host.recipe

    for name in (*METHODS, *TERMS):
        assert f"`{name}`" in train_host.recipe.__doc__


def test_a_stage_dwells_on_hard_negatives_and_the_next_does_not(training, monkeypatch):
    found = []
    monkeypatch.setattr(Composer, "dwell", lambda self, hard: found.append(hard))
    stages = {"steps": 2, "hard": 0.5}, {"steps": 2, "hard_words": 0.25}, {"steps": 2}
    carry_out(recipe_of(SEPARABLE, *stages), training)
    assert [(hard.share, hard.words_share) for hard in found] == [
        (0.5, 0.0),
        (0.0, 0.25),
        (0.0, 0.0),
    ]
    assert [len(hard.places) for hard in found] == [1, 0, 0]
    assert [bool(hard.words) for hard in found] == [False, True, False]


def test_recorded_scenes_cannot_dwell(training):
    recorded = dataclasses.replace(training, scenes=object())
    recipe = dataclasses.replace(
        recipe_of(SEPARABLE, {"steps": 2, "hard": 0.5}), shape=None, start="small-listener"
    )
    with pytest.raises(RecipeError, match="hard negatives need scenes that are composed afresh"):
        carry_out(recipe, recorded)


@pytest.mark.parametrize("hard", [1, -0.1, 1.5, "much"])
@pytest.mark.parametrize("key", ["hard", "hard_words"])
def test_hard_is_a_share(key, hard):
    with pytest.raises(RecipeError, match=f"stage 1: {key} must be a number"):
        recipe_of(SEPARABLE, {"steps": 2, key: hard})


def test_a_stage_hears_its_scenes_at_several_alignments(training, monkeypatch):
    asked = []

    class Noted(train_host.recipe.StreamObjective):
        def forward(self, batch):
            asked.append((len(batch.mel), list(self.skipped)))
            return super().forward(batch)

    monkeypatch.setattr(train_host.recipe, "StreamObjective", Noted)
    carry_out(recipe_of(SEPARABLE, {"steps": 1, "alignments": 4}, {"steps": 1}), training)
    whole = training.batch
    assert asked == [(whole // 4, [0, 2, 4, 6]), (whole, [0])]


@pytest.mark.parametrize("alignments", [0, 1.5, "all"])
def test_alignments_are_a_whole_number(alignments):
    with pytest.raises(RecipeError, match="stage 1: alignments must be a whole number"):
        recipe_of(SEPARABLE, {"steps": 2, "alignments": alignments})


def test_alignments_part_a_step_evenly(training):
    with pytest.raises(RecipeError, match="stage 1: alignments must divide the 8 frames of a step"):
        carry_out(recipe_of(SEPARABLE, {"steps": 2, "alignments": 3}), training)
