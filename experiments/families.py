"""Accuracy against parameters, all families; and DenseNet's parameter efficiency.

Huang et al. 2017, section 5 and figure 4: DenseNet-BC "requires around 1/3 of the parameters to achieve comparable
accuracy" to pre-activation ResNets on CIFAR-10.

Measured with small networks of every family on scikit-learn's handwritten digits, enlarged to 28x28 pixels. The
training set is small, so that errors are large enough to compare. All use the same recipe, which was tuned for none.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import keras_cnns
from experiments.reporting import report, share
from experiments.training import digits
from keras_cnns import Recipe, train
from keras_cnns.comparing.comparison import Comparison
from keras_cnns.comparing.pareto_plots import pareto_figure
from keras_cnns.comparing.rows import Row
from keras_cnns.comparing.significance import confidence_interval
from keras_cnns.data import Dataset, Split
from keras_cnns.tracking import Store

SIDE, SEEDS, TRAINED_ON = 28, range(3), 300
RECIPE = Recipe(epochs=30, batch_size=32, keep="last")
Network = tuple[str, dict[str, Any]]


def residual(units: int, width: int) -> Network:
    """Return a ResNet of three stages."""
    widths = (width, 2 * width, 4 * width)
    return "resnet-cifar-20", {"units": (units,) * 3, "widths": widths, "stem_width": width}


def dense(layers: int, growth_rate: int) -> Network:
    """Return a DenseNet-BC of three blocks."""
    return "densenet-bc-40", {"blocks": (layers,) * 3, "growth_rate": growth_rate}


PAIRS = ((residual(1, 8), dense(2, 4)), (residual(1, 16), dense(2, 8)), (residual(3, 16), dense(4, 10)))
"""ResNets, and DenseNets with about a third of their parameters."""
NETWORKS: tuple[Network, ...] = (
    *(("lenet5", {"convolution_widths": widths}) for widths in ((6, 16, 120), (20, 50, 120), (32, 64, 120))),
    *(
        ("alexnet-small", {"widths": widths, "dense_width": hidden})
        for widths, hidden in (
            ((16, 32, 48, 48, 32), 128),
            ((24, 64, 96, 96, 64), 256),
            ((48, 128, 192, 192, 128), 512),
        )
    ),
    *(
        ("nin-cifar-bn", {"widths": (w,) * 3, "hidden_widths": (w,) * 3, "output_widths": (w // 2, w)})
        for w in (24, 48, 96)
    ),
    *(
        ("vgg-small", {"convolutions": (1, 1, 2), "widths": widths})
        for widths in ((16, 32, 64), (32, 64, 128), (64, 128, 256))
    ),
    *(("googlenet-bn", {"modules": (1, 2, 1), "width_multiplier": width}) for width in (0.125, 0.25, 0.5)),
    *((name, settings) for pair in PAIRS for name, settings in pair),
)


def few_digits() -> Dataset:
    """Return the digits with a small training split and all other images in the validation split."""
    data = digits(SIDE)
    whole = {name: data.splits[name] for name in ("train", "validation")}
    images = np.concatenate([np.asarray(split.images) for split in whole.values()])
    labels = np.concatenate([split.labels for split in whole.values()])
    return replace(
        data,
        splits={
            "train": Split(images[:TRAINED_ON], labels[:TRAINED_ON]),
            "validation": Split(images[TRAINED_ON:], labels[TRAINED_ON:]),
        },
    )


def run() -> None:
    """Train each network with each seed, compare the runs, and write the results."""
    data = few_digits()
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{Path(folder) / 'mlflow.db'}"
        for name, settings in NETWORKS:
            for seed in SEEDS:
                train(name, data, settings=settings, recipe=RECIPE, seed=seed, tracking_uri=uri, folder=folder)
        comparison = Comparison(Store(uri, create=False).runs(experiment="train"))
    numbers = {
        "seeds": str(len(SEEDS)),
        "trained_on": str(TRAINED_ON),
        "images": f"{len(data.splits['validation']):,}",
        "networks": str(len(NETWORKS)),
        "table": table(comparison.rows),
    }
    worse = 0
    for number, pair in enumerate(PAIRS):
        rows = [row_of(network, comparison) for network in pair]
        residual_error, dense_error = (errors(row) for row in rows)
        for kind, row in zip(("residual", "dense"), rows, strict=True):
            numbers |= {f"weights_{kind}{number}": f"{row.run.metrics['parameters']:,.0f}"}
            numbers |= {f"error_{kind}{number}": share(errors(row))}
        difference = [dense_error[seed] - residual_error[seed] for seed in SEEDS]
        low, high = confidence_interval(difference, minimum=-1.0)
        worse += low > 0
        numbers[f"difference{number}"] = f"{100 * np.mean(difference):+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
    numbers |= {"pairs": str(len(PAIRS)), "worse": str(worse)}
    report("families", numbers, pareto_figure(comparison))


def errors(row: Row) -> dict[int, float]:
    """Return the validation error by seed."""
    return {seed: 1 - accuracy for seed, accuracy in row.values_by_seed("val_accuracy").items()}


def row_of(network: Network, comparison: Comparison) -> Row:
    """Return the row of a network."""
    name, settings = network
    parameters = keras_cnns.count(name, input_shape=(SIDE, SIDE, 1), classes=10, **settings).total_parameters
    rows = (row for row in comparison.rows if row.run.metrics["parameters"] == parameters)
    return next(row for row in rows if row.run.model == name)


def table(rows: Sequence[Row]) -> str:
    """Return a table of the networks by parameters, with the Pareto front in bold."""
    lines = ["| family | parameters | multiply-accumulates | error |", "|---|---:|---:|---:|"]
    for row in sorted(rows, key=lambda row: row.run.metrics["parameters"]):
        metrics = row.run.metrics
        name = f"**{row.run.family}**" if row.pareto else row.run.family
        lines.append(f"| {name} | {metrics['parameters']:,.0f} | {metrics['macs']:,.0f} | {share(errors(row))} |")
    return "\n".join(lines)
