"""How a sweep ends: the best is found, its network kept and, where asked for, refitted; and its run is closed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from keras_cnns.errors import ResumeError, StoreError
from keras_cnns.lazy import load_backend
from keras_cnns.tracking import Run, Store
from keras_cnns.tracking.runs import CHOSEN_BY
from keras_cnns.training.checkpoints import best_model, checkpoints, write_text
from tuning.candidates.space import Candidate
from tuning.finishing.finals import FINALISTS_FILE, Finals, judge, left_to_repeat, left_to_search, middle_repeat
from tuning.finishing.paired_images import compare_on_images, predict_all
from tuning.finishing.refit import Refit, Tell, Winner, refit
from tuning.running.delivery import SweepProgressCallback
from tuning.running.journal import COSTS, REPEAT, SEARCH, TrialState
from tuning.running.plan import Plan
from tuning.running.sweep_directory import SWEEP
from tuning.running.trial import fetch_trial_folder, trial_folder


def conclude(
    plan: Plan,
    store: Store,
    place: Path,
    parent: str,
    experiment: str,
    states: Mapping[int, TrialState],
    progress_callback: SweepProgressCallback | None,
) -> tuple[list[Run], Run | None, Finals | None, Refit | None]:
    """Record what the sweep found and close its run; return the search's runs, the best, the finals and the refit."""
    missing = left_to_search(plan, states) + left_to_repeat(plan, states)
    if missing:
        raise ResumeError(f"{missing} of {len(states)} trials did not end; run the same again with --resume.")
    runs = store.runs(experiment=experiment, parent=parent)
    by_trial = runs_by_trial(store, runs, states)
    searched = [run for number, run in sorted(by_trial.items()) if states[number].role == SEARCH]
    finals = judge(plan, states, {number: run.name for number, run in by_trial.items()})
    monitor = plan.space.recipe.monitor
    number = middle_repeat(finals.winner, states) if finals is not None else best_number(by_trial, states, monitor)
    if number is None:
        store.finish(parent, status="failed", reason="no trial finished")
        return searched, None, None, None
    best = by_trial[number]
    tell = None if progress_callback is None else progress_callback.doing
    prepare_backend()
    settled = keep_best(plan, store, place, best, states[number])
    finals = None if finals is None else on_images(finals, plan, store, place, by_trial, states, tell)
    choose(store, best, by_trial.values(), parent)
    keep_finals(finals, store, place, parent)
    winner = find_winner(plan, states, number, best, finals, settled)
    refitted = None
    if plan.register is not None:
        refitted = refit(winner, plan, store, place, parent=parent, experiment=experiment, tell=tell)
    kept = {name: best.metrics[name] for name in (monitor, *COSTS) if name in best.metrics}
    found_runs = {
        "trials": str(plan.trials),
        "best_trial": best.id,
        **({} if refitted is None else {"refit": refitted.run_id}),
    }
    store.finish(parent, metrics={**kept, **(finals.as_metrics() if finals else {})}, tags=found_runs)
    return searched, best, finals, refitted


def runs_by_trial(store: Store, runs: Sequence[Run], states: Mapping[int, TrialState]) -> dict[int, Run]:
    """Return the run of each trial: its own, or the one that it was read back from."""
    found = {int(run.tags["trial"]): run for run in runs if "trial" in run.tags}
    wanted = {state.reused_run: number for number, state in states.items() if state.reused_run}
    others = store.runs() if wanted else []
    return {**found, **{wanted[run.id]: run for run in others if run.id in wanted}}


def best_number(by_trial: Mapping[int, Run], states: Mapping[int, TrialState], monitor: str) -> int | None:
    """Return the number of the search's best trial, or None where none has finished."""
    scores = {
        number: run.metrics[monitor]
        for number, run in by_trial.items()
        if states[number].role == SEARCH and run.status == "finished" and monitor in run.metrics
    }
    return max(scores, key=lambda number: scores[number], default=None)


def prepare_backend() -> None:
    """Load a backend, which the driver of a sweep needs only now, and all that saved networks are made of."""
    load_backend()
    import keras_cnns.networks.layers  # noqa: F401, PLC0415
    from keras_cnns.training.devices import strategy  # noqa: PLC0415

    strategy()  # has to be made before anything is computed


