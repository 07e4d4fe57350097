"""A training's folder: what it is, how far it came, its best network.

    job.json              what is trained, on what, and the run that records it
    splits.csv            which image is in which split
    speed.json            in which precision it computes
    parts.json            in how many parts a batch comes, where memory does not hold it whole
    epoch-0007/           after seven epochs: weights.weights.h5 (optimizer included), state.json, and
                          best.keras, the network that is kept so far
    finished              there once all epochs are done

Everything is written under a temporary name and renamed, so that whatever has its name is whole.
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

from keras_cnns.atomic import atomic_write
from keras_cnns.networks.recipe import Recipe

WEIGHTS = "weights.weights.h5"
STATE = "state.json"
BEST = "best.keras"
NEW_BEST = ".new-best.keras"
BATCH_PARTS = "batch_parts"


@dataclass(frozen=True)
class Progress:
    """How far a training came.

    Attributes:
        epoch: Whole epochs done.
        seconds: Time spent inside `fit`.
        best_score: The best validation score so far.
        history: The metrics of each epoch.
    """

    epoch: int
    seconds: float
    best_score: float
    history: tuple[Mapping[str, float], ...]


START = Progress(epoch=0, seconds=0.0, best_score=float("-inf"), history=())


def is_better(metrics: Mapping[str, float], best_score: float, recipe: Recipe) -> bool:
    """Return whether the network of an epoch with these metrics is to be kept instead of the one kept so far."""
    return recipe.keep == "last" or metrics[recipe.monitor] > best_score


def best_epoch(history: Sequence[Mapping[str, float]], recipe: Recipe) -> tuple[int, Mapping[str, float]]:
    """Return number (from 1) and metrics of the epoch whose network is kept: of equally good ones the first."""
    if recipe.keep == "last":
        return len(history), history[-1]
    return max(enumerate(history, start=1), key=lambda item: item[1][recipe.monitor])


def patience_over(history: Sequence[Mapping[str, float]], recipe: Recipe) -> bool:
    """Return whether as many epochs as the recipe has patience for have not been better than one before them."""
    if recipe.patience is None or not history:
        return False
    scores = [metrics[recipe.monitor] for metrics in history]
    return len(scores) - 1 - scores.index(max(scores)) >= recipe.patience


def kept_metrics(history: Sequence[Mapping[str, float]], recipe: Recipe) -> dict[str, float]:
    """Return what a run holds of its kept epoch beside the curves; nothing where no epoch was done."""
    if not history:
        return {}
    number, metrics = best_epoch(history, recipe)
    best = {f"best_{name}": value for name, value in metrics.items() if name.startswith("val_")}
    last = {name: history[-1][name] for name in ("seconds", BATCH_PARTS) if name in history[-1]}
    return {**best, "best_epoch": float(number), **last}


def kept_score(history: Sequence[Mapping[str, float]], recipe: Recipe) -> float:
    """Return what is monitored of the kept epoch; not a number where no epoch was done."""
    return kept_metrics(history, recipe).get(f"best_{recipe.monitor}", math.nan)


def write_text(path: Path, text: str) -> None:
    """Write a whole file or none."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_checkpoint(folder: Path, model: Any, progress: Progress, *, new_best: bool) -> Path:
    """Save weights, optimizer and progress after a whole epoch, then drop older checkpoints.

    Args:
        folder: The training's folder.
        model: The model as it is now.
        progress: How far it came.
        new_best: Whether the network to keep is this epoch's, already saved as `NEW_BEST`; else the one before stays.

    Returns:
        The checkpoint's folder.
    """
    final = checkpoint(folder, progress.epoch)
    temporary = folder / f".{final.name}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    model.save_weights(temporary / WEIGHTS)
    older = checkpoints(folder)
    if new_best:
        (folder / NEW_BEST).replace(temporary / BEST)
    else:
        shutil.copyfile(older[-1] / BEST, temporary / BEST)
    (temporary / STATE).write_text(json.dumps(vars(progress)), encoding="utf-8")
    temporary.replace(final)
    for before in older:
        shutil.rmtree(before, ignore_errors=True)
    return final


def checkpoint(folder: Path, epoch: int) -> Path:
    """Name the checkpoint after so many epochs."""
    return folder / f"epoch-{epoch:04d}"


def checkpoints(folder: Path) -> list[Path]:
    """Return the whole checkpoints in a training's folder, oldest first."""
    return sorted(folder.glob("epoch-*"))


def read_progress(folder: Path) -> Progress:
    """Return how far the training in a folder came."""
    found = checkpoints(folder)
    if not found:
        return START
    state = json.loads((found[-1] / STATE).read_text(encoding="utf-8"))
    return Progress(state["epoch"], state["seconds"], state["best_score"], tuple(state["history"]))


def restore(folder: Path, model: Any) -> Progress:
    """Bring a model, built and compiled as it was, to the folder's last checkpoint; return its progress."""
    progress = read_progress(folder)
    if progress.epoch:
        model.load_weights(checkpoints(folder)[-1] / WEIGHTS)
    return progress


def best_model(folder: Path) -> Path:
    """Return the file of the network that is kept so far."""
    return checkpoints(folder)[-1] / BEST
