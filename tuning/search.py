"""The sweep: candidates through Ray Tune, every trial a run in MLflow, and nothing lost when it is killed."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import random
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from filelock import FileLock
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

from keras_cnns.data import Dataset, load
from keras_cnns.data.splits import SPLIT_TABLE, split_table
from keras_cnns.errors import ResumeError
from keras_cnns.lazy import load_backend
from keras_cnns.registry import find_variant
from keras_cnns.settings import SEED, Choice, IntRange, checked
from keras_cnns.tracking import Run, RunDescription, Store
from keras_cnns.training.checkpoints import best_model, write_text
from keras_cnns.training.claims import FINISHED, claim_new, claim_unfinished
from keras_cnns.training.recipe import Recipe
from tuning.delivery import Delivery, SweepObserver, Target
from tuning.journal import FAILED, Journal, JournalKeeper, TrialState
from tuning.space import Candidate, Space, find_base, make_space
from tuning.trial import run_trial, trial_folder

TRIALS = IntRange(1, 100_000)
SCHEDULER = Choice(("asha", "none"))
SWEEP = "sweep.json"


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """A finished sweep.

    Attributes:
        run_id: The sweep's own run in MLflow, the parent of its trials.
        store: The MLflow store.
        folder: Where the sweep keeps its journal and checkpoints.
        runs: Its trials as MLflow gives them back.
        best: The best of them, or None where all failed.
        seconds: How long this process took over it.
        utilization: Seconds inside `fit` of all trials over cores times seconds.
    """

    run_id: str
    store: str
    folder: Path
    runs: list[Run]
    best: Run | None
    seconds: float
    utilization: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sweep does; two sweeps with equal plans try the same candidates."""

    name: str
    space: Space
    dataset: Dataset
    trials: int
    seed: int
    scheduler: str

    def identity(self) -> dict[str, Any]:
        """Write what a resumed sweep must have in common with the one that was begun, the seed apart."""
        return {
            "name": self.name,
            "settings": self.space.base.settings.written(),
            "recipe": self.space.base.recipe.written(),
            "searched": sorted(self.space.domains),
            "data": self.dataset.fingerprint,
            "trials": self.trials,
            "scheduler": self.scheduler,
        }


def sweep(
    model: str,
    data: str | Dataset = "digits",
    *,
    trials: int = 16,
    recipe: Recipe | None = None,
    fixed: Mapping[str, object] | None = None,
    seed: int | None = None,
    scheduler: str = "asha",
    cores: int | None = None,
    resume: bool = False,
    experiment: str = "sweep",
    tracking_uri: str | None = None,
    folder: str | Path = "runs",
    observer: SweepObserver | None = None,
) -> SweepResult:
    """Search over what a family of networks and the recipe leave free.

    Args:
        model: A family (`"densenet"`), or one variant of it to start from.
        data: A source that `load` reads, or images already loaded.
        trials: How many candidates to try.
        recipe: The recipe they start from; `Recipe(epochs=10)` by default.
        fixed: Settings, and parts of the recipe, that all candidates share and the search leaves alone.
        seed: Draws the candidates, and trains them; another one each time by default.
        scheduler: "asha" stops candidates early that fall behind (Li et al. 2020); "none" trains all to the end.
        cores: How many candidates to train at a time, one a core; all cores by default.
        resume: Go on with the newest unfinished sweep of the same arguments.
        experiment: MLflow experiment that the runs belong to.
        tracking_uri: Where runs are kept: MLflow's environment variable or `./mlflow.db` by default.
        folder: Where sweeps keep their journals and checkpoints.
        observer: Told how the trials go on.

    Raises:
        KerasCnnsError: Model, settings, recipe, data, store or counts are not usable, each in a subclass.
    """
    trials = checked("trials", TRIALS, trials)
    scheduler = checked("scheduler", SCHEDULER, scheduler)
    cores = checked("cores", IntRange(1, 4096), os.cpu_count() or 1 if cores is None else cores)
    drawn_seed = random.SystemRandom().randrange(2**31) if seed is None else checked("seed", SEED, seed)
    find_base(model)
    dataset = load(data) if isinstance(data, str) else data
    _ = dataset.training  # or there is nothing to train on
    space = make_space(model, recipe=recipe or Recipe(epochs=10), fixed=fixed or {}, image_shape=dataset.image_shape)
    plan = Plan(name=model, space=space, dataset=dataset, trials=trials, seed=drawn_seed, scheduler=scheduler)
    space.draw(trials, drawn_seed)
    store = Store(tracking_uri)
    place, lock, record = claim(Path(folder) / "sweeps", plan, store, resume=resume, seed=seed)
    plan = replace(plan, seed=record["seed"])
    with lock:
        parent = record.get("run_id") or start_parent(plan, store, experiment)
        write_text(place / SWEEP, json.dumps({**record, "run_id": parent}, indent=2))
        write_text(place / SPLIT_TABLE, split_table(dataset))
        store.log_files(parent, place / SPLIT_TABLE)
        try:
            seconds, utilization, states = run_trials(plan, store, place, parent, experiment, cores, observer)
            result = conclude(plan, store, place, parent, experiment, states)
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            store.finish(parent, status="killed" if interrupted else "failed", reason=type(error).__name__)
            raise
        write_text(place / FINISHED, parent)
    runs, best = result
    return SweepResult(
        run_id=parent,
        store=store.uri,
        folder=place,
        runs=runs,
        best=best,
        seconds=seconds,
        utilization=utilization,
    )


