"""Accuracy against parameters, all families; and DenseNet's parameter efficiency.

Huang et al. 2017, section 5 and figure 4: DenseNet-BC "requires around 1/3 of the parameters to achieve comparable
accuracy" to pre-activation ResNets on CIFAR-10.

Tried here with small networks of every family on the handwritten digits that come with scikit-learn, enlarged to 28x28
pixels, of which few are trained on, so that there is room for errors. All train by the same recipe, tuned for none.
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
from keras_cnns.comparing.comparison import Comparison, Row
from keras_cnns.comparing.over_seeds import interval_of_mean
from keras_cnns.comparing.plots import draw
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
"""ResNets, and DenseNets of about a third of their parameters."""
ALEXNETS = (((16, 32, 48, 48, 32), 128), ((24, 64, 96, 96, 64), 256), ((48, 128, 192, 192, 128), 512))
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
    """Return the digits with few images to train on and the others to validate with."""
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
    """Train each network with each seed, each in a run of its own, compare them, and report."""
    data = few_digits()
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{Path(folder) / 'mlflow.db'}"
        for name, settings in NETWORKS:
            for seed in SEEDS:
                train(name, data, settings=settings, recipe=RECIPE, seed=seed, tracking_uri=uri, folder=folder)
        comparison = Comparison(Store(uri, create=False).runs(experiment="train"), by_seed=True)
    numbers = {
        "seeds": str(len(SEEDS)),
        "trained_on": str(TRAINED_ON),
        "images": f"{len(data.splits['validation']):,}",
        "networks": str(len(NETWORKS)),
        "table": table(comparison.rows),
    }
    worse = 0
    for place, pair in enumerate(PAIRS):
        rows = [row_of(network, comparison) for network in pair]
        residual_error, dense_error = (errors(row) for row in rows)
        for kind, row in zip(("residual", "dense"), rows, strict=True):
            numbers |= {f"weights_{kind}{place}": f"{row.run.metrics['parameters']:,.0f}"}
            numbers |= {f"error_{kind}{place}": share(errors(row))}
        difference = [dense_error[seed] - residual_error[seed] for seed in SEEDS]
        low, high = interval_of_mean(difference, least=-1.0)
        worse += low > 0
        numbers[f"difference{place}"] = f"{100 * np.mean(difference):+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
    numbers |= {"pairs": str(len(PAIRS)), "worse": str(worse)}
    report("families", numbers, draw(comparison))


def errors(row: Row) -> dict[int, float]:
    """Return the validation error with each seed."""
    return {seed: 1 - accuracy for seed, accuracy in row.by_seed("val_accuracy").items()}


def row_of(network: Network, comparison: Comparison) -> Row:
    """Return the row of a network."""
    name, settings = network
    parameters = keras_cnns.count(name, input_shape=(SIDE, SIDE, 1), classes=10, **settings).total_parameters
    rows = (row for row in comparison.rows if row.run.metrics["parameters"] == parameters)
    return next(row for row in rows if row.run.model == name)


def table(rows: Sequence[Row]) -> str:
    """List networks by parameters, those of the Pareto front in bold."""
    lines = ["| family | parameters | multiply-accumulates | error |", "|---|---:|---:|---:|"]
    for row in sorted(rows, key=lambda row: row.run.metrics["parameters"]):
        metrics = row.run.metrics
        name = f"**{row.run.family}**" if row.pareto else row.run.family
        lines.append(f"| {name} | {metrics['parameters']:,.0f} | {metrics['macs']:,.0f} | {share(errors(row))} |")
    return "\n".join(lines)
