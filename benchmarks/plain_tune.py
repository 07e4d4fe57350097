"""A sweep compared with the recipe for Keras in Ray Tune's documentation, with the same trainings.

    python benchmarks/plain_tune.py pneumoniamnist_trainval.npz

Both train the same DenseNets, drawn with one seed, for the same number of epochs with the same optimizer, learning
rates and batch size, without early stopping. The plain recipe follows Tune's example `tune_mnist_keras`: each trial
reads the data, builds and compiles its model, calls `model.fit` on arrays with `validation_data`, and reports through a
callback; it requests two cores per trial, as in the example. One core per trial, with two concurrent trials, is
measured too. Each variant runs in a separate process, alternately, including the start-up of Ray and TensorFlow.

Our sweep does more: it saves a checkpoint of each epoch, computes the AUC, and records every trial in MLflow.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import tune

import keras_cnns
from keras_cnns import Recipe
from keras_cnns.data import load
from tuning import sweep
from tuning.candidates.space import make_space

VARIANTS = ("ours", "plain, two cores per trial", "plain, one core per trial")
NETWORKS = {"growth_rate": "4..12..4"}


def run_ours(arguments: argparse.Namespace) -> dict[str, float]:
    """Sweep, and return wall time and utilisation."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        result = sweep(
            "densenet",
            load(arguments.data, leaks="allow"),
            trials=arguments.trials,
            recipe=Recipe(epochs=arguments.epochs),
            space=NETWORKS,
            scheduler="none",
            seed=arguments.seed,
            folder=folder,
            tracking_uri=f"sqlite:///{folder}/mlflow.db",
        )
        wall = time.perf_counter() - begun
    spent = sum(run.metrics["seconds"] for run in result.runs)
    return {"wall": wall, "inside_fit": spent / ((os.cpu_count() or 1) * wall), "trials": len(result.runs)}


def train_plain(config: dict[str, Any]) -> None:
    """Train one model as Tune's example does."""
    import tensorflow as tf  # noqa: PLC0415 - the driver needs none
    from ray.tune.integration.keras import TuneReportCheckpointCallback  # noqa: PLC0415 - imports TensorFlow

    with np.load(config["data"]) as arrays:
        images = {part: arrays[f"{part}_images"][..., None] / 255.0 for part in ("train", "val")}
        labels = {part: arrays[f"{part}_labels"].ravel() for part in ("train", "val")}
    model = keras_cnns.build(config["model"], input_shape=images["train"].shape[1:], classes=2, **config["settings"])
    steps = -(-len(labels["train"]) // config["batch_size"]) * config["epochs"]
    rate = tf.keras.optimizers.schedules.CosineDecay(
        0.0, steps * 9 // 10, warmup_target=config["learning_rate"], warmup_steps=steps // 10
    )
    model.compile(
        loss="sparse_categorical_crossentropy",
        optimizer=tf.keras.optimizers.AdamW(rate, weight_decay=config["weight_decay"]),
        metrics=["accuracy"],
    )
    model.fit(
        images["train"],
        labels["train"],
        batch_size=config["batch_size"],
        epochs=config["epochs"],
        verbose=0,
        validation_data=(images["val"], labels["val"]),
        callbacks=[TuneReportCheckpointCallback(checkpoint_on=[], metrics={"accuracy": "val_accuracy"})],
    )


def run_plain(arguments: argparse.Namespace, cores: int) -> dict[str, float]:
    """Tune the same candidates as the documentation does, and return the wall time."""
    dataset = load(arguments.data, leaks="allow")
    space = make_space(
        "densenet",
        recipe=Recipe(epochs=arguments.epochs),
        space=NETWORKS,
        image_shape=dataset.image_shape,
        classes=dataset.classes,
    )
    configs = [
        {
            "data": str(Path(arguments.data).resolve()),
            "model": candidate.model,
            "settings": candidate.settings.as_dict(),
            "epochs": candidate.recipe.epochs,
            "batch_size": candidate.recipe.batch_size,
            "learning_rate": candidate.recipe.learning_rate,
            "weight_decay": candidate.recipe.weight_decay,
        }
        for candidate in space.draw(arguments.trials, arguments.seed)
    ]
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        ray.init(address="local", num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False)
        tuner = tune.Tuner(
            tune.with_resources(lambda config: train_plain(config["of"]), resources={"cpu": cores, "gpu": 0}),
            run_config=tune.RunConfig(name="exp", storage_path=folder, verbose=0),
            tune_config=tune.TuneConfig(metric="accuracy", mode="max", num_samples=1),
            param_space={"of": tune.grid_search(configs)},
        )
        results = tuner.fit()
        wall = time.perf_counter() - begun
        ray.shutdown()
    if results.errors:
        raise SystemExit(f"{len(results.errors)} trials failed: {results.errors[0]}")
    return {"wall": wall, "trials": len(results)}


def main() -> None:
    """Run each way in a process of its own, in turn, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="PneumoniaMNIST as an .npz file")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--way", choices=VARIANTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        measured = (
            run_ours(arguments)
            if arguments.way == VARIANTS[0]
            else run_plain(arguments, 3 - VARIANTS.index(arguments.way))
        )
        print(json.dumps(measured))
        return
    found = {}
    for way in VARIANTS:
        command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[way] = json.loads(done.stdout.splitlines()[-1])
        hourly = found[way]["trials"] / found[way]["wall"] * 3600
        print(f"{way}: {found[way]['trials']} trials in {found[way]['wall']:.0f} s, {hourly:.0f} per hour", flush=True)
    print(f"core utilisation of ours: {found[VARIANTS[0]]['inside_fit']:.0%} of {os.cpu_count()} cores")
    for way in VARIANTS[1:]:
        print(
            f"ours against {way}: {found[way]['wall'] / found[VARIANTS[0]]['wall']:.2f} times as many trials per hour"
        )


if __name__ == "__main__":
    main()
