"""The sweep: candidates through Ray Tune, every trial a run in MLflow, and nothing lost when it is killed."""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from keras_cnns.comparing.comparison import Comparison
from keras_cnns.data import Dataset, load
from keras_cnns.data.splits import SPLIT_TABLE, split_table
from keras_cnns.errors import SettingError, StoreError
from keras_cnns.networks.recipe import Recipe
from keras_cnns.networks.settings import SEED, Choice, IntRange, NoneOr, checked
from keras_cnns.tracking import RunDescription, Store
from keras_cnns.tracking.registry import as_name, check_name
from keras_cnns.tracking.retry import PATIENCE
from keras_cnns.training.checkpoints import write_text
from keras_cnns.training.run_directory import FINISHED
from tuning.candidates.limits import Limits
from tuning.candidates.ranges import find_bases
from tuning.candidates.space import make_space
from tuning.execution import run_candidates
from tuning.finishing.ending import candidate_of, conclude
from tuning.finishing.finals import FINALISTS, REPEATS, left_to_repeat, left_to_search, note_repeats
from tuning.finishing.result import SweepResult
from tuning.outcome.files import write_outcome
from tuning.running.cluster import Machines, check_machines, connected
from tuning.running.delivery import Delivery, SweepProgressCallback, Target
from tuning.running.journal import REPEAT, Journal, JournalCallback, TrialState
from tuning.running.plan import Plan
from tuning.running.start import find_start, start_from
from tuning.running.sweep_directory import SWEEP, claim, claim_finished, count_trials
from tuning.searching.reuse import ReusableResults
from tuning.searching.samplers import SEARCHES, make_sampler
from tuning.searching.schedulers import SCHEDULERS
from tuning.searching.suggester import Suggester

TRIALS = IntRange(1, 100_000)
SCHEDULER = Choice(SCHEDULERS)
SEARCH = Choice(SEARCHES)
COST = Choice(("parameters", "macs"))
LIMIT = NoneOr(IntRange(1, 2**63 - 1))


