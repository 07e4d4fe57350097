"""The winner trained once more, on training and validation images together, and registered.

Nothing is left to choose by, so nothing is chosen: it trains for the epochs that were found, keeps its last network,
and takes threshold and temperature from the trial that it repeats, which had not seen the validation images.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from keras_cnns.data import Dataset
from keras_cnns.data.splits import SPLIT_TABLE, split_table
from keras_cnns.errors import StoreError, TrainingError
from keras_cnns.tracking import Run, RunDescription, Store
from keras_cnns.tracking.registry import FINGERPRINT, Registered, Registry
from keras_cnns.tracking.runs import TRAIN_AND_VALIDATION, TRAINED_ON
from keras_cnns.training.checkpoints import write_text
from keras_cnns.training.run_directory import FINISHED
from tuning.candidates.space import Candidate
from tuning.running.plan import Plan

REFIT = "refit"

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Winner:
    """What is trained again.

    Attributes:
        number: Its trial in the search.
        name: What that trial is called.
        candidate: Its network and recipe.
        epochs: How many epochs are best for it.
        run: The run that was validated: of the trial or, with repeats, of one of them.
        settled: The threshold and the temperature that its validation images settled.
        score: What the monitor reached: over repeats the mean.
        seeds: Over how many seeds that is.
    """

    number: int
    name: str
    candidate: Candidate
    epochs: int
    run: Run
    settled: Mapping[str, float]
    score: float
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Refit:
    """The winner, trained on training and validation images.

    Attributes:
        run_id: Its run in MLflow.
        epochs: How many epochs it trained for.
        registered: Where it is in the model registry.
    """

    run_id: str
    epochs: int
    registered: Registered


def refit(
    winner: Winner, plan: Plan, store: Store, place: Path, *, parent: str, experiment: str, tell: Tell | None
) -> Refit:
    """Train the winner on all that is not the test split, in this process, and register it.

    Done twice it goes on from its last checkpoint, and is registered once.

    Args:
        winner: What to train.
        plan: The sweep.
        store: Where the run is recorded.
        place: The sweep's folder.
        parent: The sweep's own run.
        experiment: The experiment's name.
        tell: Told how far it is.

    Raises:
        TrainingError: The loss is no longer finite.
    """
    import keras  # noqa: PLC0415 - the driver of a sweep loads a backend last

    from keras_cnns.training.fit import fit  # noqa: PLC0415
    from keras_cnns.training.job import Job  # noqa: PLC0415
    from keras_cnns.training.run import EXAMPLES, Recorder  # noqa: PLC0415

    candidate, dataset = winner.candidate, plan.dataset.joined()
    recipe = candidate.recipe.replace({"epochs": winner.epochs, "keep": "last", "patience": None})
    job = Job(model=candidate.model, settings=candidate.settings, recipe=recipe, seed=plan.seed)
    folder = place / REFIT / f"{winner.number:04d}-{winner.epochs}"
    folder.mkdir(parents=True, exist_ok=True)
    run_id = store.start(describe(job, winner, plan, place, parent), experiment=experiment, parent=parent)
    write_text(folder / SPLIT_TABLE, split_table(dataset))
    store.log_files(run_id, folder / SPLIT_TABLE)
    try:
        if not (folder / FINISHED).exists():
            fitted = fit(job, dataset, folder, progress_callback=Recorder(store, run_id, Progress(winner, tell)))
            network = keras.saving.load_model(fitted.best_model, compile=False)
            check_finite(network, dataset, job.recipe.learning_rate)
            store.log_model(run_id, network, dataset.training.images[:EXAMPLES], class_names=dataset.class_names)
            store.log_metrics(run_id, {**fitted.kept, **winner.settled})
            write_text(folder / FINISHED, run_id)
        registered = register(winner, plan, store, run_id, parent)
        store.finish(run_id, tags={"registered": registered.uri})
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        reason = "interrupted" if interrupted else f"{type(error).__name__}: {error}".splitlines()[0]
        with contextlib.suppress(StoreError):  # what went wrong first is what matters
            store.finish(run_id, status="killed" if interrupted else "failed", reason=reason)
        raise
    return Refit(run_id=run_id, epochs=winner.epochs, registered=registered)


def describe(job: Any, winner: Winner, plan: Plan, place: Path, parent: str) -> RunDescription:
    """Say what is known of the run before it trains; its data are the sweep's, tagged with what it trains on."""
    from keras_cnns.training.job import measure  # noqa: PLC0415 - loads a backend
    from keras_cnns.training.run import description  # noqa: PLC0415

    suffix = f"{place.name[-4:]}-{winner.number:04d}"
    tags = {
        "sweep": parent,
        "role": REFIT,
        "refit_of": winner.run.id,
        "refit_epochs": str(winner.epochs),
        TRAINED_ON: TRAIN_AND_VALIDATION,
    }
    known = description(job, plan.dataset, measure(job, plan.dataset), place.name)
    return replace(known, name=f"{REFIT}-{suffix}", tags=tags)


def register(winner: Winner, plan: Plan, store: Store, run_id: str, parent: str) -> Registered:
    """Register the refitted network with what its held-out trial scored."""
    monitor = plan.space.recipe.monitor
    tags = {
        "run": run_id,
        "sweep": parent,
        FINGERPRINT: plan.dataset.fingerprint,
        "data.name": plan.dataset.name,
        TRAINED_ON: TRAIN_AND_VALIDATION,
        "held_out.run": winner.run.id,
        "held_out.seeds": str(winner.seeds),
        f"held_out.{monitor}": f"{winner.score:.6f}",
    }
    return Registry(store).register(run_id, str(plan.register), scored_by=f"held_out.{monitor}", tags=tags)


def check_finite(network: Any, dataset: Dataset, learning_rate: float) -> None:
    """Raise a `TrainingError` where the last step broke the network; no validation would have shown it."""
    from keras_cnns.evaluation.network import probabilities  # noqa: PLC0415 - loads a backend

    if not np.isfinite(probabilities(network, dataset.training.images[:64])).all():
        raise TrainingError(
            f"the refit's last step broke its network: a lower learning_rate than {learning_rate:g} would help."
        )


class Progress:
    """Tells how far a refit is."""

    def __init__(self, winner: Winner, tell: Tell | None) -> None:
        self.winner = winner
        self.tell = tell
        self.done = 0

    def step(self, done: int, total: int) -> None:
        """Tell of a step of the present epoch."""
        if self.tell is not None:
            share = (self.done + done / total) / self.winner.epochs
            epochs = f"{share:.0%} of {self.winner.epochs} epochs"
            self.tell(f"{self.winner.name} on training and validation images: {epochs}")

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:  # noqa: ARG002
        """Take in that an epoch is done."""
        self.done = number
