"""The folder of a training: its identity, checkpoints and best network.

    job.json              the job, the dataset and the MLflow run
    splits.csv            the split of each image
    speed.json            the precision
    micro_batches.json    the number of micro-batches per batch, if a whole batch does not fit into memory
    epoch-0007/           the checkpoint after seven epochs: weights.weights.h5 (with the optimizer), state.json, and
                          best.keras, the network of the best epoch so far
    finished              exists when all epochs are done

All files are written under a temporary name and renamed, so they are always complete.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_cnns.networks.recipe import Recipe

WEIGHTS = "weights.weights.h5"
STATE = "state.json"
BEST = "best.keras"
NEW_BEST = ".new-best.keras"
MICRO_BATCHES = "micro_batches"


@dataclass(frozen=True)
class Progress:
    """The progress of a training.

    Attributes:
        epoch: Number of completed epochs.
        seconds: Time spent in `fit`.
        best_score: The best validation score so far.
        history: The metrics of each epoch.
    """

    epoch: int = 0
    seconds: float = 0.0
    best_score: float = -math.inf
    history: tuple[Mapping[str, float], ...] = ()


def is_better(metrics: Mapping[str, float], best_score: float, recipe: Recipe) -> bool:
    """Return whether the network of an epoch with these metrics replaces the best one so far."""
    return recipe.keep == "last" or metrics[recipe.monitor] > best_score


def selected_epoch(history: Sequence[Mapping[str, float]], recipe: Recipe) -> tuple[int, Mapping[str, float]]:
    """Return number (from 1) and metrics of the epoch whose network is kept: the last, or the first of the best."""
    if recipe.keep == "last":
        return len(history), history[-1]
    return max(enumerate(history, start=1), key=lambda item: item[1][recipe.monitor])


def should_stop(history: Sequence[Mapping[str, float]], recipe: Recipe) -> bool:
    """Return whether there was no improvement for as many epochs as the recipe's patience."""
    if recipe.patience is None or not history:
        return False
    scores = [metrics[recipe.monitor] for metrics in history]
    return len(scores) - 1 - scores.index(max(scores)) >= recipe.patience


def selected_metrics(history: Sequence[Mapping[str, float]], recipe: Recipe) -> dict[str, float]:
    """Return the final metrics of a run, mainly those of the selected epoch; none if there was no epoch."""
    if not history:
        return {}
    number, metrics = selected_epoch(history, recipe)
    best = {f"best_{name}": value for name, value in metrics.items() if name.startswith("val_")}
    last = {name: history[-1][name] for name in ("seconds", MICRO_BATCHES) if name in history[-1]}
    return {**best, "best_epoch": float(number), **last}


def selected_score(history: Sequence[Mapping[str, float]], recipe: Recipe) -> float:
    """Return the monitored metric of the selected epoch; NaN if there was no epoch."""
    return selected_metrics(history, recipe).get(f"best_{recipe.monitor}", math.nan)


def save_checkpoint(folder: Path, model: Any, progress: Progress, *, new_best: bool) -> None:
    """Save weights, optimizer and progress after an epoch, then delete older checkpoints.

    Args:
        folder: The folder of the training.
        model: The model.
        progress: The progress.
        new_best: Whether this epoch's network, saved as `NEW_BEST`, is the best so far; otherwise the one of the
            last checkpoint is copied.
    """
    final = checkpoint_path(folder, progress.epoch)
    temporary = folder / f".{final.name}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    model.save_weights(temporary / WEIGHTS)
    older = list_checkpoints(folder)
    if new_best:
        (folder / NEW_BEST).replace(temporary / BEST)
    else:
        shutil.copyfile(older[-1] / BEST, temporary / BEST)
    (temporary / STATE).write_text(json.dumps(vars(progress)), encoding="utf-8")
    temporary.replace(final)
    for path in older:
        shutil.rmtree(path, ignore_errors=True)


def checkpoint_path(folder: Path, epoch: int) -> Path:
    """Return the path of the checkpoint after an epoch."""
    return folder / f"epoch-{epoch:04d}"


def list_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints of a training, oldest first."""
    return sorted(folder.glob("epoch-*"))


def read_progress(folder: Path) -> Progress:
    """Return the progress of a training."""
    checkpoints = list_checkpoints(folder)
    if not checkpoints:
        return Progress()
    state = json.loads((checkpoints[-1] / STATE).read_text(encoding="utf-8"))
    return Progress(state["epoch"], state["seconds"], state["best_score"], tuple(state["history"]))


def restore(folder: Path, model: Any) -> Progress:
    """Load the last checkpoint into a compiled model, and return its progress."""
    progress = read_progress(folder)
    if progress.epoch:
        model.load_weights(list_checkpoints(folder)[-1] / WEIGHTS)
    return progress


def best_model_path(folder: Path) -> Path:
    """Return the file of the best network so far."""
    return list_checkpoints(folder)[-1] / BEST
