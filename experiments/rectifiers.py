"""ReLU against tanh and sigmoid: epochs until a network fits its training images.

Krizhevsky et al. 2012, section 3.1 and figure 1: a network of four convolutional layers with ReLUs reaches 25 %
training error on CIFAR-10 six times faster than one with tanh; "the learning rates for each network were chosen
independently to make training as fast as possible. No regularization of any kind was employed."

Measured in the same way, with LeNet-5 on scikit-learn's handwritten digits, enlarged to 28x28 pixels.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import keras

import keras_cnns
from experiments.reporting import amount, draw_bands, mean, report, verdict
from experiments.training import digits, error, train
from keras_cnns.data import Dataset
from keras_cnns.plotting import INK, make_figure

SIDE = 28
FUNCTIONS = {"relu": "ReLU", "tanh": "tanh", "sigmoid": "sigmoid"}
RATES = (0.01, 0.03, 0.1, 0.3, 1.0)
MOMENTUM, TARGET, MAX_EPOCHS = 0.9, 0.01, 30
CHOOSING_SEEDS, SEEDS = range(100, 102), range(5)


class TrainingError(keras.callbacks.Callback):
    """Measures the training error after each epoch.

    Args:
        data: The dataset.
        to_target: Stop the training when the error has reached the target.
    """

    def __init__(self, data: Dataset, *, to_target: bool) -> None:
        super().__init__()
        self.data = data
        self.to_target = to_target
        self.errors: list[float] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Measure."""
        self.errors.append(error(self.model, self.data.splits["train"]))
        if self.to_target and self.errors[-1] <= TARGET:
            self.model.stop_training = True


def errors_of(function: str, rate: float, seed: int, data: Dataset, *, to_target: bool = False) -> list[float]:
    """Train LeNet-5 with an activation and a learning rate; return the training error after each epoch."""
    build = partial(keras_cnns.build, "lenet5", activation=function, input_shape=(SIDE, SIDE, 1))
    measured = TrainingError(data, to_target=to_target)
    optimizer = keras.optimizers.SGD(rate, MOMENTUM)
    train(build, data, epochs=MAX_EPOCHS, optimizer=optimizer, seed=seed, callbacks=[measured])
    return measured.errors


def epochs_to_target(errors: list[float]) -> float:
    """Return the number of epochs until the error reached the target, or one more than the maximum."""
    return next((epoch for epoch, found in enumerate(errors, start=1) if found <= TARGET), MAX_EPOCHS + 1)


def fastest_rate(function: str, data: Dataset) -> float:
    """Return the learning rate that reaches the target first or, if none does, has the lowest error."""

    def slowness(rate: float) -> tuple[float, float]:
        found = [errors_of(function, rate, seed, data, to_target=True) for seed in CHOOSING_SEEDS]
        return sum(map(epochs_to_target, found)), sum(errors[-1] for errors in found)

    return min(RATES, key=slowness)


def run() -> None:
    """Choose a learning rate for each function, train with other seeds, and write the results."""
    data = digits(SIDE)
    numbers = {"seeds": str(len(SEEDS)), "target": f"{TARGET:.0%}", "most": str(MAX_EPOCHS)}
    epochs: dict[str, dict[int, float]] = {}
    curves = {}
    for function, name in FUNCTIONS.items():
        rate = fastest_rate(function, data)
        errors = {seed: errors_of(function, rate, seed, data) for seed in SEEDS}
        epochs[function] = {seed: epochs_to_target(found) for seed, found in errors.items()}
        curves[name] = [{seed: errors[seed][epoch] for seed in SEEDS} for epoch in range(MAX_EPOCHS)]
        numbers |= {f"rate_{function}": f"{rate:g}", f"epochs_{function}": amount(epochs[function])}
    for function in ("tanh", "sigmoid"):
        numbers[f"times_{function}"] = f"{mean(epochs[function]) / mean(epochs['relu']):.1f}"
        numbers |= verdict(epochs["relu"], epochs[function], f"_{function}")
    report("rectifiers", numbers, draw(curves))


def draw(curves: dict[str, list[dict[int, float]]]) -> Any:
    """Draw the training error by epoch."""
    figure = make_figure(8, 4)
    panel = figure.add_subplot()
    draw_bands(panel, range(1, MAX_EPOCHS + 1), curves)
    panel.axhline(TARGET, color=INK, linewidth=1, linestyle="--")
    panel.set_yscale("log")
    panel.set_ylim(5e-4, 1)
    panel.set_xlim(1, MAX_EPOCHS)
    panel.set_xlabel("epoch", color=INK)
    panel.set_ylabel("training error: mean, lowest to highest seed", color=INK)
    panel.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    return figure
