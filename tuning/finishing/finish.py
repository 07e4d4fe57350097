"""The last stage of a sweep: find the best trial, save its network, refit it if requested, and close the sweep's run.

Only imported when the search has ended, because it loads a backend, which the driver does not need before.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from keras_cnns.atomic import write_text
from keras_cnns.display.progress import Progress
from keras_cnns.errors import StoreError
from keras_cnns.evaluation.run_network import predict_probabilities
from keras_cnns.tracking import Run, Store
from keras_cnns.tracking.runs import CHOSEN_BY, CROSS_VALIDATION
from keras_cnns.training.checkpoints import best_model_path, list_checkpoints
from keras_cnns.training.devices import describe_hardware, strategy
from keras_cnns.training.fit import fit
from keras_cnns.training.job import Job
from keras_cnns.training.logged_data import log_network
from keras_cnns.training.run import log_validation
from tuning.finishing.finals import Finalist, Finals, States, compare_finalists, median_repeat
from tuning.finishing.fold_finals import cross_validate_finalists
from tuning.finishing.lead_intervals import add_lead_intervals
from tuning.finishing.refit import refit
from tuning.finishing.result import RefitResult
from tuning.running.journal import COSTS, REPEAT, SEARCH, TrialState
from tuning.running.sweep_directory import SWEEP
from tuning.running.sweep_run import SweepRun
from tuning.running.trial import fetch_trial_folder, trial_folder

FINALISTS_FILE = "finalists.json"


def finish_sweep(
    sweep: SweepRun, states: States, progress: Progress
) -> tuple[list[Run], Run | None, Finals | None, RefitResult | None]:
    """Record the result of a sweep and close its run.

    Args:
        sweep: The sweep.
        states: All trials, ended.
        progress: Receives messages.

    Returns:
        The runs of the search, the best run, the comparison of the finalists and the refit.
    """
    strategy()  # must exist before anything is computed
    config, store = sweep.config, sweep.store
    runs = find_runs(store, store.runs(experiment=sweep.experiment, parent=sweep.run_id), states)
    searched = [run for number, run in sorted(runs.items()) if states[number].role == SEARCH]
    names = {number: run.name for number, run in runs.items()}
    if config.folds is not None:
        finals = cross_validate_finalists(sweep, states, names, progress)
    else:
        finals = compare_finalists(config, states, names)
    number = choose_trial(finals, runs, states, config.monitor)
    if number is None:
        store.finish(sweep.run_id, status="failed", reason="no trial finished")
        return searched, None, None, None
    best = runs[number]
    operating_point = save_best_network(sweep, best, states[number])
    if config.cluster.ray_address is None and best.parent == sweep.run_id:  # else the machine is not known
        store.log(best.id, tags=describe_hardware())
    if finals is not None and finals.folds is None:
        finals = measure_leads(finals, sweep, runs, states, progress)
    if finals is not None:
        write_text(sweep.folder / FINALISTS_FILE, json.dumps(finals.as_dict(), indent=2))
        store.log_files(sweep.run_id, sweep.folder / FINALISTS_FILE)
    tag_best(store, best, runs.values(), sweep.run_id)
    refitted = None
    if config.register is not None:
        winner = finals.winner if finals else as_finalist(number, best, config.monitor)
        refitted = refit(winner, best, sweep.candidate(states[number]), operating_point, sweep, progress)
    metrics = {name: best.metrics[name] for name in (config.monitor, *COSTS) if name in best.metrics}
    tags = {"trials": str(config.trials), "best_trial": best.id, **({"refit": refitted.run_id} if refitted else {})}
    if finals is not None and finals.folds is not None:
        tags[CROSS_VALIDATION] = finals.winner.cross_validation
    store.finish(sweep.run_id, metrics={**metrics, **(finals.as_metrics() if finals else {})}, tags=tags)
    return searched, best, finals, refitted


def find_runs(store: Store, runs: Sequence[Run], states: States) -> dict[int, Run]:
    """Return the run of each trial: its own, or the one whose result it reuses."""
    found = {int(run.tags["trial"]): run for run in runs if "trial" in run.tags}
    reused = {state.reused_run: number for number, state in states.items() if state.reused_run}
    others = store.runs() if reused else []
    return {**found, **{reused[run.id]: run for run in others if run.id in reused}}


def choose_trial(finals: Finals | None, runs: Mapping[int, Run], states: States, monitor: str) -> int | None:
    """Return the number of the best trial: of the search, the median repeat of the winner, or the winner itself."""
    if finals is None:
        return find_best_trial(runs, states, monitor)
    return finals.winner.number if finals.folds is not None else median_repeat(finals.winner, states)


def find_best_trial(runs: Mapping[int, Run], states: States, monitor: str) -> int | None:
    """Return the number of the best trial of the search; None if none has finished."""
    scores = {
        number: run.metrics[monitor]
        for number, run in runs.items()
        if states[number].role == SEARCH and run.status == "finished" and monitor in run.metrics
    }
    return max(scores, key=lambda number: scores[number], default=None)


def as_finalist(number: int, run: Run, monitor: str) -> Finalist:
    """Return the best trial of a search as a finalist with a single score."""
    scores = {run.seed or 0: run.metrics[monitor]}
    return Finalist(number=number, name=run.name, scores=scores, epochs=run.metrics["best_epoch"])


def save_best_network(sweep: SweepRun, best: Run, state: TrialState) -> dict[str, float]:
    """Log the best network to MLflow, once, and return its decision threshold and temperature."""
    known = {name: value for name, value in best.metrics.items() if name.startswith(("threshold", "temperature"))}
    if known:  # they are logged after the network
        return known
    store, dataset = sweep.store, sweep.config.dataset
    network = load_network(sweep, best, state)
    operating_point = log_validation(network, dataset, store, best.id)
    log_network(network, dataset, store, best.id, operating_point)
    store.log(best.id, metrics=operating_point)
    return operating_point


def load_network(sweep: SweepRun, run: Run, state: TrialState) -> keras.Model:
    """Load the network of a trial."""
    with tempfile.TemporaryDirectory() as folder:
        return keras.saving.load_model(find_network(sweep, run, state, Path(folder)), compile=False)


def find_network(sweep: SweepRun, run: Run, state: TrialState, folder: Path) -> Path:
    """Return the file of a trial's network.

    The network of a reused result is in the folder of the sweep that trained it, or is downloaded from MLflow into
    `folder`. If neither has it, the trial is trained again.
    """
    if not state.reused_run:
        storage = sweep.config.cluster.checkpoint_storage(sweep.folder)
        return best_model_path(fetch_trial_folder(storage, sweep.folder, state.number))
    for record in sweep.folder.parent.glob(f"*/{SWEEP}"):
        earlier = trial_folder(record.parent, int(run.tags.get("trial", 0)))
        run_id = json.loads(record.read_text(encoding="utf-8")).get("run_id")
        if run_id == run.tags.get("sweep") and list_checkpoints(earlier):
            return best_model_path(earlier)
    try:
        return sweep.store.fetch_network(run.id, folder).file
    except StoreError:
        return train_again(sweep, state)


def train_again(sweep: SweepRun, state: TrialState) -> Path:
    """Train a trial in this process with its original configuration, and return the file of its network."""
    candidate, folder = sweep.candidate(state), trial_folder(sweep.folder, state.number)
    folder.mkdir(parents=True, exist_ok=True)
    job = Job(**vars(candidate), seed=sweep.seed(state))
    return fit(job, sweep.config.dataset, folder).best_model


def tag_best(store: Store, best: Run, runs: Iterable[Run], sweep: str) -> None:
    """Tag the best run of a sweep as chosen, and no other of its runs."""
    tag = f"{CHOSEN_BY}{sweep}"
    for run in runs:
        if run.id != best.id and run.tags.get(tag) == "true":
            store.log(run.id, tags={tag: "false"})
    store.log(best.id, tags={tag: "true"})


def measure_leads(
    finals: Finals, sweep: SweepRun, runs: Mapping[int, Run], states: States, progress: Progress
) -> Finals:
    """Return the finals with the winner's lead on the validation images."""
    numbers = {(state.repeat_of, state.seed): number for number, state in states.items() if state.role == REPEAT}
    validation = sweep.config.dataset.splits["validation"]
    predictions: dict[int, list[np.ndarray]] = {}
    for finalist in finals.finalists:
        for seed in finalist.scores:
            progress.message(f"{finalist.name}, seed {seed}: predicting the validation images")
            number = numbers[finalist.number, seed]
            network = load_network(sweep, runs[number], states[number])
            predictions.setdefault(finalist.number, []).append(predict_probabilities(network, validation.images))
            keras.backend.clear_session()
    return add_lead_intervals(finals, validation, predictions)
