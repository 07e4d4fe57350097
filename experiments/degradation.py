"""Degradation: deeper plain networks have a higher training error, residual ones do not.

He et al. 2016, section 4.2 and figure 6: on CIFAR-10 the training error of plain networks rises from 20 to 56 layers,
that of residual ones falls. Overfitting is not the cause, since it is the training error; nor are vanishing gradients,
since batch norm is everywhere.

Measured with the paper's networks of 8 to 56 layers on scikit-learn's handwritten digits (8x8 pixels).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import keras

import keras_cnns
from experiments.reporting import BySeed, draw_bands, report, share, verdict
from experiments.training import digits, error, train
from keras_cnns.plotting import INK, make_figure

SIDE, SEEDS, EPOCHS = 8, range(4), 12
UNITS = (1, 3, 5, 9)
KINDS = {"plain": "none", "residual": "A"}
RATE, MOMENTUM = 0.05, 0.9


def depth(units: int) -> int:
    """Return the number of layers with weights in a network with three stages of `units` units."""
    return 6 * units + 2


def network(units: int, shortcut: str) -> Any:
    """Build the paper's network for CIFAR-10, for smaller images."""
    return keras_cnns.build(
        "resnet-cifar-20", units=(units,) * 3, shortcut=shortcut, input_shape=(SIDE, SIDE, 1), classes=10
    )


def run() -> None:
    """Train plain and residual networks of each depth with each seed, and write the results."""
    data = digits(SIDE)
    numbers = {"seeds": str(len(SEEDS)), "epochs": str(EPOCHS), "deepest": str(depth(UNITS[-1]))}
    found: dict[str, dict[str, list[BySeed]]] = {split: {kind: [] for kind in KINDS} for split in data.splits}
    for units in UNITS:
        for kind, shortcut in KINDS.items():
            errors: dict[str, dict[int, float]] = {split: {} for split in data.splits}
            for seed in SEEDS:
                build, optimizer = partial(network, units, shortcut), keras.optimizers.SGD(RATE, MOMENTUM)
                model = train(build, data, epochs=EPOCHS, optimizer=optimizer, seed=seed)
                for split, of_split in errors.items():
                    of_split[seed] = error(model, data.splits[split])
                keras.backend.clear_session()
            for split, of_split in errors.items():
                found[split][kind].append(of_split)
                numbers[f"{split}_{kind}_{depth(units)}"] = share(of_split)
    training = found["train"]
    least = min(range(len(UNITS)), key=lambda index: sum(training["plain"][index].values()))
    numbers["best_plain"] = str(depth(UNITS[least]))
    numbers |= verdict(training["plain"][least], training["plain"][-1])
    numbers |= verdict(training["residual"][-1], training["plain"][-1], "_kinds")
    report("degradation", numbers, draw(found))


def draw(found: dict[str, dict[str, list[BySeed]]]) -> Any:
    """Draw the errors against depth."""
    figure = make_figure(9, 4)
    panels = figure.subplots(1, 2, sharey=True)
    for panel, split, name in zip(panels, ("train", "validation"), ("training", "validation"), strict=True):
        draw_bands(panel, [depth(units) for units in UNITS], found[split])
        panel.set_title(f"{name} error", loc="left", color=INK)
        panel.set_xticks([depth(units) for units in UNITS])
        panel.set_xlabel("layers", color=INK)
        panel.set_ylim(bottom=0)
        panel.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    return figure
