"""Two 3x3 convolutions for one of 5x5, three for one of 7x7.

Simonyan and Zisserman 2015, section 2.3: a stack of 3x3 convolutions sees as far as one large kernel, has fewer weights
(27 C^2 against 49 C^2 for C maps), and "makes the decision function more discriminative" by its non-linearities. They
tell of a shallow network of five 5x5 layers whose top-1 error was 7 % higher than that of the pairs of 3x3 layers.

Tried here on the handwritten digits that come with scikit-learn, enlarged to 28x28 pixels, with two stages of each.
"""

from __future__ import annotations

from functools import partial

import keras

import keras_cnns
from experiments.reporting import draw_seeds, report, share, verdict
from experiments.training import digits, error, trained
from keras_cnns.networks.operations import activation, convolution, dense, global_average_pool, pool
from keras_cnns.plotting import COLOURS

SIDE, WIDTH, STAGES = 28, 16, 2
SEEDS, EPOCHS = range(5), 30
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


def run() -> None:
    """Train each network with each seed, and report."""
    data = digits(SIDE)
    numbers: dict[str, str] = {"seeds": str(len(SEEDS)), "images": str(len(data.splits["validation"]))}
    errors: dict[str, dict[int, float]] = {}
    for place, (name, kernels) in enumerate(KERNELS.items()):
        costs = keras_cnns.profile(network(kernels))
        sees = next(layer for layer in reversed(costs.layers) if layer.name.startswith("stage1_conv")).receptive_field
        errors[name] = {}
        for seed in SEEDS:
            build, optimizer = partial(network, kernels), keras.optimizers.Adam(2e-3)
            model = trained(build, data, epochs=EPOCHS, optimizer=optimizer, seed=seed)
            errors[name][seed] = error(model, data.splits["validation"])
        numbers |= {
            f"weights{place}": f"{costs.total_parameters:,}",
            f"macs{place}": f"{costs.macs:,}",
            f"sees{place}": f"{sees[0]}×{sees[1]}" if sees else "all",
            f"error{place}": share(errors[name]),
        }
    for large, (one, several) in PAIRS.items():
        numbers |= verdict(errors[several], errors[one], large)
    colours = [COLOURS[len(kernels) == 1] for kernels in KERNELS.values()]
    report("small_kernels", numbers, draw_seeds(errors, colours, "validation error"))
