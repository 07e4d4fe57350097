"""Two 3x3 convolutions instead of one 5x5, three instead of one 7x7.

Simonyan and Zisserman 2015, section 2.3: a stack of 3x3 convolutions has the receptive field of one large kernel, fewer
weights (27 C^2 against 49 C^2 for C channels), and "makes the decision function more discriminative" by its
non-linearities. They report a shallow network of five 5x5 layers whose top-1 error was 7 % higher than that of the same
network with pairs of 3x3 layers.

Measured on scikit-learn's handwritten digits, enlarged to 28x28 pixels, with two stages of each.
"""

from __future__ import annotations

from functools import partial

import keras

import keras_cnns
from experiments.reporting import draw_seeds, report, share, verdict
from experiments.training import digits, error, train
from keras_cnns.networks.operations import activation, convolution, dense, global_average_pool, pool
from keras_cnns.plotting import COLOURS

SIDE, WIDTH, STAGES = 28, 16, 2
SEEDS, EPOCHS = range(5), 30
KERNELS = {"one 5×5": (5,), "two 3×3": (3, 3), "one 7×7": (7,), "three 3×3": (3, 3, 3)}
PAIRS = {"5": ("one 5×5", "two 3×3"), "7": ("one 7×7", "three 3×3")}


def network(kernels: tuple[int, ...]) -> keras.Model:
    """Two stages of convolutions with ReLU, each followed by max pooling: (28, 28, 1) -> (10,)."""
    images = keras.Input((SIDE, SIDE, 1))
    x = images
    for stage in range(1, STAGES + 1):
        for index, kernel in enumerate(kernels, start=1):
            x = convolution(x, stage * WIDTH, kernel, bias=True, name=f"stage{stage}_conv{index}")
            x = activation(x, "relu", name=f"stage{stage}_relu{index}")
        x = pool(x, "max", 2, 2, name=f"stage{stage}_pool")
    x = dense(global_average_pool(x, name="pool"), 10, name="logits")
    return keras.Model(images, keras.layers.Softmax(name="predictions")(x))


def run() -> None:
    """Train each network with each seed, and write the results."""
    data = digits(SIDE)
    numbers: dict[str, str] = {"seeds": str(len(SEEDS)), "images": str(len(data.splits["validation"]))}
    errors: dict[str, dict[int, float]] = {}
    for number, (name, kernels) in enumerate(KERNELS.items()):
        costs = keras_cnns.profile(network(kernels))
        field = next(layer for layer in reversed(costs.layers) if layer.name.startswith("stage1_conv")).receptive_field
        errors[name] = {}
        for seed in SEEDS:
            build, optimizer = partial(network, kernels), keras.optimizers.Adam(2e-3)
            model = train(build, data, epochs=EPOCHS, optimizer=optimizer, seed=seed)
            errors[name][seed] = error(model, data.splits["validation"])
        numbers |= {
            f"weights{number}": f"{costs.total_parameters:,}",
            f"macs{number}": f"{costs.macs:,}",
            f"field{number}": f"{field[0]}×{field[1]}" if field else "whole image",
            f"error{number}": share(errors[name]),
        }
    for large, (one, several) in PAIRS.items():
        numbers |= verdict(errors[several], errors[one], large)
    colours = [COLOURS[len(kernels) == 1] for kernels in KERNELS.values()]
    report("small_kernels", numbers, draw_seeds(errors, colours, "validation error"))