def claim(
    folder: Path, plan: Plan, store: Store, *, resume: bool, seed: int | None
) -> tuple[Path, FileLock, dict[str, Any]]:
    """Return a sweep's folder, the lock that keeps other processes out, and what was written of it."""
    identity = {**plan.identity(), "store": store.uri}
    if not resume:
        return *claim_new(folder, plan.name), {**identity, "seed": plan.seed}
    if seed is not None:
        identity["seed"] = seed
    wanted = f"sweep over {plan.name} with {plan.trials} trials and these settings, recipe and data"
    return claim_unfinished(folder, SWEEP, identity, wanted=wanted)


def start_parent(plan: Plan, store: Store, experiment: str) -> str:
    """Begin the sweep's own run in MLflow."""
    parameters = {"model": plan.name, "trials": plan.trials, "seed": plan.seed, "scheduler": plan.scheduler}
    searched = {f"searched.{name}": str(domain) for name, domain in plan.space.domains.items()}
    return store.start_group(
        f"sweep-{plan.name}",
        experiment=experiment,
        params={**parameters, **searched},
        tags={"data.name": plan.dataset.name, "data.fingerprint": plan.dataset.fingerprint},
    )


def describe_trial(plan: Plan, parent: str, candidate: Candidate, number: int) -> RunDescription:
    """Say what is known of a trial before it trains."""
    family, _ = find_variant(plan.space.model)
    return RunDescription(
        name=f"trial-{number:04d}",
        model=plan.space.model,
        family=family.name,
        settings=candidate.settings.written(),
        recipe=candidate.recipe.written(),
        seed=plan.seed,
        data_name=plan.dataset.name,
        data_fingerprint=plan.dataset.fingerprint,
        tags={"sweep": parent, "trial": str(number)},
    )


def run_trials(
    plan: Plan,
    store: Store,
    place: Path,
    parent: str,
    experiment: str,
    cores: int,
    observer: SweepObserver | None,
) -> tuple[float, float, dict[int, TrialState]]:
    """Run what is left of a sweep; return its seconds, utilization and trials."""
    candidates = plan.space.draw(plan.trials, plan.seed)
    journal = Journal(place / "journal.jsonl")
    journal.mend()
    before = journal.trials()
    recipe = plan.space.base.recipe
    target = Target(
        store=store,
        experiment=experiment,
        parent=parent,
        describe=lambda number: describe_trial(plan, parent, candidates[number], number),
        recipe=recipe,
    )
    delivery = Delivery(journal, place / "delivered", target, observer)
    delivery.start()
    begun = time.perf_counter()
    try:
        if sum(state.ended for state in before.values()) < plan.trials:
            with local_ray(cores):
                tune_candidates(plan, candidates, place, journal, before)
        seconds = time.perf_counter() - begun
    finally:
        delivery.finish()
    states = journal.trials()
    spent = sum(fit_seconds(state) for state in states.values()) - sum(map(fit_seconds, before.values()))
    return seconds, spent / (cores * seconds), states


