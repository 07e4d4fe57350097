"""Inception modules with 1x1 reduction against naive modules.

Szegedy et al. 2015, section 4: even a modest number of 5x5 convolutions is too expensive on many channels, and the
pooling passes all its channels on, so that "the number of outputs increases from stage to stage"; 1x1 convolutions
before the large ones (figure 2b) allow deep and wide networks without that.

Costs are counted for the paper's network. Accuracy is measured on scikit-learn's handwritten digits, enlarged to 56x56
pixels, with four narrow modules of either kind, and with naive modules of equal cost.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import numpy as np

import keras_cnns
from experiments.reporting import BySeed, mean, report, share, verdict
from experiments.training import digits, error, train
from keras_cnns import Counts
from keras_cnns.plotting import COLOURS, INK, make_figure, style_axes

SIDE, SEEDS, EPOCHS = 56, range(5), 15
SMALL: dict[str, Any] = {"modules": (2, 1, 1), "dropout": 0.2, "input_shape": (SIDE, SIDE, 1), "classes": 10}
KINDS: dict[str, dict[str, Any]] = {
    "reduction": {"module": "reduction", "width_multiplier": 0.25},
    "naive": {"module": "naive", "width_multiplier": 0.25},
}
NAMES = {"reduction": "1×1 reduction", "naive": "naive", "cheap": "naive, equal cost"}


def equal_cost() -> dict[str, Any]:
    """Return the settings of the naive network with the cost of the one with 1x1 reduction."""
    wanted = keras_cnns.count("googlenet-bn", **SMALL, **KINDS["reduction"]).macs

    def difference(width: float) -> float:
        return abs(keras_cnns.count("googlenet-bn", **SMALL, module="naive", width_multiplier=width).macs - wanted)

    return {"module": "naive", "width_multiplier": float(min(np.arange(0.05, 0.25, 0.005), key=difference))}


def costs_of(name: str, counts: Counts) -> dict[str, str]:
    """Format the cost of a network."""
    return {f"weights_{name}": f"{counts.total_parameters:,}", f"macs_{name}": f"{counts.macs:,}"}


def run() -> None:
    """Count the paper's network, train the small ones with each seed, and write the results."""
    whole, naive = keras_cnns.count("googlenet"), keras_cnns.count("googlenet", module="naive")
    numbers = {**costs_of("paper", whole), **costs_of("paper_naive", naive)}
    numbers |= {"times_macs": f"{naive.macs / whole.macs:.1f}", "seeds": str(len(SEEDS))}
    numbers["times_weights"] = f"{naive.total_parameters / whole.total_parameters:.1f}"
    data = digits(SIDE)
    numbers["images"] = str(len(data.splits["validation"]))
    errors: dict[str, dict[int, float]] = {}
    costs: dict[str, Counts] = {}
    for name, settings in (KINDS | {"cheap": equal_cost()}).items():
        costs[name] = keras_cnns.count("googlenet-bn", **SMALL, **settings)
        errors[name] = {}
        for seed in SEEDS:
            build = partial(keras_cnns.build, "googlenet-bn", **SMALL, **settings)
            model = train(build, data, epochs=EPOCHS, optimizer=keras.optimizers.Adam(2e-3), seed=seed)
            errors[name][seed] = error(model, data.splits["validation"])
        numbers |= {**costs_of(name, costs[name]), f"error_{name}": share(errors[name])}
    numbers |= verdict(errors["reduction"], errors["cheap"], "_cheap")
    numbers |= verdict(errors["naive"], errors["reduction"], "_naive")
    report("inception", numbers, draw(costs, errors))


def draw(costs: dict[str, Counts], errors: dict[str, BySeed]) -> Any:
    """Draw the error with each seed against the cost of the network."""
    figure = make_figure(8, 4)
    panel = figure.add_subplot()
    for colour, (name, found) in zip(COLOURS, errors.items(), strict=False):
        cost = costs[name].macs / 1e6
        panel.plot([cost] * len(found), [*found.values()], "o", color=colour, alpha=0.45)
        panel.plot(cost, mean(found), "D", color=colour, markersize=8, label=NAMES[name])
    panel.set_xlim(left=0)
    panel.set_ylim(bottom=0)
    panel.set_xlabel("million multiply-accumulates per image", color=INK)
    panel.set_ylabel("validation error", color=INK)
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:.1%}")
    style_axes(panel)
    panel.legend(frameon=False, labelcolor=INK, title="mean and single seeds")
    return figure
