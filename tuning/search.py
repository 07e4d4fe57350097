"""The sweep: candidates through Ray Tune, every trial a run in MLflow, and nothing lost when it is killed."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from keras_cnns.data import Dataset, load
from keras_cnns.data.splits import SPLIT_TABLE, split_table
from keras_cnns.errors import ResumeError, SettingError
from keras_cnns.lazy import load_backend
from keras_cnns.settings import SEED, Choice, IntRange, Maybe, checked
from keras_cnns.tracking import Run, RunDescription, Store
from keras_cnns.training.checkpoints import best_model, write_text
from keras_cnns.training.claims import FINISHED, claim_new, claim_unfinished
from keras_cnns.training.recipe import Recipe
from tuning.comparison import Comparison
from tuning.delivery import Delivery, SweepObserver, Target
from tuning.execution import local_ray, run_candidates
from tuning.journal import Journal, JournalKeeper, TrialState
from tuning.limits import Limits
from tuning.plan import Plan
from tuning.ranges import find_bases
from tuning.samplers import SEARCHES, make_sampler
from tuning.space import Space, make_space
from tuning.suggester import Suggester
from tuning.trial import trial_folder

TRIALS = IntRange(1, 100_000)
DEFAULT_TRIALS = 16
SCHEDULER = Choice(("asha", "none"))
SEARCH = Choice(SEARCHES)
AGAINST = Choice(("parameters", "macs"))
LIMIT = Maybe(IntRange(1, 2**63 - 1))
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
        front: Those that no other beats in score and cost together, the cheapest first; the cost is `against`, or the
            parameters.
        notes: What the space left out, and why.
        seconds: How long this process took over it.
        utilization: Seconds inside `fit` of all trials over cores times seconds.
    """

    run_id: str
    store: str
    folder: Path
    runs: list[Run]
    best: Run | None
    front: list[Run]
    notes: tuple[str, ...]
    seconds: float
    utilization: float


def sweep(
    model: str,
    data: str | Dataset = "digits",
    *,
    trials: int | None = None,
    recipe: Recipe | None = None,
    fixed: Mapping[str, object] | None = None,
    space: Mapping[str, object] | None = None,
    search: str = "random",
    max_parameters: int | None = None,
    max_macs: int | None = None,
    against: str | None = None,
    seed: int | None = None,
    scheduler: str | None = None,
    cores: int | None = None,
    resume: bool = False,
    experiment: str = "sweep",
    tracking_uri: str | None = None,
    folder: str | Path = "runs",
    observer: SweepObserver | None = None,
) -> SweepResult:
    """Search over what a family of networks and the recipe leave free.

    Args:
        model: A family (`"densenet"`), one variant of it to start from, or `"all"` to search all families at once.
        data: A source that `load` reads, or images already loaded.
        trials: How many candidates to try: 16 by default, or with search="grid" all that there are.
        recipe: The recipe they start from; `Recipe(epochs=10)` by default.
        fixed: Settings, and parts of the recipe, that all candidates share and the search leaves alone.
        space: What is searched, by the name of a setting or a part of the recipe, beside or instead of what the family
            searches by itself: a value is fixed; a range is text (`"4..24"`, `"4..24..4"`, `"1e-4..1e-2"`), a mapping
            with "low", "high" and perhaps "step" and "log", or an `IntRange` or `FloatRange`; a choice is text
            (`"4,8,12"`, or `"2,2|3,3"` of settings with several values), a list, or a `Choice`. With several families
            `"resnet.widths"` is that of one of them.
        search: "random" draws candidates, "grid" takes all, "tpe" tries what is like the better ones so far (Optuna).
        max_parameters: Candidates with more weights than this are never tried.
        max_macs: Nor are those with more multiply-accumulates for one image.
        against: "parameters" or "macs": search for networks that score high and cost little, all trade-offs at once.
        seed: Draws the candidates, and trains them; another one each time by default.
        scheduler: "asha" (default) stops candidates early that fall behind (Li et al. 2020); "none" (default with
            `against`, for it knows the score alone) trains all to the end.
        cores: How many candidates to train at a time, one a core; all cores by default.
        resume: Go on with the newest unfinished sweep of the same arguments.
        experiment: MLflow experiment that the runs belong to.
        tracking_uri: Where runs are kept: MLflow's environment variable or `./mlflow.db` by default.
        folder: Where sweeps keep their journals and checkpoints.
        observer: Told how the trials go on.

    Raises:
        KerasCnnsError: Model, settings, recipe, data, store or counts are not usable, each in a subclass.
    """
    trials = None if trials is None else checked("trials", TRIALS, trials)
    search = checked("search", SEARCH, search)
    against = None if against is None else checked("against", AGAINST, against)
    scheduler = checked("scheduler", SCHEDULER, scheduler or ("none" if against else "asha"))
    limits = Limits(
        parameters=checked("max_parameters", LIMIT, max_parameters), macs=checked("max_macs", LIMIT, max_macs)
    )
    cores = checked("cores", IntRange(1, 4096), os.cpu_count() or 1 if cores is None else cores)
    drawn_seed = random.SystemRandom().randrange(2**31) if seed is None else checked("seed", SEED, seed)
    find_bases(model)
    dataset = load(data) if isinstance(data, str) else data
    _ = dataset.training  # or there is nothing to train on
    candidates = make_space(
        model,
        recipe=recipe or Recipe(epochs=10),
        fixed=fixed,
        space=space,
        image_shape=dataset.image_shape,
        classes=dataset.classes,
        limits=limits,
    )
    plan = Plan(
        space=candidates,
        dataset=dataset,
        trials=count_trials(candidates, search, trials, drawn_seed),
        seed=drawn_seed,
        scheduler=scheduler,
        search=search,
        against=against,
    )
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
    compared = Comparison(runs, sort=plan.space.recipe.monitor, against=against or "parameters")
    return SweepResult(
        run_id=parent,
        store=store.uri,
        folder=place,
        runs=runs,
        best=best,
        front=sorted((row.run for row in compared.rows if row.pareto), key=lambda run: run.metrics[compared.against]),
        notes=plan.space.notes,
        seconds=seconds,
        utilization=utilization,
    )