def sweep(
    model: str | None = None,
    data: str | Dataset = "digits",
    *,
    trials: int | None = None,
    recipe: Recipe | None = None,
    fixed: Mapping[str, object] | None = None,
    space: Mapping[str, object] | None = None,
    search: str = "tpe",
    max_parameters: int | None = None,
    max_macs: int | None = None,
    cost: str | None = None,
    seed: int | None = None,
    repeats: int | None = None,
    refit: bool = False,
    register: str | None = None,
    from_run: str | None = None,
    scheduler: str | None = None,
    cores: int | None = None,
    cores_per_trial: int = 1,
    gpus_per_trial: float | None = None,
    memory_per_trial: int | None = None,
    ray_address: str | None = None,
    storage: str | None = None,
    resume: bool = False,
    extend: int | None = None,
    experiment: str = "sweep",
    tracking_uri: str | None = None,
    folder: str | Path = "runs",
    progress_callback: SweepProgressCallback | None = None,
) -> SweepResult:
    """Search over what a family of networks and the recipe leave free.

    Args:
        model: A family (`"densenet"`), one variant of it to start from, or `"all"` to search all families at once;
            with `from_run` it may be left out.
        data: A source that `load` reads, or images already loaded.
        trials: How many candidates to try: 16 by default, or with search="grid" all that there are.
        recipe: The recipe they start from; `Recipe(epochs=10)` by default.
        fixed: Settings, and parts of the recipe, that all candidates share and the search leaves alone.
        space: What is searched, by the name of a setting or a part of the recipe, beside or instead of what the family
            searches by itself: a value is fixed; a range is text (`"4..24"`, `"4..24..4"`, `"1e-4..1e-2"`), a mapping
            with "low", "high" and perhaps "step" and "log", or an `IntRange` or `FloatRange`; a choice is text
            (`"4,8,12"`, or `"2,2|3,3"` of settings with several values), a list, or a `Choice`. With several families
            `"resnet.widths"` is that of one of them.
        search: "tpe" tries what is like the better ones so far (Optuna), "random" draws candidates, "grid" takes all.
        max_parameters: Candidates with more weights than this are never tried.
        max_macs: Nor are those with more multiply-accumulates for one image.
        cost: "parameters" or "macs": search for networks that score high and cost little, all trade-offs
            at once.
        seed: Draws the candidates, and trains them; another one each time by default.
        repeats: Train the best three again, or of the Pareto front with `cost`, with so many other seeds each, and
            test whether the winner is one; the best is then the one with the highest mean.
        refit: Train the best once more on training and validation images, for the epochs that were found, and register
            it in MLflow's model registry.
        register: What to register it as, which implies `refit`; `sweep-MODEL-DATA` by default.
        from_run: A run whose network, settings and recipe candidates start from; a sweep's id for its best trial.
        scheduler: "asha" (default) stops candidates early that fall behind (Li et al. 2020); "hyperband" does so in
            brackets, some of which spare their candidates longer (Li et al. 2018); "median" stops what never was as
            good as the others were on average (Golovin et al. 2017);
            "none" (default with `cost`, for the others know the score alone) trains all to the end.
        cores: How many cores all trials use together; all of the machine, or of the cluster, by default.
        cores_per_trial: How many of them each trial gets.
        gpus_per_trial: How many GPUs each trial gets: 1 by default where there are any; below 1 several share one.
        memory_per_trial: Bytes that each trial is counted with, so that fewer run at a time where memory is short.
        ray_address: A running Ray cluster, "auto" for the one that this machine belongs to or "HOST:PORT" of its head;
            a Ray of our own on this machine by default.
        storage: URI that all machines of a cluster reach (`"s3://bucket/folder"`), where trials keep their checkpoints;
            the sweep's folder by default, which all machines have to share then.
        resume: Go on with the newest unfinished sweep of the same arguments.
        extend: Go on with the newest finished sweep of the same arguments for so many more trials; the trials, repeats
            and refit of before need not be the same.
        experiment: MLflow experiment that the runs belong to.
        tracking_uri: Where runs are kept: MLflow's environment variable or `./mlflow.db` by default.
        folder: Where sweeps keep their journals and checkpoints.
        progress_callback: Told how the trials go on.

    Raises:
        KerasCnnsError: Model, settings, recipe, data, store or counts are not usable, each in a subclass.
    """
    check_together(model, from_run, extend=extend, resume=resume)
    trials = None if trials is None else checked("trials", TRIALS, trials)
    extend = None if extend is None else checked("extend", TRIALS, extend)
    repeats = checked("repeats", REPEATS, repeats)
    search = checked("search", SEARCH, search)
    cost = None if cost is None else checked("cost", COST, cost)
    scheduler = checked("scheduler", SCHEDULER, scheduler or ("none" if cost else "asha"))
    limits = Limits(
        parameters=checked("max_parameters", LIMIT, max_parameters),
        macs=checked("max_macs", LIMIT, max_macs),
    )
    machines = Machines(
        ray_address=ray_address,
        cores=cores,
        cores_per_trial=cores_per_trial,
        gpus_per_trial=gpus_per_trial,
        memory_per_trial=memory_per_trial,
        storage=storage,
    )
    drawn_seed = random.SystemRandom().randrange(2**31) if seed is None else checked("seed", SEED, seed)
    start = None if from_run is None else find_start(from_run, model=model, tracking_uri=tracking_uri)
    model = start.model if start is not None else str(model)
    find_bases(model)
    dataset = load(data) if isinstance(data, str) else data
    _ = dataset.training  # or there is nothing to train on
    candidates = make_space(
        model,
        recipe=recipe or (start.recipe if start is not None else Recipe(epochs=10)),
        fixed=fixed,
        space=space,
        image_shape=dataset.image_shape,
        classes=dataset.classes,
        limits=limits,
    )
    candidates = start_from(candidates, start)
    going_on = resume or extend is not None
    name = register or (as_name(f"sweep-{model}-{dataset.name}") if refit else None)
    plan = Plan(
        space=candidates,
        dataset=dataset,
        trials=0 if going_on and trials is None else count_trials(candidates, search, trials, drawn_seed),
        seed=drawn_seed,
        scheduler=scheduler,
        search=search,
        cost=cost,
        machines=machines,
        repeats=repeats,
        register=None if name is None else check_name(name),
    )
    check_machines(machines, Path(folder))
    store = Store(tracking_uri, patience=PATIENCE)
    sweeps = Path(folder) / "sweeps"
    if extend is None:
        place, lock, record = claim(sweeps, plan, store, resume=resume, seed=seed, trials=trials)
    else:
        place, lock, record = claim_finished(sweeps, plan, store, more=extend, seed=seed, trials=trials)
    plan = replace(plan, seed=record["seed"], trials=record["trials"] + record.get("extended", 0))
    with lock:
        parent = record.get("run_id") or start_parent(plan, store, experiment, place.name)
        (place / FINISHED).unlink(missing_ok=True)
        write_text(place / SWEEP, json.dumps({**record, "run_id": parent}, indent=2))
        write_text(place / SPLIT_TABLE, split_table(dataset))
        store.log_files(parent, place / SPLIT_TABLE)
        try:
            seconds, utilization, states = run_trials(plan, store, place, parent, experiment, progress_callback)
            runs, best, finals, refitted = conclude(plan, store, place, parent, experiment, states, progress_callback)
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            store.patience.end()
            with contextlib.suppress(StoreError):  # what went wrong first is what matters
                store.finish(parent, status="killed" if interrupted else "failed", reason=type(error).__name__)
            raise
        outcome = write_outcome(states, plan.space, runs, place, cost=cost)
        store.log_files(parent, outcome)
        write_text(place / FINISHED, parent)
    compared = Comparison(runs, sort=plan.space.recipe.monitor, cost=cost or "parameters")
    return SweepResult(
        run_id=parent,
        store=store.uri,
        folder=place,
        runs=runs,
        best=best,
        front=sorted((row.run for row in compared.rows if row.pareto), key=lambda run: run.metrics[compared.cost]),
        finals=finals,
        refit=refitted,
        notes=plan.space.notes,
        seconds=seconds,
        utilization=utilization,
    )