def keep_best(plan: Plan, store: Store, place: Path, best: Run, state: TrialState) -> dict[str, float]:
    """Record the best trial's network, once, and return the threshold and temperature that validation settles."""
    known = {name: value for name, value in best.metrics.items() if name.startswith(("threshold", "temperature"))}
    if known:  # which are recorded after the network
        return known
    import keras  # noqa: PLC0415

    from keras_cnns.training.run import EXAMPLES, settle  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        network = keras.saving.load_model(find_network(plan, store, place, best, state, Path(folder)), compile=False)
    examples = plan.dataset.training.images[:EXAMPLES]
    store.log_model(best.id, network, examples, class_names=plan.dataset.class_names)
    settled = settle(network, plan.dataset)
    store.log_metrics(best.id, settled)
    return settled


def find_network(plan: Plan, store: Store, place: Path, run: Run, state: TrialState, folder: Path) -> Path:
    """Return the file of a trial's network.

    That of a trial that was read back is in the folder of the sweep that trained it, or kept in MLflow, brought into
    `folder` from there; where it is in neither, it is trained again.
    """
    if not state.reused_run:
        return best_model(fetch_trial_folder(plan.machines.kept_in(place), place, state.number))
    for record in place.parent.glob(f"*/{SWEEP}"):
        there = trial_folder(record.parent, int(run.tags.get("trial", 0)))
        if json.loads(record.read_text(encoding="utf-8")).get("run_id") == run.tags.get("sweep") and checkpoints(there):
            return best_model(there)
    try:
        return store.fetch_network(run.id, folder).file
    except StoreError:
        return train_again(plan, trial_folder(place, state.number), state)


def train_again(plan: Plan, folder: Path, state: TrialState) -> Path:
    """Train a trial in this process, exactly as it was trained, and return the file of its network."""
    from keras_cnns.training.fit import fit  # noqa: PLC0415 - loads a backend
    from keras_cnns.training.job import Job  # noqa: PLC0415

    candidate = candidate_of(plan, state)
    seed = plan.seed if state.seed is None else state.seed
    folder.mkdir(parents=True, exist_ok=True)
    job = Job(model=candidate.model, settings=candidate.settings, recipe=candidate.recipe, seed=seed)
    return fit(job, plan.dataset, folder).best_model


def candidate_of(plan: Plan, state: TrialState) -> Candidate:
    """Return what a trial of the journal trains, or say that it cannot be made."""
    candidate = plan.space.candidate(state.candidate)
    if candidate is None:
        raise ResumeError(f"trial {state.number} of the journal has values that do not fit each other.")
    return candidate


def choose(store: Store, best: Run, runs: Iterable[Run], parent: str) -> None:
    """Mark the best of a sweep's runs as chosen by it, and no other of them."""
    tag = f"{CHOSEN_BY}{parent}"
    for run in runs:
        if run.id != best.id and run.tags.get(tag) == "true":
            store.tag(run.id, {tag: "false"})
    store.tag(best.id, {tag: "true"})


def on_images(
    finals: Finals,
    plan: Plan,
    store: Store,
    place: Path,
    by_trial: Mapping[int, Run],
    states: Mapping[int, TrialState],
    tell: Tell | None,
) -> Finals:
    """Return the finals with what the validation images say of how far the winner is ahead."""
    numbers = {(state.repeat_of, state.seed): number for number, state in states.items() if state.role == REPEAT}
    validation = plan.dataset.splits["validation"]
    with tempfile.TemporaryDirectory() as folder:

        def network_of(finalist: int, seed: int) -> Path:
            number = numbers[finalist, seed]
            into = Path(folder, str(number))
            into.mkdir()
            return find_network(plan, store, place, by_trial[number], states[number], into)

        return compare_on_images(finals, validation, predict_all(finals, validation.images, network_of, tell))


def keep_finals(finals: Finals | None, store: Store, place: Path, parent: str) -> None:
    """Write what came of the finalists beside the journal, and keep it with the sweep's run."""
    if finals is not None:
        write_text(place / FINALISTS_FILE, json.dumps(finals.as_dict(), indent=2))
        store.log_files(parent, place / FINALISTS_FILE)


def find_winner(
    plan: Plan,
    states: Mapping[int, TrialState],
    number: int,
    best: Run,
    finals: Finals | None,
    settled: Mapping[str, float],
) -> Winner:
    """Return what is refitted, and for how many epochs."""
    candidate = candidate_of(plan, states[number])
    return Winner(
        number=number if finals is None else finals.winner.number,
        name=best.name if finals is None else finals.winner.name,
        candidate=candidate,
        epochs=round(best.metrics["best_epoch"] if finals is None else finals.winner.epochs),
        run=best,
        settled=settled,
        score=best.metrics[plan.space.recipe.monitor] if finals is None else finals.winner.mean,
        seeds=1 if finals is None else len(finals.winner.scores),
    )
