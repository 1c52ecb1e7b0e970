"""The training loop, one for every network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

B_co = TypeVar("B_co", covariant=True)
B = TypeVar("B")


class Scenes(Protocol[B_co]):
    """Where batches come from."""

    @property
    def state(self) -> dict[str, Any]:
        """From which the same batches follow."""

    @state.setter
    def state(self, state: dict[str, Any]) -> None: ...

    def batch(self, size: int) -> B_co:
        """The next batch of `size` scenes."""


class Drawn:
    """Scenes that are drawn at random: one seed, one sequence of batches."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    @property
    def state(self) -> dict[str, Any]:
        """From which the same batches follow."""
        return dict(self.rng.bit_generator.state)

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state


SAVE_EVERY = 500
"""Steps between checkpoints."""


def fit(
    name: str,
    model: nn.Module,
    objective: Callable[[B], Tensor],
    scenes: Scenes[B],
    *,
    steps: int,
    batch: int,
    rate: float,
    partial: Path,
    average: float = 0.998,
    after_step: Callable[[int], None] | None = None,
    quiet: bool = False,
) -> list[tuple[int, float]]:
    """Trains `model` in place and returns its curve of (step, mean loss).

    AdamW under a one-cycle schedule; at the end the weights are replaced by
    their exponential moving average. Every 500 steps all there is goes into
    the checkpoint `partial`, from which a run that broke off carries on; it is
    deleted at the end. An objective that has parameters of its own, as a
    projection of distillation, learns them beside the model. `after_step` is
    called with the number of each step that has been taken, from 1. `quiet`
    leaves out the progress bar.
    """
    own = list(model.parameters())
    others: list[nn.Parameter] = []
    if isinstance(objective, nn.Module):
        known = set(map(id, own))
        others = [p for p in objective.parameters() if p.requires_grad and id(p) not in known]
    optimiser = torch.optim.AdamW([*own, *others], rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(average))
    parts: dict[str, Any] = {
        "model": model,
        "optimiser": optimiser,
        "schedule": schedule,
        "average": averaged,
    }
    if isinstance(objective, nn.Module):
        parts["objective"] = objective
    curve: list[tuple[int, float]] = []
    start = 0
    if partial.exists():
        saved = torch.load(partial, weights_only=True)
        for key, part in parts.items():
            part.load_state_dict(saved[key])
        start, curve = saved["step"], [tuple(point) for point in saved["curve"]]
        scenes.state = saved["scenes"]
    model.train()
    with Progress(
        TextColumn("{task.description:>24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeRemainingColumn(),
        disable=quiet,
    ) as progress:
        task = progress.add_task(name, total=steps, completed=start, loss=float("nan"))
        recent: list[float] = []
        for step, (scene, state) in enumerate(prefetch(scenes, batch, steps - start), start + 1):
            loss = objective(scene)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            for group in (own, others):
                nn.utils.clip_grad_norm_(group, 1.0)
            optimiser.step()
            schedule.step()
            if after_step is not None:
                after_step(step)
            averaged.update_parameters(model)
            recent.append(loss.item())
            if step % 50 == 0 or step == steps:
                curve.append((step, sum(recent) / len(recent)))
                recent.clear()
                progress.update(task, completed=step, loss=curve[-1][1])
            if step % SAVE_EVERY == 0 and step < steps:
                saved = {key: part.state_dict() for key, part in parts.items()}
                torch.save({**saved, "step": step, "curve": curve, "scenes": state}, partial)
    model.load_state_dict(averaged.module.state_dict())
    model.eval()
    partial.unlink(missing_ok=True)
    return curve


def prefetch(scenes: Scenes[B], size: int, count: int) -> Iterator[tuple[B, dict[str, Any]]]:
    """`count` batches, and after each the state from which the next ones follow.

    The next one is composed while the last one trains.
    """

    def compose() -> tuple[B, dict[str, Any]]:
        return scenes.batch(size), scenes.state

    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(compose)
        for remaining in reversed(range(count)):
            result = following.result()
            if remaining:
                following = thread.submit(compose)
            yield result