def check_together(model: str | None, from_run: str | None, *, extend: int | None, resume: bool) -> None:
    """Raise a `SettingError` where arguments contradict each other, or say too little."""
    if extend is not None and resume:
        raise SettingError("extend goes on with a finished sweep, resume with an unfinished one: give one of them.")
    if model is None and from_run is None:
        raise SettingError("there is no model: name a family, a variant or all, or a run to start from.")


def start_parent(plan: Plan, store: Store, experiment: str, folder: str) -> str:
    """Begin the sweep's own run in MLflow."""
    parameters = {"model": plan.name, "trials": plan.trials, "seed": plan.seed, "scheduler": plan.scheduler}
    limits = {f"max_{name}": limit for name, limit in vars(plan.space.limits).items() if limit is not None}
    goals = {"search": plan.search, **({"cost": plan.cost} if plan.cost else {}), **limits}
    searched = {f"searched.{name}": str(domain) for name, domain in plan.space.searched().items()}
    return store.start_group(
        f"sweep-{plan.name}",
        experiment=experiment,
        params={**parameters, **goals, **searched},
        tags={"folder": folder, "data.name": plan.dataset.name, "data.fingerprint": plan.dataset.fingerprint},
    )


def name_of(state: TrialState, plan: Plan, place: Path) -> str:
    """Name a trial: no other of the experiment's sweeps has the same four letters of its folder."""
    if state.repeat_of is None or state.seed is None:
        return f"trial-{place.name[-4:]}-{state.number:04d}"
    return f"repeat-{place.name[-4:]}-{state.repeat_of:04d}-{(state.seed - plan.seed) % 2**32}"


