"""Prediction sets, abstention and out-of-distribution warnings of a network that is trained on real images.

    python benchmarks/knowing_when_not_to_answer.py lesions/table.csv --other chest/table.csv --other breastmnist.npz

The patients are divided into training (half), validation and test images. The network is trained once. Then the
patients of validation and test are divided again many times, so that the coverage is known beyond the chance of one
division. The other images are evaluated for how many of them are out of distribution.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

from keras_cnns import Dataset, load
from keras_cnns.data.dataset import Split, concatenate
from keras_cnns.data.partition import assign_folds
from keras_cnns.evaluation.answer_results import compute_answers
from keras_cnns.evaluation.answering import AnswerChoice, calibrate
from keras_cnns.evaluation.compatibility import separate_unknown
from keras_cnns.evaluation.conformal import conformal_quantile, true_class_scores
from keras_cnns.evaluation.out_of_distribution import Detector
from keras_cnns.evaluation.run_network import RunNetwork, load_run_network
from keras_cnns.networks.registry import find_variant
from keras_cnns.tracking import Store
from keras_cnns.training.presets import get_recipe
from keras_cnns.training.run import train

REPEATS = 200
MAX_OTHER = 500
CHOICES = (
    AnswerChoice(confidence_level=0.9),
    AnswerChoice(confidence_level=0.8),
    AnswerChoice(coverage=0.8),
    AnswerChoice(coverage=0.5),
)


def divide(dataset: Dataset) -> Dataset:
    """Return a dataset with half of the patients for training, and a quarter each for validation and test."""
    pool = concatenate(list(dataset.splits.values()))
    groups = np.unique(patients_of(pool), return_inverse=True)[1]
    quarter = assign_folds(pool.labels, groups, 4, 0)
    parts = {"train": quarter < 2, "validation": quarter == 2, "test": quarter == 3}
    return replace(dataset, splits={name: pool.take(np.flatnonzero(part)) for name, part in parts.items()})


def patients_of(split: Split) -> np.ndarray:
    """Return the patient of each image; without patients, the number of the image."""
    patients = separate_unknown(split.patients)
    return np.arange(len(split)).astype(str) if patients is None else patients.astype(str)


def divide_again(network: RunNetwork, dataset: Dataset) -> None:
    """Print what is answered, and how well, over many divisions of the validation and test patients."""
    pool = concatenate([dataset.splits["validation"], dataset.splits["test"]])
    probabilities, patients = network.predict(pool.images).probabilities, patients_of(pool)
    generator, names = np.random.default_rng(0), np.unique(patients)
    print("\nmean over divisions (standard deviation)")
    print(f"{'':24}{'in set by image':>18}{'by patient':>18}{'set size':>18}{'answered':>18}{'accuracy':>18}"
          f"{'when answered':>18}")  # fmt: skip
    for choice in CHOICES:
        rows, by_class = [], []
        for _ in range(REPEATS):
            known = np.isin(patients, generator.permutation(names)[: len(names) // 2])
            rule = calibrate(choice, pool.labels[known], probabilities[known], None, patients[known])
            found = compute_answers(
                rule, pool.labels[~known], probabilities[~known], dataset.class_names, patients=patients[~known]
            )
            overall = found.overall
            shares = (overall.in_set, overall.answered, overall.accuracy, overall.accuracy_answered)
            in_set, answered, accuracy, right = (np.nan if share is None else share.value for share in shares)
            of_patients, size = found.in_set_by_patient or np.nan, overall.set_size or np.nan
            rows.append((in_set, of_patients, size, answered, accuracy, right))
            by_class.append([
                found.by_class[name].in_set.value if found.sets is not None and name in found.by_class else np.nan
                for name in dataset.class_names
            ])  # fmt: skip
        spread = zip(np.mean(rows, axis=0), np.std(rows, axis=0), strict=True)
        cells = ["" if np.isnan(mean) else f"{mean:.3f} ({deviation:.3f})" for mean, deviation in spread]
        name = ", ".join(f"{key} {value:g}" for key, value in vars(choice).items() if value is not None)
        widths = (18, 18, 18, 18, 18, 18)
        print(f"{name:24}{''.join(f'{cell:>{width}}' for cell, width in zip(cells, widths, strict=True))}")
        if choice.confidence_level is not None:
            listed = zip(dataset.class_names, np.nanmean(by_class, axis=0), strict=True)
            print("    in set by class: " + ", ".join(f"{name} {value:.3f}" for name, value in listed))


def compare_with_one_quantile(network: RunNetwork, dataset: Dataset) -> None:
    """Print in how many sets of each class the true class is, if all classes have the same quantile."""
    pool = concatenate([dataset.splits["validation"], dataset.splits["test"]])
    patients, generator = patients_of(pool), np.random.default_rng(0)
    scores, names = true_class_scores(pool.labels, network.predict(pool.images).probabilities), np.unique(patients)
    rows = []
    for _ in range(REPEATS):
        known = np.isin(patients, generator.permutation(names)[: len(names) // 2])
        in_set = scores[~known] <= conformal_quantile(scores[known], 0.9, patients[known])
        labels = pool.labels[~known]
        of_classes = [in_set[labels == label] for label in range(dataset.classes)]
        rows.append([in_set.mean(), *(part.mean() if len(part) else np.nan for part in of_classes)])
    listed = zip(("all", *dataset.class_names), np.nanmean(rows, axis=0), strict=True)
    shares = ", ".join(f"{name} {mean:.3f}" for name, mean in listed)
    print(f"one quantile for all classes, confidence_level 0.9: {shares}")


def detect(network: RunNetwork, detector: Detector, name: str, images: np.ndarray) -> None:
    """Print how many images are out of distribution."""
    unusual = network.predict(images).unusual
    assert unusual is not None  # noqa: S101 - there is a detector
    print(f"{name:40}{len(images):8,}{unusual.mean():10.1%}{detector.false_alarm_rate:10.1%}")


def main() -> None:
    """Train, and print all results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--model", default="resnet-cifar-20")
    parser.add_argument("--recipe", default="modern")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--image-size", type=int, default=48)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--run", help="a run of this benchmark in mlflow.db, instead of training")
    parser.add_argument("--other", action="append", default=[], help="images of another kind")
    options = parser.parse_args()
    size = {"image_size": options.image_size, "channels": options.channels, "leaks": "allow"}
    dataset = divide(load(options.data, **size))
    run_id = options.run
    if run_id is None:
        recipe = get_recipe(options.recipe, find_variant(options.model)[0]).replace({"epochs": options.epochs})
        run_id = train(options.model, dataset, recipe=recipe, experiment="answering").run_id
    store = Store()
    network = load_run_network(store, store.run(run_id))
    print(f"run {network.run.id}: {dataset.describe()}")
    divide_again(network, dataset)
    compare_with_one_quantile(network, dataset)
    if network.detector is None:
        return
    measured, test = network.detector.measured, dataset.splits["test"].images
    print(f"\nfalse alarms on validation images: {measured.value:.1%} ({measured.low:.1%} to {measured.high:.1%})")
    print(f"{'':40}{'images':>8}{'unusual':>10}{'expected':>10}")
    detect(network, network.detector, "test", test)
    detect(network, network.detector, "test, inverted", 255 - test)
    detect(network, network.detector, "test, half as bright", test // 2)
    detect(network, network.detector, "noise", np.random.default_rng(0).integers(0, 256, test.shape, np.uint8))
    for source in options.other:
        other = load(source, **size)
        images = concatenate(list(other.splits.values())).images
        chosen = np.sort(np.random.default_rng(0).permutation(len(images))[:MAX_OTHER])
        detect(network, network.detector, other.name, images[chosen])


if __name__ == "__main__":
    main()
