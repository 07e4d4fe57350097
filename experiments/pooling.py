"""Global average pooling instead of dense layers.

Lin et al. 2014, sections 3.2 and 4.6: dense layers at the end are "prone to overfitting", and global average pooling in
their place is a regulariser without weights; on CIFAR-10 a network with one dense layer has 11.59 % error, with dropout
before it 10.88 %, with global average pooling 10.41 %. VGG's dense layers hold most of its weights.

Measured with a VGG of three stages on scikit-learn's handwritten digits, enlarged to 28x28 pixels.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import keras

import keras_cnns
from experiments.reporting import BySeed, draw_seeds, mean, report, share, verdict
from experiments.training import digits, error, train
from keras_cnns.plotting import COLOURS

SIDE, SEEDS, EPOCHS = 28, range(5), 25
TRUNK: dict[str, Any] = {
    "convolutions": (1, 1, 2),
    "widths": (16, 32, 64),
    "dense_width": 256,
    "input_shape": (SIDE, SIDE, 1),
    "classes": 10,
}
KINDS: dict[str, dict[str, Any]] = {
    "dense": {"classifier": "dense", "dropout": 0.0},
    "dropout": {"classifier": "dense", "dropout": 0.5},
    "average": {"classifier": "global_average", "dropout": 0.0},
}
NAMES = {"dense": "dense layers", "dropout": "dense layers, dropout", "average": "global average pooling"}


def run() -> None:
    """Train each network with each seed, and write the results."""
    data = digits(SIDE)
    numbers = {"seeds": str(len(SEEDS)), "images": str(len(data.splits["validation"]))}
    errors: dict[str, dict[int, float]] = {}
    for kind, settings in KINDS.items():
        errors[kind], training = {}, {}
        for seed in SEEDS:
            build = partial(keras_cnns.build, "vgg-small", **TRUNK, **settings)
            model = train(build, data, epochs=EPOCHS, optimizer=keras.optimizers.Adam(2e-3), seed=seed)
            errors[kind][seed] = error(model, data.splits["validation"])
            training[seed] = error(model, data.splits["train"])
        costs = keras_cnns.count("vgg-small", **TRUNK, **settings)
        numbers |= {f"weights_{kind}": f"{costs.total_parameters:,}", f"error_{kind}": share(errors[kind])}
        numbers[f"training_{kind}"] = f"{mean(training):.1%}"
    whole, trunk = (keras_cnns.count("vgg16", classifier=kind) for kind in ("dense", "global_average"))
    numbers |= {"vgg16": f"{whole.total_parameters:,}", "vgg16_average": f"{trunk.total_parameters:,}"}
    for kind in ("dense", "dropout"):
        numbers |= verdict(errors["average"], errors[kind], f"_{kind}")
    report("pooling", numbers, draw(errors))


def draw(errors: dict[str, BySeed]) -> Any:
    """Draw the errors."""
    named = {NAMES[kind]: found for kind, found in errors.items()}
    return draw_seeds(named, [COLOURS[kind == "average"] for kind in errors], "validation error")
