"""Images per second of our training without augmentation, compared with `model.fit` on the same arrays and network.

    python benchmarks/throughput.py mnist.npz

Both train the modern LeNet-5 and evaluate all validation images after each epoch; ours also saves a checkpoint. They
run alternately, and the median epoch after the first is used.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import keras

from keras_cnns import Dataset, Recipe, load
from keras_cnns.networks.registry import network_settings
from keras_cnns.training.fit import fit
from keras_cnns.training.job import Job, assemble

RECIPE = Recipe(epochs=5)
JOB = Job(model="lenet5", settings=network_settings("lenet5", {}), recipe=RECIPE)


class Clock(keras.callbacks.Callback):
    """Records the end of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Record the time."""
        self.ends.append(time.perf_counter())


def ours(dataset: Dataset) -> float:
    """Return our median seconds per epoch after the first."""
    with tempfile.TemporaryDirectory() as folder:
        history = fit(JOB, dataset, Path(folder)).history
    return median_step([metrics["seconds"] for metrics in history])


def bare(dataset: Dataset) -> float:
    """Return the median seconds per epoch after the first of `model.fit`."""
    model, clock = assemble(JOB, dataset), Clock()
    model.compile("adamw", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    train, validation = dataset.splits["train"], dataset.splits["validation"]
    model.fit(
        train.images,
        train.labels,
        validation_data=(validation.images, validation.labels),
        validation_batch_size=256,
        batch_size=RECIPE.batch_size,
        epochs=RECIPE.epochs,
        verbose=0,
        callbacks=[clock],
    )
    return median_step(clock.ends)


def median_step(times: list[float]) -> float:
    """Return the median difference of consecutive times."""
    return statistics.median(after - before for before, after in itertools.pairwise(times))


def main() -> None:
    """Run both alternately, and print the ratio of medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="MNIST as an .npz file")
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    dataset = load(arguments.data, leaks="allow")
    images = len(dataset.splits["train"])
    times: dict[str, list[float]] = {"ours": [], "bare": []}
    for turn in range(arguments.turns):
        for name, run in (("ours", ours), ("bare", bare)):
            times[name].append(run(dataset))
            print(f"turn {turn + 1}, {name}: {images / times[name][-1]:,.0f} images/s", flush=True)
    ratio = statistics.median(times["bare"]) / statistics.median(times["ours"])
    print(f"throughput of ours {ratio:.2f} of a bare model.fit")


if __name__ == "__main__":
    main()
