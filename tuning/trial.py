"""One candidate: what runs inside a worker of Ray. Only here does a sweep load a backend."""

from __future__ import annotations

import gc
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ray import tune

from keras_cnns.counting import Counts
from keras_cnns.data import Dataset
from keras_cnns.training.checkpoints import read_progress, write_text
from tuning.space import Candidate

FAILURE = "failure.txt"


def trial_folder(folder: Path, number: int) -> Path:
    """Return where the candidate of this number keeps its checkpoints."""
    return folder / "trials" / f"{number:04d}"


def run_trial(
    config: Mapping[str, Any],
    *,
    dataset: Dataset,
    seed: int,
    folder: Path,
    ended: Collection[int],
) -> None:
    """Train one candidate and report each epoch to Tune.

    What an earlier process has trained of it is reported again from its checkpoint, which brings the
    scheduler to where it was; then training goes on, unless the candidate had ended.
    """
    number = config["number"]
    place = trial_folder(folder, number)
    try:
        for epoch, metrics in enumerate(read_progress(place).history, start=1):
            tune.report({**metrics, "epoch": epoch})
        if number not in ended:
            train_candidate(config["candidate"], dataset, seed=seed, place=place)
    except Exception as error:
        place.mkdir(parents=True, exist_ok=True)
        write_text(place / FAILURE, f"{type(error).__name__}: {error}".splitlines()[0])
        raise


def train_candidate(candidate: Candidate, dataset: Dataset, *, seed: int, place: Path) -> None:
    """Train one candidate in this worker, which has one core and may have trained others before."""
    import keras  # noqa: PLC0415 - the driver, which imports this module too, needs no backend
    import tensorflow as tf  # noqa: PLC0415

    from keras_cnns.training.fit import fit  # noqa: PLC0415
    from keras_cnns.training.job import Job, measure  # noqa: PLC0415

    keras.backend.clear_session()
    gc.collect()
    if not tf.config.threading.get_intra_op_parallelism_threads():
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    job = Job(model=candidate.model, settings=candidate.settings, recipe=candidate.recipe, seed=seed)
    fit(job, dataset, place, observer=Reporter(measure(job, dataset)))


class Reporter:
    """Reports each epoch to Tune, with what the network costs."""

    def __init__(self, costs: Counts) -> None:
        self.costs = costs.as_metrics()

    def step(self, done: int, total: int) -> None:
        """Single steps are not reported."""

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Report; Tune may end the trial here."""
        tune.report({**metrics, **self.costs, "epoch": number})
