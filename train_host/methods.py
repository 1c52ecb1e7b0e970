"""The methods of compression by the names that recipes call them by.

`METHODS` are what a stage does to a network, `TERMS` what it may learn from
besides the labels; `train_host.recipe` says what each takes. This is where
the library (`prune`, `quantaware`, `distill`) meets the recipes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from device.errors import RecipeError
from train_host import distill, listeners, prune, quantaware
from train_host.fit import Scenes
from train_host.network import Network
from train_host.objectives import Normalised, Term
from train_host.scenes import Batch

AfterStep = Callable[[int], None] | None


@dataclass(frozen=True)
class Training:
    """What a recipe is carried out with."""

    scenes: Scenes[Batch]
    clip_teacher: Network
    """Judges whole clips."""
    tutor: Network | None
    """Judges every step of a stream; only some terms ask for it."""
    folder: Path
    """Holds the checkpoints until the recipe is done."""
    batch: int = 128
    seed: int = 0
    quiet: bool = False
    """No progress bars."""
    listeners: Path = listeners.FOLDER
    """Where the networks lie that have learned to listen."""


# --- Methods: each changes the network before, during or after its stage's training --------------


@contextlib.contextmanager
def _train(model: Normalised, steps: int) -> Iterator[AfterStep]:
    yield _zeros_kept(model)


def _taking_out(
    take_out: Callable[[Network, int], Network],
) -> Callable[..., contextlib.AbstractContextManager[AfterStep]]:
    @contextlib.contextmanager
    def stage(model: Normalised, steps: int, keep: int) -> Iterator[AfterStep]:
        model.network = take_out(model.network, keep)
        yield _zeros_kept(model)

    return stage


@contextlib.contextmanager
def _prune_weights(
    model: Normalised,
    steps: int,
    sparsity: float,
    scope: prune.Scope = "global",
    gradual: bool = False,
) -> Iterator[AfterStep]:
    if gradual:
        # The last quarter heals what the last cut has hurt.
        hook = prune.GradualPruning(
            model.network, final=sparsity, begin=0, end=max(1, 3 * steps // 4), scope=scope
        )
        yield hook
        hook.hold()
    else:
        model.network = prune.prune_weights(model.network, sparsity, scope)
        zeros = prune.KeepZeros(model.network)
        yield zeros
        zeros(steps)


@contextlib.contextmanager
def _quantize_aware(
    model: Normalised, steps: int, parts: list[str], bits: int = 8
) -> Iterator[AfterStep]:
    zeros = _zeros_kept(model)  # before the weights are parametrised
    quantaware.attach(model.network, parts, bits)
    yield zeros
    quantaware.detach(model.network)


def _zeros_kept(model: Normalised) -> AfterStep:
    """What a stage before has set to zero stays zero."""
    return prune.KeepZeros(model.network) if prune.sparsity(model.network) else None


METHODS: dict[str, Callable[..., contextlib.AbstractContextManager[AfterStep]]] = {
    "train": _train,
    "prune-channels": _taking_out(prune.prune_channels),
    "prune-attention": _taking_out(prune.prune_attention),
    "prune-hidden": _taking_out(prune.prune_hidden),
    "prune-inputs": _taking_out(prune.prune_inputs),
    "prune-weights": _prune_weights,
    "quantize-aware": _quantize_aware,
}


# --- Terms of distillation, by the student's network and what there is to learn from -------------


def _tutor(training: Training) -> Network:
    if training.tutor is None:
        raise RecipeError("a term asks for the tutor, and there is none")
    return training.tutor


def _clip_soft_labels(
    network: Network, training: Training, temperature: float = 2.0, weight: float = 0.5
) -> Term:
    return distill.ClipSoftLabels(training.clip_teacher, temperature, weight)


def _stream_soft_labels(
    network: Network, training: Training, temperature: float = 2.0, weight: float = 0.5
) -> Term:
    return distill.StreamSoftLabels(_tutor(training), temperature, weight)


def _to_teacher(
    network: Network, training: Training, learn: bool = False, weight: float = 1.0
) -> Term:
    teacher = _tutor(training)
    units = network.shape.hidden, teacher.shape.hidden
    return distill.StudentToTeacher(teacher, *units, learn=learn, weight=weight, seed=training.seed)


def _to_student(
    network: Network,
    training: Training,
    learn: bool = False,
    filter_steps: int = 0,
    weight: float = 1.0,
) -> Term:
    teacher = _tutor(training)
    filter = distill.Filter(teacher.shape.hidden, network.shape.hidden, training.seed)
    if filter_steps:
        distill.train_filter(
            filter,
            teacher,
            training.scenes,
            steps=filter_steps,
            batch=training.batch,
            partial=training.folder / "filter.partial.pt",
        )
    return distill.TeacherToStudent(teacher, filter, learn=learn, weight=weight)


def _attention_map(network: Network, training: Training, weight: float = 1.0) -> Term:
    return distill.AttentionMap(_tutor(training), weight)


TERMS: dict[str, Callable[..., Term]] = {
    "clip-soft-labels": _clip_soft_labels,
    "stream-soft-labels": _stream_soft_labels,
    "to-teacher": _to_teacher,
    "to-student": _to_student,
    "attention-map": _attention_map,
}
