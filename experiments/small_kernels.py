"""Two 3x3 convolutions for one of 5x5, three for one of 7x7.

Simonyan and Zisserman 2015, section 2.3: a stack of 3x3 convolutions sees as far as one large kernel, has fewer weights
(27 C^2 against 49 C^2 for C maps), and "makes the decision function more discriminative" by its non-linearities. They
tell of a shallow network of five 5x5 layers whose top-1 error was 7 % higher than that of the pairs of 3x3 layers.

Tried here on the handwritten digits that come with scikit-learn, enlarged to 28x28 pixels, with two stages of each.
"""

from __future__ import annotations

import keras
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import keras_cnns
from experiments.reporting import report
from keras_cnns.operations import activation, convolution, dense, global_average_pool, pool
from tuning.over_seeds import interval_of_mean, paired_test
from tuning.plots import COLOURS, FAINT, INK

SIDE, WIDTH, STAGES = 28, 16, 2
SEEDS, EPOCHS, BATCH = range(5), 30, 64
KERNELS = {"one 5×5": (5,), "two 3×3": (3, 3), "one 7×7": (7,), "three 3×3": (3, 3, 3)}
PAIRS = {"5": ("one 5×5", "two 3×3"), "7": ("one 7×7", "three 3×3")}


def network(kernels: tuple[int, ...]) -> keras.Model:
    """Two stages of such convolutions, each with a ReLU, with a pooling after each: (28, 28, 1) -> (10,)."""
    images = keras.Input((SIDE, SIDE, 1))
    x = images
    for stage in range(1, STAGES + 1):
        for place, kernel in enumerate(kernels, start=1):
            x = convolution(x, stage * WIDTH, kernel, bias=True, name=f"stage{stage}_conv{place}")
            x = activation(x, "relu", name=f"stage{stage}_relu{place}")
        x = pool(x, "max", 2, 2, name=f"stage{stage}_pool")
    x = dense(global_average_pool(x, name="pool"), 10, name="logits")
    return keras.Model(images, keras.layers.Softmax(name="predictions")(x))


def error_of(kernels: tuple[int, ...], seed: int, data: keras_cnns.Dataset) -> float:
    """Train a network, and return its error on the validation images after the last epoch."""
    keras.utils.set_random_seed(seed)
    model = network(kernels)
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    (training, validation) = (data.splits[name] for name in ("train", "validation"))
    model.fit(scaled(training.images), training.labels, batch_size=BATCH, epochs=EPOCHS, verbose=0)
    return 1 - model.evaluate(scaled(validation.images), validation.labels, verbose=0)[1]


def scaled(images: np.ndarray) -> np.ndarray:
    """Return pixels of 0 to 1."""
    return np.asarray(images, np.float32) / 255


def run() -> None:
    """Train each network with each seed, and report."""
    data = keras_cnns.load("digits", image_size=SIDE)
    numbers: dict[str, str] = {"seeds": str(len(SEEDS)), "images": str(len(data.splits["validation"]))}
    errors: dict[str, dict[int, float]] = {}
    for place, (name, kernels) in enumerate(KERNELS.items()):
        costs = keras_cnns.profile(network(kernels))
        sees = next(layer for layer in reversed(costs.layers) if layer.name.startswith("stage1_conv")).receptive_field
        errors[name] = {seed: error_of(kernels, seed, data) for seed in SEEDS}
        low, high = interval_of_mean([*errors[name].values()])
        mean = float(np.mean([*errors[name].values()]))
        numbers |= {
            f"weights{place}": f"{costs.total_parameters:,}",
            f"macs{place}": f"{costs.macs:,}",
            f"sees{place}": f"{sees[0]}×{sees[1]}" if sees else "all",
            f"error{place}": f"{mean:.1%} ({low:.1%} to {high:.1%})",
        }
    for large, (one, several) in PAIRS.items():
        numbers[f"p{large}"] = f"{paired_test(errors[one], errors[several]) or 1.0:.2g}"
        numbers[f"verdict{large}"] = verdict(errors[one], errors[several])
    report("small_kernels", numbers, draw(errors))


def verdict(one: dict[int, float], several: dict[int, float]) -> str:
    """Say whether the stack of small kernels is better, as far as the seeds can tell."""
    p, gain = paired_test(one, several), float(np.mean([*one.values()]) - np.mean([*several.values()]))
    if p is None or p >= 0.05:
        return "does not show at this scale"
    return "shows at this scale" if gain > 0 else "is the other way round at this scale"


def draw(errors: dict[str, dict[int, float]]) -> Figure:
    """Draw each seed's error, and the means with their intervals."""
    figure = Figure(figsize=(8, 3.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.add_subplot()
    for place, (name, found) in enumerate(errors.items()):
        values = [*found.values()]
        mean, (low, high) = float(np.mean(values)), interval_of_mean(values)
        colour = COLOURS[len(KERNELS[name]) == 1]
        panel.plot(values, [place + 0.18] * len(values), "o", color=colour, alpha=0.45, markersize=5)
        panel.errorbar(mean, place, xerr=[[mean - low], [high - mean]], fmt="D", color=colour, capsize=4)
    panel.set_yticks(range(len(errors)), [*errors])
    panel.set_ylim(len(errors) - 0.5, -0.5)
    panel.set_xlim(left=0)
    panel.set_xlabel("validation error: each seed, and the mean with its 95 % interval", color=INK)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:.1%}")
    panel.grid(color=FAINT, linewidth=0.8, axis="x")
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    return figure
