"""Whether a map shows what a network has learned: with random weights it should be another one.

The cascading randomisation of Adebayo et al., "Sanity Checks for Saliency Maps", 2018, arXiv 1810.03292: the weights of
the layers are made random from the output down, and each time the maps are compared with those of the trained network
by Spearman's rank correlation. A method whose maps stay the same shows the edges of the images, not the network. A
layer's weights are made random by putting each array's values in another order, so that their scale stays. Maps are
compared before what speaks against the class is cut off, so that there is something to compare in every image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_cnns.evaluation.class_maps import Seeing, signed_maps

STAGES = 4
TOO_ALIKE = 0.5


@dataclass(frozen=True, kw_only=True)
class Stage:
    """How alike maps are once some layers have random weights.

    Attributes:
        layers: How many layers, counted from the output, have random weights.
        layer: The last of them.
        correlation: Spearman's rank correlation with the trained network's map, the mean over images; None where all
            maps are the same everywhere.
    """

    layers: int
    layer: str
    correlation: float | None


@dataclass(frozen=True, kw_only=True)
class Check:
    """What became of the maps.

    Attributes:
        stages: From one layer with random weights to all.
        all_layers: How many layers have weights.
    """

    stages: tuple[Stage, ...]
    all_layers: int

    @property
    def warning(self) -> str:
        """What has to be said where the maps of random weights are like those of the trained network; else ""."""
        last = self.stages[-1].correlation
        if last is None:
            return "With all weights random there are no maps left to compare."
        if last <= TOO_ALIKE:
            return ""
        return (
            f"With all weights random the maps stay much the same (rank correlation {last:.2f}): they show the images "
            f"more than what the network has learned. Do not read them as its reasons."
        )


def check_maps(seeing: Seeing, images: np.ndarray, classes: np.ndarray, *, method: str, seed: int = 0) -> Check:
    """Compare maps with those of random weights. The network has its own weights again afterwards.

    Args:
        seeing: The network.
        images: The images.
        classes: The class that each is explained for.
        method: How they were made.
        seed: Draws the order of the weights.
    """
    maps = signed_maps(seeing, images, classes, method=method)
    generator = np.random.default_rng(seed)
    kept = [layer.get_weights() for layer in seeing.layers]
    counts = sorted({1, *(round(len(kept) * part / STAGES) or 1 for part in range(1, STAGES + 1))})
    stages, done = [], 0
    try:
        for count in counts:
            for place in range(done, count):
                seeing.layers[place].set_weights([shuffled(values, generator) for values in kept[place]])
            done = count
            found = signed_maps(seeing, images, classes, method=method)
            stages.append(Stage(layers=count, layer=seeing.layers[count - 1].name, correlation=likeness(maps, found)))
    finally:
        for layer, weights in zip(seeing.layers, kept, strict=True):
            layer.set_weights(weights)
    return Check(stages=tuple(stages), all_layers=len(kept))


def shuffled(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return an array with the same values in a random order."""
    return generator.permutation(values.ravel()).reshape(values.shape)


def likeness(maps: np.ndarray, others: np.ndarray) -> float | None:
    """Return the mean rank correlation of two maps of each image, over the images where both have any."""
    from scipy.stats import spearmanr  # noqa: PLC0415 - slow to import

    pairs = [
        (one.ravel(), other.ravel())
        for one, other in zip(maps, others, strict=True)
        if np.ptp(one) > 0 and np.ptp(other) > 0
    ]
    return float(np.mean([spearmanr(*pair).statistic for pair in pairs])) if pairs else None