def fit_seconds(state: TrialState) -> float:
    """Return the seconds that a trial has spent inside `fit` up to its last whole epoch."""
    return state.curve[-1]["seconds"] if state.curve else 0.0


@contextlib.contextmanager
def local_ray(cores: int) -> Iterator[None]:
    """A Ray of our own with this many cores, or the one that this process has already."""
    if ray.is_initialized():
        yield
        return
    # No result files beside the journal, no snapshots (the journal is the truth), Ctrl-C comes here, and a worker
    # is not given up while the trial it had is still being put away: two seconds are too few on a busy machine.
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")
    os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", "600")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.init(
        address="local",
        num_cpus=cores,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        configure_logging=True,
    )
    try:
        yield
    finally:
        ray.shutdown()


def tune_candidates(
    plan: Plan, candidates: list[Candidate], place: Path, journal: Journal, before: Mapping[int, TrialState]
) -> None:
    """Hand the candidates to Tune, one core each (and a GPU where there are any)."""
    recipe = plan.space.base.recipe
    trainable = tune.with_parameters(
        run_trial,
        dataset=plan.dataset,
        candidates=candidates,
        model=plan.space.model,
        seed=plan.seed,
        folder=place.resolve(),
        ended={number for number, state in before.items() if state.ended},
    )
    resources = {"cpu": 1, "gpu": 1} if ray.cluster_resources().get("GPU") else {"cpu": 1}
    scheduler = FIFOScheduler()
    if plan.scheduler == "asha" and recipe.epochs > 1:
        scheduler = ASHAScheduler(
            time_attr="epoch",
            max_t=recipe.epochs,
            grace_period=max(1, recipe.epochs // 4),
            reduction_factor=3,
        )
    # Failed candidates of an earlier process stay failed.
    left = [number for number in range(plan.trials) if number not in before or before[number].status != FAILED]
    tuner = tune.Tuner(
        tune.with_resources(trainable, resources),
        param_space={"number": tune.grid_search(left)},
        tune_config=tune.TuneConfig(
            metric=recipe.monitor,
            mode="max",
            scheduler=scheduler,
            reuse_actors=True,
            trial_name_creator=lambda trial: f"trial-{trial.config['number']:04d}",
            trial_dirname_creator=lambda trial: f"trial-{trial.config['number']:04d}",
        ),
        run_config=tune.RunConfig(
            name=f"tune-{uuid.uuid4().hex[:8]}",
            storage_path=str(place.resolve()),
            callbacks=[JournalKeeper(place.resolve(), journal, recipe.epochs)],
            failure_config=tune.FailureConfig(max_failures=0),
            verbose=0,
        ),
    )
    with contextlib.redirect_stdout(io.StringIO()):  # Tune writes tables whatever its verbosity
        tuner.fit()


def conclude(
    plan: Plan, store: Store, place: Path, parent: str, experiment: str, states: Mapping[int, TrialState]
) -> tuple[list[Run], Run | None]:
    """Record the best trial's network and close the sweep's run; return all runs and the best."""
    missing = plan.trials - sum(state.ended for state in states.values())
    if missing:
        raise ResumeError(f"{missing} of {plan.trials} trials did not end; run the same again with --resume.")
    runs = store.runs(experiment=experiment, parent=parent)
    monitor = plan.space.base.recipe.monitor
    scored = [run for run in runs if run.status == "finished" and monitor in run.metrics]
    best = max(scored, key=lambda run: run.metrics[monitor], default=None)
    if best is not None:
        load_backend()  # the driver needs one only now
        import keras  # noqa: PLC0415

        import keras_cnns.layers  # noqa: F401, PLC0415 - registers what the saved network is made of
        from keras_cnns.training.run import EXAMPLES, settle  # noqa: PLC0415

        network = keras.saving.load_model(best_model(trial_folder(place, int(best.tags["trial"]))), compile=False)
        examples = plan.dataset.training.images[:EXAMPLES]
        store.log_model(best.id, network, examples, class_names=plan.dataset.class_names)
        store.log_metrics(best.id, settle(network, plan.dataset))
        kept = {name: best.metrics[name] for name in (monitor, "parameters", "macs") if name in best.metrics}
        store.finish(parent, metrics=kept, tags={"best_trial": best.id})
    else:
        store.finish(parent, status="failed", reason="no trial finished")
    return runs, best
