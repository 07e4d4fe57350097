"""Linear probe, fine-tuning and training from scratch, cross-validated on the same folds.

    python benchmarks/transfer.py WEIGHTS SOURCE... [--model vgg16] [--set classifier=global_average] [--images 400]
        [--ways probe finetune:learning_rate=3e-4,layer_decay=0.9 scratch]

WEIGHTS fit the network, such as the convolutional base of VGG16 in an `.npz` file with the names of Keras. A way is the
name of a recipe, with changes after a colon; "probe" and "finetune" begin with the weights, others with random ones,
and "scratch" is "modern" with a learning rate for deep networks without batch norm. For each source, prints the AUC of
the pooled out-of-fold predictions of each way with its 95 % interval (images of a patient are resampled together), the
range over the folds, the seconds, and the paired differences of the AUC with interval and p (DeLong, or Obuchowski
where patients have several images), pooled and as the mean over the folds with its t-interval. A test split is not
used.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import stats

import keras_cnns
from keras_cnns import Dataset, Recipe
from keras_cnns.comparing.paired_differences import paired_differences
from keras_cnns.data.folds import pool_images
from keras_cnns.evaluation.labelled_predictions import LabelledPredictions
from keras_cnns.evaluation.operating_point import OperatingPoint
from keras_cnns.networks.family import Family
from keras_cnns.networks.registry import find_variant
from keras_cnns.training.presets import NEED_WEIGHTS, get_recipe

SCRATCH = "modern:epochs=25,learning_rate=3e-4,batch_size=32"


@dataclass(frozen=True)
class Way:
    """A way to train: the recipe, and whether it begins with the weights."""

    recipe: Recipe
    pretrained: bool

    @classmethod
    def parse(cls, text: str, family: Family) -> Way:
        """Parse `RECIPE:FIELD=VALUE,...`."""
        name, _, changes = (SCRATCH if text == "scratch" else text).partition(":")
        pretrained = name in NEED_WEIGHTS
        pairs = dict(change.split("=", 1) for change in changes.split(",") if change)
        parsed = {field: Recipe.domain(field).parse(value) for field, value in pairs.items()}
        return cls(get_recipe(name, family, with_weights=pretrained).replace(parsed), pretrained)


@dataclass(frozen=True)
class Outcome:
    """The out-of-fold predictions of a way, the AUC of each fold, and the time that it took."""

    predictions: LabelledPredictions
    low: float
    high: float
    by_fold: np.ndarray
    seconds: float


def load(source: str, images: int | None, side: int) -> Dataset:
    """Load a source, or a random part of its training and validation images with whole patients."""
    dataset = keras_cnns.load(source, image_size=side)
    if images is None:
        return dataset
    pool = pool_images(dataset).training
    patients = np.arange(len(pool)) if pool.patients is None else np.unique(pool.patients, return_inverse=True)[1]
    order = np.random.default_rng(0).permutation(patients.max() + 1)
    rank = np.argsort(order)[patients]
    chosen = np.argsort(rank, kind="stable")[:images]
    return replace(dataset, splits={"train": pool.take(np.sort(chosen))})


def run(way: Way, dataset: Dataset, arguments: argparse.Namespace, settings: dict[str, object]) -> Outcome:
    """Cross-validate a way."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        result = keras_cnns.cross_validate(
            arguments.model, dataset, folds=arguments.folds, settings=settings, recipe=way.recipe,
            weights=arguments.weights if way.pretrained else None, tracking_uri=f"sqlite:///{folder}/mlflow.db",
            folder=folder, progress=arguments.verbose,
        )  # fmt: skip
        seconds = time.perf_counter() - begun
    found = result.evaluation
    (by_fold,) = found.by.values()
    predictions = LabelledPredictions(
        labels=found.labels,
        probabilities=found.probabilities,
        operating_point=OperatingPoint(threshold=0.5, temperature=None, source="none"),
        groups=found.group_of_image,
        seed=0,
        positive_is_known=True,
    )
    interval = found.intervals["auc"]
    return Outcome(
        predictions, interval.low, interval.high,
        np.array([fold.metrics["auc"] for fold in by_fold.values()]), seconds,
    )  # fmt: skip


def print_differences(outcomes: dict[str, Outcome]) -> None:
    """Print the paired differences of the AUC between all ways."""
    for first, second in itertools.combinations(outcomes, 2):
        one, other = outcomes[first], outcomes[second]
        found = paired_differences(one.predictions, other.predictions)["auc"]
        low, high = found.interval or (np.nan, np.nan)
        by_fold = other.by_fold - one.by_fold
        half = stats.t.ppf(0.975, len(by_fold) - 1) * by_fold.std(ddof=1) / np.sqrt(len(by_fold))
        print(
            f"  {second} - {first}: {found.difference:+.3f} [{low:+.3f}, {high:+.3f}], p {found.p:.4f}; "
            f"mean of {len(by_fold)} folds {by_fold.mean():+.3f} [{by_fold.mean() - half:+.3f}, "
            f"{by_fold.mean() + half:+.3f}]"
        )


def main() -> None:
    """Run all ways on all sources."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--model", default="vgg16")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="NAME=VALUE")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--images", type=int)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--ways", nargs="+", default=["probe", "finetune", "scratch"])
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    family, variant = find_variant(arguments.model)
    settings = dict(text.split("=", 1) for text in arguments.settings)
    chosen = {name: variant.settings.domain(name).parse(text) for name, text in settings.items()}
    ways = {text: Way.parse(text, family) for text in arguments.ways}
    for source in arguments.sources:
        dataset = load(source, arguments.images, arguments.image_size)
        images = len(pool_images(dataset).training)
        print(f"{'/'.join(Path(source).parts[-2:])}: {images} images of {arguments.image_size} pixels")
        outcomes = {}
        for name, way in ways.items():
            found = outcomes[name] = run(way, dataset, arguments, chosen)
            folds = f"{found.by_fold.min():.3f} to {found.by_fold.max():.3f}"
            auc = found.predictions.compute().metrics["auc"]
            print(f"  {name}: AUC {auc:.3f} [{found.low:.3f}, {found.high:.3f}], folds {folds}, {found.seconds:.0f} s",
                  flush=True)  # fmt: skip
        print_differences(outcomes)


if __name__ == "__main__":
    main()
