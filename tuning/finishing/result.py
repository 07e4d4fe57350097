"""What a sweep comes to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keras_cnns.tracking import Run
from tuning.finishing.finals import Finals
from tuning.finishing.refit import Refit


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """A finished sweep.

    Attributes:
        run_id: The sweep's own run in MLflow, the parent of its trials.
        store: The MLflow store.
        folder: Where the sweep keeps its journal and checkpoints.
        runs: The trials of its search as MLflow gives them back.
        best: The best of them or, where finalists were repeated, of the finalist with the highest mean the repeat in
            the middle; None where all failed.
        front: Those trials that no other beats in score and cost together, the cheapest first; the cost is `cost`,
            or the parameters.
        finals: What came of training the best again with other seeds; None where that was not asked for.
        refit: The winner trained on training and validation images; None where that was not asked for.
        notes: What the space left out, and why.
        seconds: How long this process took over its trials and their repeats.
        utilization: Seconds inside `fit` of all trials over seconds times the trials that the machines hold at once.
    """

    run_id: str
    store: str
    folder: Path
    runs: list[Run]
    best: Run | None
    front: list[Run]
    finals: Finals | None
    refit: Refit | None
    notes: tuple[str, ...]
    seconds: float
    utilization: float
