"""Recipes: how a student is made, stage by stage, read from a TOML file.

A recipe names the student's shape and a list of stages. Each stage changes the
network by one method and trains it for some steps:

    description = "..."

    [shape]
    convolution = "full"
    channels = 8
    hidden = 32
    layers = 1
    attention = "deep"

    [[stage]]
    method = "train"
    steps = 4000
    distil = [{ term = "stream-soft-labels", temperature = 2.0 }]

    [[stage]]
    method = "prune-hidden"
    keep = 16
    steps = 2000

In place of the table [shape], `start` names a network that has learned to listen
and gives its shape and weights (`train_host/listeners.py`).

`confirm` names the recipe of a network that confirms what excites the student
(`device/cascade.py`).

Methods and their settings:

* `train`: nothing but training;
* `prune-channels`, `prune-attention`, `prune-hidden`, `prune-inputs`: take
  units out until `keep` are left, then train;
* `prune-weights`: set the share `sparsity` of the weights to zero, `scope`
  "global" or "layer", at once or, with `gradual = true`, little by little;
* `quantize-aware`: train with the weights of `parts` rounded to `bits` bits.

Any stage may distil: `distil` lists terms by name, with their settings:

* `clip-soft-labels`, `stream-soft-labels`: `temperature`, `weight`;
* `to-teacher` (layer-wise, in the teacher's domain): `learn`, `weight`;
* `to-student` (layer-wise, in the student's): `learn` or `filter_steps` (of the
  filter's own training before the stage), `weight`;
* `attention-map`: `weight`.

`rate` is the highest learning rate of a stage. With `alignments = A` it hears every
scene A times, its steps falling elsewhere, and is judged at the worst of them; a batch
then holds an Ath of the scenes. `hard` says how much of a stage's running speech
without the keyword holds what excites the network most as the stage begins, `hard_words`
how many of its other words do (`train_host/mining.py`). `storage` says in which form the
network is stored at the end: "int8" (the default: weights only), "float16", "float32", or
"dynamic" (GRU and linear layers quantize their activations too).
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import shutil
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from device.errors import RecipeError
from export.storage import STORAGE
from train_host import listeners
from train_host.fit import fit
from train_host.methods import METHODS, TERMS, Training
from train_host.mining import hard_negatives
from train_host.network import (
    Network,
    Shape,
    fold_normalisation,
    load_checkpoint,
    save_checkpoint,
)
from train_host.objectives import Normalised, StreamObjective, Term
from train_host.phrase import fitted
from train_host.scenes import Composer

FOLDER = Path(__file__).resolve().parent / "recipes"
"""The recipes that come with the project."""
CONFIRM = ("tutor", "verifier")
"""Those whose networks confirm others."""

RATE = 4e-3

Curve = list[tuple[int, float]]


@dataclass(frozen=True)
class Stage:
    """One method and the training that goes with it."""

    method: str
    steps: int
    rate: float
    settings: Mapping[str, Any]
    """What the method takes besides."""
    distil: tuple[Mapping[str, Any], ...]
    """Terms of distillation: `term`, and what it takes."""
    hard: float = 0.0
    """Share of the running speech without the keyword that holds a hard negative."""
    hard_words: float = 0.0
    """Share of the other words that are hard negatives."""
    alignments: int = 1
    """How often each scene is heard."""


@dataclass(frozen=True)
class Recipe:
    """A student and the way to it."""

    name: str
    """The file's name without its ending."""
    description: str
    shape: Shape | None
    """None: that of `start`."""
    stages: tuple[Stage, ...]
    storage: str = "int8"
    """In which form the network is stored, one of `export.storage.STORAGE`."""
    note: str = ""
    """What a reader of its results should know."""
    start: str | None = None
    """Name of the network that it begins with; None: none."""
    confirm: str | None = None
    """Name of the recipe whose network confirms what excites the student."""

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    @property
    def needs_tutor(self) -> bool:
        terms = {term["term"] for stage in self.stages for term in stage.distil}
        return bool(self.confirm or terms - {"clip-soft-labels"})


