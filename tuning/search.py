"""The sweep: search for the best network with Ray Tune, with every trial as a run in MLflow."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from keras_cnns.atomic import write_text
from keras_cnns.comparing.comparison import Comparison
from keras_cnns.data import Dataset, load
from keras_cnns.data.folds import MAX_FOLDS, make_folds, pool_images
from keras_cnns.display.progress import Progress
from keras_cnns.display.showing import shows_progress
from keras_cnns.errors import SettingError
from keras_cnns.networks.recipe import Recipe
from keras_cnns.networks.settings import SEED, Choice, IntRange, NoneOr, check_argument
from keras_cnns.pretrained.runs import find_any_weights
from keras_cnns.pretrained.starting_weights import check_weights
from keras_cnns.tracking import Store
from keras_cnns.tracking.registry import check_name, sanitize_name
from keras_cnns.tracking.retry import RETRY_SECONDS
from keras_cnns.training.logged_data import log_splits
from keras_cnns.training.presets import get_recipe
from keras_cnns.training.run_directory import FINISHED
from tuning.candidates.ranges import Base, find_bases
from tuning.candidates.space import Limits, Space, make_space
from tuning.execution import run_trials
from tuning.finishing.result import SweepResult
from tuning.outcome.files import write_outcome
from tuning.running.cluster import ClusterConfig, check_cluster
from tuning.running.starting_point import find_starting_point
from tuning.running.sweep_directory import SWEEP, open_directory, resolve_trials
from tuning.running.sweep_run import SweepConfig, SweepRun, start_sweep
from tuning.searching.samplers import SEARCHES
from tuning.searching.schedulers import SCHEDULERS

DEFAULT_EPOCHS = 10
TRIALS = IntRange(1, 100_000)
REPEATS = NoneOr(IntRange(2, 1000))
FOLDS = NoneOr(IntRange(2, MAX_FOLDS))
SEARCH, SCHEDULER, COST = Choice(SEARCHES), Choice(SCHEDULERS), Choice(("parameters", "macs"))
LIMIT = NoneOr(IntRange(1, 2**63 - 1))


@shows_progress
def sweep(
    model: str | None = None,
    data: str | Dataset | Callable[[], Dataset] = "digits",
    *,
    trials: int | None = None,
    recipe: Recipe | str | None = None,
    weights: str | os.PathLike[str] | None = None,
    space: Mapping[str, object] | None = None,
    search: str = "tpe",
    max_parameters: int | None = None,
    max_macs: int | None = None,
    cost: str | None = None,
    seed: int | None = None,
    repeats: int | None = None,
    folds: int | None = None,
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
    progress: bool | Progress = True,
) -> SweepResult:
    """Search for the best settings of a family of networks and of the training recipe.

    Args:
        model: A family (`"densenet"`), a variant to start from, or `"all"` to search all families at once. It can be
            omitted with `from_run`. Of a baseline, such as `"keras:MobileNetV3Small"` (see `build`), only arguments of
            its function that `space` names are searched.
        data: A source that `load` reads, a loaded dataset, or a function that loads one, which is called after the
            other arguments have been checked.
        trials: Number of candidates to try: 16 by default, or with `search="grid"` all of them.
        recipe: The recipe that candidates start from, or its name: "plain" (default), "modern" or "paper", and
            with `weights` also "finetune" or "probe". A recipe by name has 10 epochs, unless `space` sets them; a probe
            has none.
        weights: The weights that all candidates begin with, as for `keras_cnns.build`. Of the network, only settings
            that `space` names are searched, and only those that do not change its structure; `model` is a variant.
        space: What to search, by the name of a setting, in addition to or instead of what the family searches by
            default. A single value is fixed. A range is text (`"4..24"`, `"4..24..4"`, `"1e-4..1e-2"`), a mapping with
            "low", "high" and optionally "step" and "log", or an `IntRange` or `FloatRange`. A choice is text
            (`"4,8,12"`, or `"2,2|3,3"` for tuples), a list, or a `Choice`. With several families, `"resnet.widths"` is
            a setting of one of them.
        search: "tpe" tries candidates similar to the best ones so far (Optuna), "random" draws candidates at random,
            "grid" tries all candidates.
        max_parameters: Maximum number of weights of a candidate.
        max_macs: Maximum number of multiply-accumulates of a candidate for one image.
        cost: "parameters" or "macs": search for all trade-offs between a high score and a low cost.
        seed: Seed of the candidates and of their training; random by default.
        repeats: Train the best three candidates (with `cost`, of the Pareto front) again with this number of other
            seeds, and test whether the winner is significantly better. The best run is then the median repeat of the
            candidate with the highest mean.
        folds: Instead of repeats, cross-validate the best three candidates with this number of folds (see
            `cross_validate`), and compare their out-of-fold predictions. The best run is then that of the candidate
            with the highest score; the networks of its folds can be used as an ensemble.
        refit: Train the best candidate again on training and validation images, for the best number of epochs, and
            register it in MLflow's model registry.
        register: Name in the registry, `sweep-MODEL-DATA` by default; implies `refit`.
        from_run: A run whose network, settings and recipe candidates start from; for the id of a sweep, its best trial.
        scheduler: Early stopping of trials. "asha" (default) stops the worse trials (Li et al. 2020);
            "hyperband" does so in brackets, some of which stop trials later (Li et al. 2018); "median" stops trials
            below the median of the others (Golovin et al. 2017); "none" (default with `cost`, because schedulers
            compare trials by score only) stops no trial.
        cores: Number of cores of all trials together; all cores by default.
        cores_per_trial: Number of cores per trial.
        gpus_per_trial: Number of GPUs per trial; 1 by default if there are any. Below 1, trials share a GPU.
        memory_per_trial: Bytes reserved per trial, which limits how many run at a time.
        ray_address: A running Ray cluster: "auto" for the one that this machine belongs to, or "HOST:PORT" of its head.
            By default, Ray is started on this machine.
        storage: URI that all machines of a cluster reach (`"s3://bucket/folder"`), where trials store their
            checkpoints; by default the sweep's folder, which all machines must share.
        resume: Continue the newest unfinished sweep with the same arguments.
        extend: Add this number of trials to the newest finished sweep with the same arguments; `trials`, `repeats` and
            `refit` may differ.
        experiment: Name of the MLflow experiment.
        tracking_uri: MLflow store: MLflow's environment variable or `./mlflow.db` by default.
        folder: Folder for the journals and checkpoints of sweeps.
        progress: Whether to show progress, or what receives it.

    Raises:
        KerasCnnsError: An argument is not valid, or the data, the store or the cluster cannot be used.
    """
    progress = cast("Progress", progress)  # as `shows_progress` passes it
    if extend is not None and resume:
        raise SettingError("extend continues a finished sweep, and resume an unfinished one: give one of them.")
    trials = None if trials is None else check_argument("trials", TRIALS, trials)
    extend = None if extend is None else check_argument("extend", TRIALS, extend)
    cost = None if cost is None else check_argument("cost", COST, cost)
    repeats = check_argument("repeats", REPEATS, repeats)
    folds = check_argument("folds", FOLDS, folds)
    if folds is not None and (repeats is not None or storage is not None):
        other = "repeats" if repeats is not None else "storage"
        raise SettingError(f"folds and {other} exclude each other: leave out --folds or --{other}.")
    search = check_argument("search", SEARCH, search)
    scheduler = check_argument("scheduler", SCHEDULER, scheduler or ("none" if cost else "asha"))
    limits = Limits(
        parameters=check_argument("max_parameters", LIMIT, max_parameters),
        macs=check_argument("max_macs", LIMIT, max_macs),
    )
    cluster = ClusterConfig(
        ray_address=ray_address,
        cores=cores,
        cores_per_trial=cores_per_trial,
        gpus_per_trial=gpus_per_trial,
        memory_per_trial=memory_per_trial,
        storage=storage,
    )
    new_seed = random.SystemRandom().randrange(2**31) if seed is None else check_argument("seed", SEED, seed)
    name, bases, start_recipe = resolve_start(model, recipe, from_run, tracking_uri, with_weights=weights is not None)
    candidates = make_space(
        name, bases=bases, recipe=start_recipe, space=space, limits=limits, only_named=weights is not None
    )
    dataset = resolve_dataset(data)
    candidates = candidates.for_images(dataset.image_shape, dataset.classes)
    if weights is not None:
        candidates = begin_with(candidates, dataset, weights, tracking_uri)
    if folds is not None:
        make_folds(pool_images(dataset), folds=folds)  # raises if a class has too few images or patients
    registered_name = register or (sanitize_name(f"sweep-{name}-{dataset.name}") if refit else None)
    continued = resume or extend is not None
    config = SweepConfig(
        space=candidates,
        dataset=dataset,
        trials=0 if continued and trials is None else resolve_trials(candidates, search, trials, new_seed),
        seed=new_seed,
        scheduler=scheduler,
        search=search,
        cost=cost,
        cluster=cluster,
        repeats=repeats,
        folds=folds,
        register=None if registered_name is None else check_name(registered_name),
    )
    check_cluster(cluster, Path(folder))
    store = Store(tracking_uri, retry_timeout=RETRY_SECONDS)
    directory, lock, record = open_directory(
        Path(folder) / "sweeps", config, store, resume=resume, extend=extend, seed=seed, trials=trials
    )
    with lock:
        return run_sweep(start_run(config, store, experiment, directory, record), progress)


def resolve_start(
    model: str | None,
    recipe: Recipe | str | None,
    from_run: str | None,
    tracking_uri: str | None,
    *,
    with_weights: bool,
) -> tuple[str, list[Base], Recipe]:
    """Return the name of what is searched, and the networks and the recipe that candidates start from.

    Raises:
        KerasCnnsError: There is no such model, run or recipe.
    """
    if from_run is not None:
        base, earlier = find_starting_point(from_run, model=model, tracking_uri=tracking_uri)
        model, bases, recipe = base.model, [base], recipe or earlier
        if recipe is earlier and earlier.standardization == "weights" and not with_weights:
            raise SettingError(f"run {from_run} began with weights; name them with --weights (weights).")
    elif model is None:
        raise SettingError("there is no model: name a family, a network or all, or a run with --from-run (from_run).")
    else:
        bases = find_bases(model)
    if isinstance(recipe, Recipe):
        return model, bases, recipe
    if recipe == "paper" and len(bases) > 1:
        raise SettingError("recipe 'paper' is different for each family: name one family, or use --recipe modern.")
    named = get_recipe(recipe or "plain", bases[0].family, with_weights=with_weights)
    return model, bases, named.replace({"epochs": min(DEFAULT_EPOCHS, named.epochs)})


def begin_with(space: Space, dataset: Dataset, weights: str | os.PathLike[str], tracking_uri: str | None) -> Space:
    """Return a space with candidates that begin with weights, which are checked against the images.

    Raises:
        KerasCnnsError: There are no such weights, or they do not fit the candidates.
    """
    if len(space.branches) > 1:
        raise SettingError("weights belong to one network: name a variant, such as resnet50-v1.5, to search with them.")
    ((model, branch),) = space.branches.items()
    settings = branch.settings.replace(branch.fixed).as_dict()
    file = find_any_weights(weights, model, tracking_uri, settings)
    return space.begin_with(check_weights(file, model, dataset.image_shape, dataset.classes, settings))


def resolve_dataset(data: str | Dataset | Callable[[], Dataset]) -> Dataset:
    """Return the dataset, loaded if necessary.

    Raises:
        DataError: It cannot be loaded, or has no training images.
    """
    dataset = load(data) if isinstance(data, str) else data() if callable(data) else data
    _ = dataset.training  # raises if there are none
    return dataset


def start_run(
    config: SweepConfig, store: Store, experiment: str, directory: Path, record: Mapping[str, Any]
) -> SweepRun:
    """Start the sweep's run in MLflow, or continue an earlier one, and write the sweep's record and splits."""
    config = replace(config, seed=record["seed"], trials=record["trials"] + record.get("extended", 0))
    run_id = record.get("run_id") or start_sweep(config, store, experiment, directory)
    (directory / FINISHED).unlink(missing_ok=True)
    write_text(directory / SWEEP, json.dumps({**record, "run_id": run_id}, indent=2))
    log_splits(config.dataset, directory, store, run_id)
    return SweepRun(config=config, folder=directory, store=store, experiment=experiment, run_id=run_id)


def run_sweep(sweep_run: SweepRun, progress: Progress) -> SweepResult:
    """Run the trials, find the best one, and compare the trials."""
    config, store, folder = sweep_run.config, sweep_run.store, sweep_run.folder
    with store.mark_failure(sweep_run.run_id):
        seconds, utilization, states = run_trials(sweep_run, progress)
        from tuning.finishing.finish import finish_sweep  # noqa: PLC0415 - needs the backend, unlike the trials' driver

        runs, best, finals, refitted = finish_sweep(sweep_run, states, progress)
    store.log_files(sweep_run.run_id, write_outcome(states, config.space, runs, folder, cost=config.cost))
    write_text(folder / FINISHED, sweep_run.run_id)
    return SweepResult(
        config=config,
        run_id=sweep_run.run_id,
        store=store.uri,
        folder=folder,
        runs=runs,
        comparison=Comparison(runs, sort=config.monitor, cost=config.cost or "parameters", per_run=True),
        best=best,
        finals=finals,
        refit=refitted,
        seconds=seconds,
        utilization=utilization,
    )