def count_trials(space: Space, search: str, trials: int | None, seed: int) -> int:
    """Return how many trials there are to be, or say that the space does not hold so many.

    Raises:
        SettingError: It does not.
    """
    if search != "grid":
        return len(space.draw(trials or DEFAULT_TRIALS, seed))
    points = len(space.grid())
    if (trials or points) > points:
        raise SettingError(f"the grid has {points} points; ask for as many trials or fewer, or for a larger grid.")
    return trials or points


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
    limits = {f"max_{name}": limit for name, limit in vars(plan.space.limits).items() if limit is not None}
    goals = {"search": plan.search, **({"against": plan.against} if plan.against else {}), **limits}
    searched = {f"searched.{name}": str(domain) for name, domain in plan.space.searched().items()}
    return store.start_group(
        f"sweep-{plan.name}",
        experiment=experiment,
        params={**parameters, **goals, **searched},
        tags={"data.name": plan.dataset.name, "data.fingerprint": plan.dataset.fingerprint},
    )


def describe_trial(plan: Plan, parent: str, state: TrialState) -> RunDescription:
    """Say what is known of a trial before it trains."""
    candidate = plan.space.candidate(state.candidate)
    if candidate is None:
        raise ResumeError(f"trial {state.number} of the journal has values that do not fit each other.")
    return RunDescription(
        name=f"trial-{state.number:04d}",
        model=candidate.model,
        family=plan.space.branches[candidate.model].family.name,
        settings=candidate.settings.written(),
        recipe=candidate.recipe.written(),
        seed=plan.seed,
        data_name=plan.dataset.name,
        data_fingerprint=plan.dataset.fingerprint,
        tags={"sweep": parent, "trial": str(state.number)},
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
    journal = Journal(place / "journal.jsonl")
    journal.mend()
    before = journal.trials()
    target = Target(
        store=store,
        experiment=experiment,
        parent=parent,
        trials=plan.trials,
        describe=lambda state: describe_trial(plan, parent, state),
        recipe=plan.space.recipe,
    )
    delivery = Delivery(journal, place / "delivered", target, observer)
    delivery.start()
    begun = time.perf_counter()
    try:
        if sum(state.ended for state in before.values()) < plan.trials:
            keeper = JournalKeeper(place.resolve(), journal, plan.space.recipe.epochs)
            sampler = make_sampler(plan.search, plan.space, seed=plan.seed, against=plan.against)
            suggester = Suggester(plan.space, sampler, keeper, plan.trials)
            with local_ray(cores):
                run_candidates(suggester, dataset=plan.dataset, seed=plan.seed, scheduler=plan.scheduler, place=place)
        seconds = time.perf_counter() - begun
    finally:
        delivery.finish()
    states = journal.trials()
    spent = sum(fit_seconds(state) for state in states.values()) - sum(map(fit_seconds, before.values()))
    return seconds, spent / (cores * seconds), states


def fit_seconds(state: TrialState) -> float:
    """Return the seconds that a trial has spent inside `fit` up to its last whole epoch."""
    return state.curve[-1]["seconds"] if state.curve else 0.0


def conclude(
    plan: Plan, store: Store, place: Path, parent: str, experiment: str, states: Mapping[int, TrialState]
) -> tuple[list[Run], Run | None]:
    """Record the best trial's network and close the sweep's run; return all runs and the best."""
    missing = plan.trials - sum(state.ended for state in states.values())
    if missing:
        raise ResumeError(f"{missing} of {plan.trials} trials did not end; run the same again with --resume.")
    runs = store.runs(experiment=experiment, parent=parent)
    monitor = plan.space.recipe.monitor
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