def read_recipe(path: Path) -> Recipe:
    """The recipe in a file.

    Raises RecipeError with one sentence when the file is not there, is no
    TOML, or holds a name or a value that is not known.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as a recipe: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: not TOML: {error}") from error
    try:
        return parse_recipe(path.stem, content)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def parse_recipe(name: str, content: Mapping[str, Any]) -> Recipe:
    """The recipe in a table. Raises RecipeError as `read_recipe` does."""
    known = {"description", "note", "shape", "start", "stage", "storage", "confirm"}
    _known("the recipe", content, known)
    shape, start, stages = (content.get(key) for key in ("shape", "start", "stage"))
    if not isinstance(stages, list) or not stages:
        raise RecipeError("a recipe holds at least one [[stage]]")
    if not (start is None and isinstance(shape, dict)) and not (
        start in listeners.SHAPES and shape is None
    ):
        starts = " or ".join(f'start = "{name}"' for name in listeners.SHAPES)
        raise RecipeError(f"a recipe holds either a table [shape] or {starts}")
    confirm = content.get("confirm")
    if confirm not in (None, *CONFIRM):
        raise RecipeError(f"confirm must be one of {', '.join(CONFIRM)}")
    storage = content.get("storage", "int8")
    if storage not in STORAGE:
        raise RecipeError(f"storage must be one of {', '.join(STORAGE)}")
    return Recipe(
        name,
        str(content.get("description", "")),
        _shape(shape) if shape is not None else None,
        tuple(_stage(number, stage) for number, stage in enumerate(stages, 1)),
        storage,
        str(content.get("note", "")),
        start,
        confirm,
    )


def _shape(content: Mapping[str, Any]) -> Shape:
    _known("[shape]", content, {f.name for f in fields(Shape)})
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
    choices = {"convolution": ("full", "separable"), "attention": ("deep", "flat")}
    for key, allowed in choices.items():
        if values.get(key) not in allowed:
            raise RecipeError(f"[shape] {key} must be one of {', '.join(allowed)}")
    for key in ("channels", "hidden", "layers"):
        _whole("[shape]", key, values.get(key))
    return Shape(**values)


def _stage(number: int, content: Mapping[str, Any]) -> Stage:
    where = f"stage {number}"
    rest = dict(content)
    method = rest.pop("method", "train")
    if method not in METHODS:
        raise RecipeError(f"{where}: no method {method!r}; there are {', '.join(METHODS)}")
    steps = _whole(where, "steps", rest.pop("steps", None))
    rate = _rate(where, rest.pop("rate", RATE))
    hard, hard_words = (_share(where, key, rest.pop(key, 0.0)) for key in ("hard", "hard_words"))
    alignments = _whole(where, "alignments", rest.pop("alignments", 1))
    terms = rest.pop("distil", [])
    for term in terms:
        if not isinstance(term, dict) or term.get("term") not in TERMS:
            raise RecipeError(f"{where}: distil lists tables with a term of {', '.join(TERMS)}")
    _fits(f"{where} ({method})", METHODS[method], {"model", "steps"}, rest)
    for term in terms:
        kind = term["term"]
        _fits(f"{where} ({kind})", TERMS[kind], {"network", "training"}, _settings(term))
    return Stage(method, steps, rate, rest, tuple(terms), hard, hard_words, alignments)


def _share(where: str, key: str, share: Any) -> float:
    if not isinstance(share, float) or not 0 <= share <= 1:
        raise RecipeError(f"{where}: {key} must be a number from 0.0 to 1.0")
    return share


def _rate(where: str, rate: Any) -> float:
    if not isinstance(rate, float) or not 0 < rate < 1:
        raise RecipeError(f"{where}: rate must be a number between 0 and 1")
    return rate


def _fits(where: str, function: Callable[..., Any], own: set[str], given: dict[str, Any]) -> None:
    """Raises RecipeError when `function` does not take what is given, or needs more."""
    parameters = {k: v for k, v in inspect.signature(function).parameters.items() if k not in own}
    _known(where, given, set(parameters))
    for key, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and key not in given:
            raise RecipeError(f"{where}: {key} is missing")


def _known(where: str, content: Mapping[str, Any], names: set[str]) -> None:
    unknown = sorted(set(content) - names)
    if unknown:
        known = ", ".join(sorted(names)) or "none"
        raise RecipeError(f"{where}: {unknown[0]!r} is not known; known are {known}")


def _whole(where: str, key: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise RecipeError(f"{where}: {key} must be a whole number of at least 1")
    return value


# --- Carrying out ---


def carry_out(
    recipe: Recipe, training: Training, steps: int | None = None
) -> tuple[Network, Curve]:
    """The student that a recipe makes, and its curve of (step, mean loss) over all stages.

    With `steps` the recipe is stretched or shrunk to so many steps in all. A
    run that broke off carries on from its last checkpoint, as long as the
    recipe is the same. For a phrase of more than a second the attention looks
    back as far as the teacher's. Raises RecipeError when a stage does not fit
    its network.
    """
    torch.manual_seed(training.seed)
    window = training.clip_teacher.shape.window
    if recipe.start is not None:
        network = listeners.read_listener(recipe.start, training.listeners, window)
        # Its filters take log-mel as it is.
        bands = network.front_end.mel_bands
        model = Normalised(network, torch.zeros(bands), torch.ones(bands))
    else:
        assert recipe.shape is not None
        shape = fitted(recipe.shape, window)
        recipe = dataclasses.replace(recipe, shape=shape)
        network = Network(shape)
        model = Normalised(network, *_normalisation(network, training))
    scale = steps / recipe.steps if steps else 1.0
    folder = training.folder / f"{recipe.name}.{_digest(recipe, training.seed, scale)}"
    folder.mkdir(parents=True, exist_ok=True)
    curve: Curve = []
    for number, stage in enumerate(recipe.stages, 1):
        done = folder / f"{number}.pt"
        count = max(1, round(stage.steps * scale))
        before = curve[-1][0] if curve else 0
        if done.exists():
            model.network, record = load_checkpoint(done)
            curve += [(step, loss) for step, loss in record["curve"]]
            continue
        torch.manual_seed(training.seed + number)
        _check_alignments(number, stage.alignments, model.network)
        _dwell_on_hard(model, stage, training)
        with METHODS[stage.method](model, count, **stage.settings) as after_step:
            terms = [_term(term, model.network, training) for term in stage.distil]
            part = fit(
                f"{recipe.name}, {number}: {stage.method}",
                model,
                StreamObjective(model, terms, alignments=stage.alignments),
                training.scenes,
                steps=count,
                batch=max(1, training.batch // stage.alignments),
                rate=stage.rate,
                partial=folder / f"{number}.partial.pt",
                after_step=after_step,
                quiet=training.quiet,
            )
        part = [(before + step, loss) for step, loss in part]
        save_checkpoint(model.network, done, curve=part)
        curve += part
    network = model.network.eval()
    fold_normalisation(network, model.mean, model.std)
    shutil.rmtree(folder)
    return network, curve


def _check_alignments(number: int, alignments: int, network: Network) -> None:
    frames = network.shape.stride[1]
    if frames % alignments:
        raise RecipeError(
            f"stage {number}: alignments must divide the {frames} frames of a step evenly"
        )


def _dwell_on_hard(model: Normalised, stage: Stage, training: Training) -> None:
    """Lets the scenes of a stage hold what the network takes for the keyword as it begins."""
    scenes = training.scenes
    if isinstance(scenes, Composer):
        material, step = scenes.material, scenes.step
        scenes.dwell(hard_negatives(model, material, step, stage.hard, stage.hard_words))
    elif stage.hard or stage.hard_words:
        raise RecipeError("hard negatives need scenes that are composed afresh")


def _term(content: Mapping[str, Any], network: Network, training: Training) -> Term:
    return TERMS[content["term"]](network, training, **_settings(content))


def _settings(term: Mapping[str, Any]) -> dict[str, Any]:
    """What a term of distillation takes besides its name."""
    return {key: value for key, value in term.items() if key != "term"}


def _normalisation(network: Network, training: Training) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each band over some scenes, both (bands,).

    A full convolution's filters slide over the bands, so that it can absorb
    one mean and one deviation for all of them only.
    """
    sample = torch.cat([training.scenes.batch(training.batch).mel for _ in range(8)]).flatten(0, 1)
    if network.shape.convolution == "separable":
        return sample.mean(0), sample.std(0)
    bands = sample.shape[1]
    return sample.mean().expand(bands).clone(), sample.std().expand(bands).clone()


def _digest(recipe: Recipe, seed: int, scale: float) -> str:
    return hashlib.sha256(repr((recipe, seed, scale)).encode()).hexdigest()[:12]
