"""Auxiliary classifiers: their effect on the gradients of early layers and on the error.

Szegedy et al. 2015, section 5: GoogLeNet's auxiliary classifiers were thought to "combat the vanishing gradient problem
while providing regularization". Szegedy et al. 2016, section 4: they "did not result in improved convergence early in
the training", and act as a regulariser.

Gradients are measured in the paper's network with initial weights and a quarter of its channels, on scikit-learn's
handwritten digits enlarged to 96x96 pixels, for the same weights and images with and without the auxiliary losses.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import keras_cnns
from experiments.reporting import BySeed, draw_bands, mean, report, share, verdict
from experiments.training import arrays, digits, error, train
from keras_cnns.data import Dataset
from keras_cnns.plotting import INK, make_figure

SIDE, SEEDS, EPOCHS, IMAGES = 96, range(3), 10, 128
SETTINGS: dict[str, Any] = {
    "width_multiplier": 0.25,
    "auxiliary_classifiers": True,
    "auxiliary_pool": "adaptive",
    "input_shape": (SIDE, SIDE, 1),
    "classes": 10,
}
WEIGHTS = {"with": 0.3, "without": 0.0}


def network(weight: float, **settings: object) -> Any:
    """Build GoogLeNet with the given weight of each auxiliary loss."""
    return keras_cnns.build("googlenet", auxiliary_weight=weight, **SETTINGS, **settings)


def gradient_norms(model: Any, data: Dataset) -> dict[str, float]:
    """Return the gradient norm of each 3x3 convolution of the main path, divided by the norm of its weights."""
    images, labels = arrays(data.splits["train"])
    images, labels = images[:IMAGES], labels[:IMAGES]
    model.compile("sgd", "sparse_categorical_crossentropy")
    kernels = {layer.name: layer.kernel for layer in model.layers if layer.name.endswith(("_3x3", "_conv3"))}
    with tf.GradientTape() as tape:
        loss = model.compute_loss(images, labels, model(images, training=True), training=True)
    gradients = tape.gradient(loss, [kernel.value for kernel in kernels.values()])
    return {
        name: float(tf.norm(gradient) / tf.norm(kernel.value))
        for (name, kernel), gradient in zip(kernels.items(), gradients, strict=True)
    }


def run() -> None:
    """Measure gradients, train with each seed, and report."""
    data = digits(SIDE)
    norms: dict[str, dict[str, dict[int, float]]] = {kind: {} for kind in WEIGHTS}
    errors: dict[str, dict[int, float]] = {kind: {} for kind in WEIGHTS}
    for kind, weight in WEIGHTS.items():
        for seed in SEEDS:
            keras.utils.set_random_seed(seed)
            fresh = network(weight, dropout=0.0, auxiliary_dropout=0.0)
            for layer, norm in gradient_norms(fresh, data).items():
                norms[kind].setdefault(layer, {})[seed] = norm
            build, optimizer = partial(network, weight), keras.optimizers.Adam(1e-3)
            model = train(build, data, epochs=EPOCHS, optimizer=optimizer, seed=seed)
            errors[kind][seed] = error(model, data.splits["validation"])
    layers = [*norms["with"]]
    first, last = ({kind: mean(norms[kind][layer]) for kind in WEIGHTS} for layer in (layers[0], layers[-1]))
    numbers = {
        "seeds": str(len(SEEDS)),
        "epochs": str(EPOCHS),
        "first_times": f"{first['with'] / first['without']:.1f}",
        "last_times": f"{last['with'] / last['without']:.1f}",
        "vanishing": f"{last['without'] / first['without']:.1f}",
        **{f"error_{kind}": share(found) for kind, found in errors.items()},
        **verdict(errors["with"], errors["without"]),
    }
    report("auxiliary", numbers, draw(norms, layers))


def draw(norms: dict[str, dict[str, BySeed]], layers: list[str]) -> Any:
    """Draw the gradient norms by depth."""
    figure = make_figure(8, 4.4)
    panel = figure.add_subplot()
    names = {"with": "with auxiliary classifiers", "without": "without"}
    curves = {names[kind]: [found[layer] for layer in layers] for kind, found in norms.items()}
    draw_bands(panel, range(len(layers)), curves)
    panel.set_yscale("log")
    shown = [layer.removesuffix("_3x3").removeprefix("inception").replace("stem_conv3", "stem") for layer in layers]
    panel.set_xticks(np.arange(len(layers)), shown)
    panel.set_xlabel(
        "3×3 convolution of the stem and of each module; auxiliary classifiers follow 4a and 4d", color=INK
    )
    panel.set_ylabel("norm of gradient ÷ norm of weights", color=INK)
    return figure
