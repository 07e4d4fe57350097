"""A training's folder: what it is, how far it came, its best network.

    job.json              what is trained, on what, and the run that records it
    epoch-0007/           after seven epochs: weights.weights.h5 (optimizer included), state.json, and
                          best.keras, the network of the best epoch so far
    finished              there once all epochs are done

Everything is written under a temporary name and renamed, so that whatever has its name is whole.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WEIGHTS = "weights.weights.h5"
STATE = "state.json"
BEST = "best.keras"


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


def best_epoch(history: Sequence[Mapping[str, float]], monitor: str) -> tuple[int, Mapping[str, float]]:
    """Return number (from 1) and metrics of the epoch that is best in `monitor`, the first of equals."""
    return max(enumerate(history, start=1), key=lambda item: item[1][monitor])


def kept_metrics(history: Sequence[Mapping[str, float]], monitor: str) -> dict[str, float]:
    """Return what a run holds of its best epoch beside the curves; nothing where no epoch was done."""
    if not history:
        return {}
    number, metrics = best_epoch(history, monitor)
    best = {f"best_{name}": value for name, value in metrics.items() if name.startswith("val_")}
    return {**best, "best_epoch": float(number), "seconds": history[-1]["seconds"]}


def write_text(path: Path, text: str) -> None:
    """Write a whole file or none."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def save_checkpoint(folder: Path, model: Any, progress: Progress, *, best: Any | None) -> Path:
    """Save weights, optimizer and progress after a whole epoch, then drop older checkpoints.

    Args:
        folder: The training's folder.
        model: The model as it is now.
        progress: How far it came.
        best: The network of this epoch where it is the best so far; None carries the best before it over.

    Returns:
        The checkpoint's folder.
    """
    final = folder / f"epoch-{progress.epoch:04d}"
    temporary = folder / f".{final.name}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    model.save_weights(temporary / WEIGHTS)
    older = checkpoints(folder)
    if best is not None:
        best.save(temporary / BEST)
    else:
        shutil.copyfile(older[-1] / BEST, temporary / BEST)
    (temporary / STATE).write_text(json.dumps(vars(progress)), encoding="utf-8")
    temporary.replace(final)
    for checkpoint in older:
        shutil.rmtree(checkpoint, ignore_errors=True)
    return final


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
    """Return the file of the best network so far."""
    return checkpoints(folder)[-1] / BEST