def describe_trial(plan: Plan, place: Path, parent: str, state: TrialState) -> RunDescription:
    """Say what is known of a trial before it trains."""
    candidate = candidate_of(plan, state)
    repeated = {} if state.repeat_of is None else {"repeat_of": str(state.repeat_of)}
    return RunDescription(
        name=name_of(state, plan, place),
        model=candidate.model,
        family=plan.space.branches[candidate.model].family.name,
        settings=candidate.settings.to_strings(),
        recipe=candidate.recipe.to_strings(),
        seed=plan.seed if state.seed is None else state.seed,
        data_name=plan.dataset.name,
        data_fingerprint=plan.dataset.fingerprint,
        tags={"sweep": parent, "trial": str(state.number), "role": state.role, **repeated},
    )


def run_trials(
    plan: Plan,
    store: Store,
    place: Path,
    parent: str,
    experiment: str,
    progress_callback: SweepProgressCallback | None,
) -> tuple[float, float, dict[int, TrialState]]:
    """Run what is left of a sweep; return its seconds, utilization and trials."""
    journal = Journal(place / "journal.jsonl")
    journal.repair()
    before = journal.trials()
    target = Target(
        store=store,
        experiment=experiment,
        parent=parent,
        trials=plan.trials + FINALISTS * (plan.repeats or 0),
        describe=lambda state: describe_trial(plan, place, parent, state),
        recipe=plan.space.recipe,
    )
    delivery = Delivery(journal, place / "delivered", target, progress_callback)
    delivery.start()
    held, begun = 1, time.perf_counter()
    try:
        if left_to_search(plan, before) or left_to_repeat(plan, before):
            journal_callback = JournalCallback(place.resolve(), journal, plan.space.recipe.epochs)
            with connected(plan.machines):
                held = plan.machines.at_once()
                if progress_callback is not None:
                    progress_callback.begin(before, target.trials, held)
                reusable = ReusableResults(store, plan.dataset.fingerprint)
                search_and_repeat(plan, journal_callback, reusable, place)
        seconds = time.perf_counter() - begun
    except BaseException:
        store.patience.end()
        raise
    finally:
        delivery.finish()
    states = journal.trials()
    spent = sum(fit_seconds(state) for state in states.values()) - sum(map(fit_seconds, before.values()))
    return seconds, spent / (held * seconds), states


def search_and_repeat(plan: Plan, journal_callback: JournalCallback, reusable: ReusableResults, place: Path) -> None:
    """Run what is left of the search, then what is left of the finalists' repeats, none of which is stopped early.

    A process that dies before its trial has begun costs Tune one of the trials that it is to run: what is left after
    deaths is run again. Trials do not die for ever.
    """
    sampler = make_sampler(plan.search, plan.space, seed=plan.seed, cost=plan.cost)
    deaths = -1
    while left_to_search(plan, journal_callback.known) and deaths < (deaths := count_deaths(journal_callback)):
        suggester = Suggester(plan.space, sampler, journal_callback, reusable, trials=plan.trials, seed=plan.seed)
        run_candidates(suggester, plan, place, scheduler=plan.scheduler)
    if left_to_search(plan, journal_callback.known):
        return
    deaths = -1
    while left_to_repeat(plan, journal_callback.known) and deaths < (deaths := count_deaths(journal_callback)):
        note_repeats(plan, journal_callback)
        repeats = len(journal_callback.of_role(REPEAT))
        suggester = Suggester(
            plan.space, sampler, journal_callback, reusable, trials=repeats, seed=plan.seed, role=REPEAT
        )
        run_candidates(suggester, plan, place, scheduler="none")


def count_deaths(journal_callback: JournalCallback) -> int:
    """Return how often processes of trials have died so far."""
    return sum(state.deaths for state in journal_callback.known.values())


def fit_seconds(state: TrialState) -> float:
    """Return the seconds that a trial has spent inside `fit` in whole epochs of its own."""
    return 0.0 if state.reused_run or not state.curve else state.curve[-1]["seconds"]
