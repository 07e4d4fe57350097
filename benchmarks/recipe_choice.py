"""Ablation of the recipe "modern", on unchanged images and under simulated domain shifts.

    python benchmarks/recipe_choice.py pneumoniamnist_trainval.npz

Each variant is trained on four fifths of the training and validation images and evaluated on the last fifth, unchanged
and changed in nine ways in which images of other scanners differ: gamma, contrast, sharpness, scale, noise. There is
one training per variant, so differences of a few thousandths are noise.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from keras_cnns import Dataset, Recipe, load
from keras_cnns.evaluation.metrics import compute_scores
from keras_cnns.evaluation.run_network import predict_probabilities
from keras_cnns.networks.registry import network_settings
from keras_cnns.training.fit import fit
from keras_cnns.training.job import Job
from keras_cnns.training.presets import MODERN

NETWORK = "resnet-cifar-20"
VARIANTS: Mapping[str, Recipe] = {
    "modern": MODERN,
    "augmentation none": MODERN.replace({"augmentation": "none"}),
    "augmentation light": MODERN.replace({"augmentation": "light"}),
    "standardization dataset": MODERN.replace({"standardization": "dataset"}),
    "mixup 0.4": MODERN.replace({"mixup": 0.4}),
    "label_smoothing 0, ema 0": MODERN.replace({"label_smoothing": 0.0, "ema": 0.0}),
}

Change = Callable[[Image.Image], Image.Image]


def gamma(exponent: float) -> Change:
    """Return a change of mid-tones."""
    return lambda image: image.point([round(255 * (value / 255) ** exponent) for value in range(256)])


def distance(factor: float) -> Change:
    """Return a change of scale about the centre, edges repeated where there is nothing."""

    def change(image: Image.Image) -> Image.Image:
        width, height = image.size
        small = image.resize((round(width / factor), round(height / factor)), Image.Resampling.BILINEAR)
        pixels = np.pad(np.asarray(small), 8, mode="edge")
        top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
        return Image.fromarray(pixels[top : top + height, left : left + width])

    return change


def noise(image: Image.Image) -> Image.Image:
    """Add grain; the same to the same image."""
    pixels = np.asarray(image)
    grain = np.random.default_rng(int(pixels.sum())).normal(0, 12, pixels.shape)
    return Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8))


def blur(image: Image.Image) -> Image.Image:
    """Halve the resolution."""
    width, height = image.size
    small = image.resize((width * 2 // 3, height * 2 // 3), Image.Resampling.BILINEAR)
    return small.resize((width, height), Image.Resampling.BILINEAR)


CHANGES: Mapping[str, Change] = {
    "brighter mid-tones": gamma(0.6),
    "darker mid-tones": gamma(1.6),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.6),
    "stretched contrast": lambda image: ImageOps.autocontrast(image, cutoff=5),
    "blurred": blur,
    "sharpened": lambda image: ImageEnhance.Sharpness(image).enhance(3),
    "nearer": distance(0.8),
    "farther": distance(1.25),
    "noisy": noise,
}


def changed(images: np.ndarray, change: Change) -> np.ndarray:
    """Return grey images, each changed."""
    return np.stack([np.asarray(change(Image.fromarray(image[..., 0])))[..., np.newaxis] for image in images])


def measure(network: keras.Model, dataset: Dataset) -> list[dict[str, float]]:
    """Return the scores on the validation images as they are, then on each change of them."""
    split = dataset.splits["validation"]
    seen = [split.images, *(changed(split.images, change) for change in CHANGES.values())]
    return [compute_scores(split.labels, predict_probabilities(network, images)) for images in seen]


def main() -> None:
    """Train and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="PneumoniaMNIST as an .npz file")
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), choices=list(VARIANTS), metavar="NAME")
    arguments = parser.parse_args()
    dataset = load(arguments.data, fold=(1, 5))
    print("| | AUC | accuracy | AUC, changed | lowest | accuracy, changed |\n|---|---|---|---|---|---|", flush=True)
    for name in arguments.variants:
        job = Job(model=NETWORK, settings=network_settings(NETWORK, {}), recipe=VARIANTS[name])
        with tempfile.TemporaryDirectory() as folder:
            fitted = fit(job, dataset, Path(folder))
            plain, *others = measure(keras.saving.load_model(fitted.best_model, compile=False), dataset)
        aucs = [score["auc"] for score in others]
        accuracy = statistics.mean(score["accuracy"] for score in others)
        as_they_are = f"{plain['auc']:.4f} | {plain['accuracy']:.3f}"
        print(
            f"| {name} | {as_they_are} | {statistics.mean(aucs):.4f} | {min(aucs):.3f} | {accuracy:.3f} |", flush=True
        )


if __name__ == "__main__":
    main()
