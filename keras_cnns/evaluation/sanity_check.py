"""Sanity check of heatmaps: with random weights, a heatmap should differ from that of the trained network.

This is the cascading randomisation of Adebayo et al., "Sanity Checks for Saliency Maps", 2018, arXiv 1810.03292. The
weights of the layers are randomised from the output to the input, and at each stage the heatmaps are compared with
those of the trained network by Spearman's rank correlation. A method whose heatmaps stay the same shows edges of the
images and not what the network has learned. Weights are randomised by permuting the values of each array, which
preserves their scale. Heatmaps are compared before their ReLU, so that they are rarely constant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from keras_cnns.evaluation.grad_cam import GradCamModel, compute_signed_heatmaps

STAGES = 4
MAX_CORRELATION = 0.5


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Similarity of the heatmaps after some layers have been randomised.

    Attributes:
        layers: Number of randomised layers, counted from the output.
        layer: Name of the last of them.
        correlation: Spearman's rank correlation with the heatmap of the trained network, mean over images; None if
            all heatmaps are constant.
    """

    layers: int
    layer: str
    correlation: float | None


@dataclass(frozen=True, kw_only=True)
class SanityCheck:
    """The stages of a sanity check, from one randomised layer to all."""

    stages: tuple[Stage, ...]

    @property
    def similarity(self) -> float:
        """The correlation with all weights randomised, -1 if the heatmaps cannot be compared."""
        correlation = self.stages[-1].correlation
        return -1.0 if correlation is None else correlation

    @property
    def warning(self) -> str:
        """A warning if the heatmaps do not depend on the weights, or cannot be compared; otherwise ""."""
        correlation = self.stages[-1].correlation
        if correlation is None:
            return "With all weights randomised, the heatmaps are constant and cannot be compared."
        if correlation <= MAX_CORRELATION:
            return ""
        return (
            f"With all weights randomised, the heatmaps stay similar (rank correlation {correlation:.2f}): they "
            f"reflect the images more than what the network has learned. Do not interpret them as its reasons."
        )


def check_heatmaps(
    model: GradCamModel, images: np.ndarray, classes: np.ndarray, *, method: str, seed: int = 0
) -> SanityCheck:
    """Compare heatmaps with those of randomised weights. The weights of the network are restored afterwards.

    Args:
        model: The network.
        images: Shape (images, height, width, channels), 0 to 255.
        classes: The class to explain for each image, shape (images,).
        method: "grad-cam" or "grad-cam++".
        seed: Seed of the permutations.
    """
    heatmaps = compute_signed_heatmaps(model, images, classes, method=method)
    generator = np.random.default_rng(seed)
    original = [layer.get_weights() for layer in model.layers]
    counts = sorted({1, *(round(len(original) * stage / STAGES) or 1 for stage in range(1, STAGES + 1))})
    stages, randomised = [], 0
    try:
        for count in counts:
            for layer, weights in zip(model.layers[randomised:count], original[randomised:count], strict=True):
                layer.set_weights([generator.permutation(array.ravel()).reshape(array.shape) for array in weights])
            randomised = count
            correlation = mean_correlation(heatmaps, compute_signed_heatmaps(model, images, classes, method=method))
            stages.append(Stage(layers=count, layer=model.layers[count - 1].name, correlation=correlation))
    finally:
        for layer, weights in zip(model.layers, original, strict=True):
            layer.set_weights(weights)
    return SanityCheck(stages=tuple(stages))


def mean_correlation(heatmaps: np.ndarray, others: np.ndarray) -> float | None:
    """Return the mean rank correlation of the two heatmaps of each image, over images where neither is constant."""
    correlations = [
        spearmanr(heatmap.ravel(), other.ravel()).statistic
        for heatmap, other in zip(heatmaps, others, strict=True)
        if np.ptp(heatmap) > 0 and np.ptp(other) > 0
    ]
    return float(np.mean(correlations)) if correlations else None
