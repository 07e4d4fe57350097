"""The classes of external datasets, and the positive class of an evaluation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from saved_networks import copy_store, save_run, train_network

from keras_cnns import Dataset, Evaluation, evaluate, load, predict
from keras_cnns.cli import main
from keras_cnns.data import Split
from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.class_matching import convert_labels
from keras_cnns.evaluation.metrics import METRICS
from keras_cnns.tracking import Store

pytestmark = pytest.mark.usefixtures("fresh", "quick_evaluations")
NEED_POSITIVE = {metric.name for metric in METRICS if metric.needs_positive}


@dataclass(frozen=True)
class Made:
    """A store with runs on digits below five or not.

    Their classes are called no_tumor and tumor, cat and dog, and dog and cat in the run `reverse`.
    """

    folder: Path
    tumors: Dataset
    pets: Dataset


def swap(data: Dataset) -> Dataset:
    splits = {name: replace(split, labels=1 - split.labels) for name, split in data.splits.items()}
    return replace(data, splits=splits, class_names=data.class_names[::-1])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("classes")
    train = load("digits").splits["train"]
    labels = (train.labels >= 5).astype(np.int64)
    parts = dict(zip(("train", "validation", "test"), np.split(np.arange(900), [500, 700]), strict=True))
    splits = {name: Split(train.images[part], labels[part]) for name, part in parts.items()}
    tumors = Dataset(name="own", source="own", splits=splits, class_names=("no_tumor", "tumor"), positive="tumor")
    pets = replace(tumors, name="pets", class_names=("cat", "dog"), positive=None)
    store = Store(f"sqlite:///{folder}/mlflow.db")
    save_run(store, train_network(tumors, epochs=2), tumors, name="tumors")
    save_run(store, train_network(pets, epochs=2), pets, name="pets")
    save_run(store, train_network(swap(pets), epochs=2, seed=1), swap(pets), name="reverse")
    return Made(folder, tumors, pets)


@pytest.fixture
def fresh(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy_store(made.folder, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rename(data: Dataset, *names: str, swapped: bool = False) -> Dataset:
    """Return an external dataset with the test images and other class names, in the given or the reverse order."""
    renamed = replace(data, name="elsewhere", class_names=names, positive=None, splits={"test": data.splits["test"]})
    return swap(renamed) if swapped else renamed


def note_with(found: Evaluation, text: str) -> str:
    (note,) = (note for note in found.notes if text in note)
    return note


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    "names",
    [
        ("no_tumor", "tumor"),
        ("NO_TUMOR", "Tumor "),
        pytest.param(("no_tumor", "\uff54umor"), marks=pytest.mark.exhaustive),
    ],
)
def test_classes_are_matched_by_name_whatever_the_spelling_and_order(
    names: tuple[str, str], swapped: bool, made: Made
) -> None:
    expected = evaluate("tumors", made.tumors)
    found = evaluate("tumors", rename(made.tumors, *names, swapped=swapped))
    assert (found.metrics, found.positive) == (expected.metrics, "tumor")
    assert found.class_map == dict(zip(names, ("no_tumor", "tumor"), strict=True))
    assert any("in spite of their spelling" in note for note in found.notes) == (names[1] != "tumor")


@pytest.mark.parametrize(
    ("names", "class_map", "parts"),
    [
        (("healthy", "Tumor"), None, ["healthy, Tumor", "no_tumor, tumor", "--class-map healthy=NAME"]),
        (("healthy", "ill"), None, ["healthy, ill", "--class-map healthy=NAME,ill=NAME"]),
        (("0", "1"), None, ["0, 1", "no_tumor, tumor", "--class-map"]),
        (("no tumor", "tumor"), None, ["no tumor, tumor", "no_tumor, tumor"]),
        (("healthy", "ill"), {"ill": "tumor"}, ["healthy cannot be matched", "--class-map healthy=NAME"]),
        (("healthy", "ill"), {"sick": "tumor"}, ["sick=tumor: elsewhere has no class 'sick'", "healthy, ill"]),
        (("healthy", "ill"), {"ill": "cancer"}, ["ill=cancer: run", "has no class 'cancer'"]),
        (("healthy", "ill"), {"ill": "tumor", "ILL": "no_tumor"}, ["'ill' is mapped twice"]),
    ],
)
def test_classes_that_do_not_match_are_refused_and_not_counted(
    names: tuple[str, str], class_map: dict[str, str] | None, parts: list[str], made: Made
) -> None:
    with pytest.raises(EvaluationError) as raised:
        evaluate("tumors", rename(made.tumors, *names), class_map=class_map)
    message = str(raised.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    store = Store()
    run = store.run("tumors")
    assert store.count_test_set_evaluation(run.id, made.tumors.splits["test"].fingerprint).by_run == 1


def test_the_dataset_of_the_run_is_recognised_whichever_class_was_chosen_as_positive(made: Made) -> None:
    other = replace(swap(made.tumors), positive="no_tumor")
    found = evaluate("tumors", other)
    assert (found.external, found.positive) == (False, "tumor")
    assert found.metrics == evaluate("tumors", made.tumors).metrics
    run = Store().run("tumors")
    assert Store().count_test_set_evaluation(run.id, made.tumors.splits["test"].fingerprint).by_run == 3
    with pytest.raises(EvaluationError, match="was trained on these images"):
        evaluate("tumors", other, split="all")


def test_a_class_map_says_which_class_is_which(made: Made) -> None:
    expected = evaluate("tumors", made.tumors)
    external = rename(made.tumors, "healthy", "Tumor", swapped=True)
    found = evaluate("tumors", external, class_map={"healthy": "no_tumor"}, report="result.html")
    assert (found.metrics, found.images_by_class) == (expected.metrics, expected.images_by_class)
    assert found.class_map == {"Tumor": "tumor", "healthy": "no_tumor"}
    assert "healthy = no_tumor" in note_with(found, "by the class map")
    assert "Tumor = tumor, healthy = no_tumor" in Path("result.html").read_text("utf-8")


def test_several_classes_can_be_mapped_to_one_and_classes_can_be_missing(made: Made) -> None:
    test = made.tumors.splits["test"]
    thirds = Split(test.images, np.where(test.labels == 1, 1 + np.arange(len(test)) % 2, 0))
    external = replace(rename(made.tumors, "no_tumor", "glioma", "meningioma"), splits={"test": thirds})
    found = evaluate("tumors", external, class_map={"glioma": "tumor", "meningioma": "tumor"})
    assert found.metrics == evaluate("tumors", made.tumors).metrics
    ill = Split(test.images[test.labels == 1], np.zeros((test.labels == 1).sum(), np.int64))
    found = evaluate("tumors", replace(rename(made.tumors, "tumor"), splits={"test": ill}))
    assert found.images_by_class == {"no_tumor": 0, "tumor": len(ill)}
    assert "Classes without images: no_tumor." in found.notes


@pytest.mark.parametrize(
    ("labels", "matched", "targets", "expected"),
    [
        ([0, 1, 2], {"a": "y", "b": "x", "c": "y"}, ("x", "y"), [1, 0, 1]),
        ([[1, 0, 0], [0, 1, 1]], {"a": "y", "b": "x", "c": "y"}, ("x", "y"), [[0, 1], [1, 1]]),
    ],
)
def test_labels_are_converted_to_the_classes_of_the_network(
    labels: Sequence[object], matched: dict[str, str], targets: tuple[str, ...], expected: Sequence[object]
) -> None:
    assert convert_labels(np.array(labels), matched, targets).tolist() == expected


def test_a_label_that_the_images_lack_is_refused_for_a_multi_label_network(made: Made) -> None:
    def with_labels(names: tuple[str, ...]) -> Dataset:
        splits = {
            name: Split(split.images, np.eye(2, dtype=np.int64)[split.labels][:, : len(names)])
            for name, split in made.tumors.splits.items()
        }
        return Dataset(name="labels", source="labels", splits=splits, class_names=names)

    both = with_labels(("low", "high"))
    save_run(Store(), train_network(both, activation="sigmoid"), both, name="multi")
    found = evaluate("multi", both)
    assert found.positive is None
    assert found.metrics.keys() >= NEED_POSITIVE, "each label is positive or negative"
    with pytest.raises(EvaluationError, match="the labels high are missing"):
        evaluate("multi", with_labels(("low",)))
    with pytest.raises(EvaluationError, match="is multi-label, and only one of two classes can be positive"):
        evaluate("multi", both, positive="low")


def test_metrics_of_the_positive_class_are_left_out_if_it_is_unknown(made: Made) -> None:
    found = evaluate("pets", made.pets, report="result.html")
    expected = evaluate("tumors", made.tumors).metrics
    assert found.positive is None
    assert found.metrics == {name: value for name, value in expected.items() if name not in NEED_POSITIVE}
    assert not NEED_POSITIVE & found.intervals.keys()
    assert found.overall.positives is None
    note = note_with(found, "Positive class: ")
    for part in ("cat", "dog", "sensitivity, specificity", "--positive", "positive=NAME"):
        assert part in note
    assert not any("Not defined" in note for note in found.notes)
    assert "test_sensitivity" not in Store().run("pets").metrics
    assert "unknown" in Path("result.html").read_text("utf-8")


def test_a_chosen_positive_class_can_be_either_class_of_the_run(made: Made) -> None:
    dog, cat = (evaluate("pets", made.pets, positive=name) for name in ("dog", "CAT"))
    assert (dog.positive, dog.class_names) == ("dog", ("cat", "dog"))
    assert (cat.positive, cat.class_names) == ("cat", ("dog", "cat"))
    assert cat.metrics["sensitivity"] == pytest.approx(dog.metrics["specificity"])
    assert cat.metrics["specificity"] == pytest.approx(dog.metrics["sensitivity"])
    for name in ("accuracy", "balanced_accuracy", "auc", "mcc", "brier", "ece"):
        assert cat.metrics[name] == pytest.approx(dog.metrics[name]), name
    assert cat.images_by_class == dog.images_by_class
    assert cat.operating_point.threshold == pytest.approx(1 - dog.operating_point.threshold)
    np.testing.assert_array_equal(cat.predicted, 1 - dog.predicted)
    assert "first class of the run" in note_with(cat, "Positive class: ")
    assert not any("Positive class" in note for note in dog.notes)
    assert Store().run("pets").tags["test_positive"] == "cat"


def test_another_choice_than_that_of_the_run_is_noted(made: Made) -> None:
    found = evaluate("tumors", made.tumors, positive="no_tumor")
    assert found.positive == "no_tumor"
    assert "trained with tumor" in note_with(found, "as chosen")
    elsewhere = replace(rename(made.tumors, "tumor", "no_tumor"), positive="no_tumor")
    found = evaluate("tumors", elsewhere)
    assert found.positive == "tumor"
    assert "in the dataset no_tumor counts as positive" in note_with(found, "Positive class: ")


def test_the_positive_class_of_the_images_counts_if_the_run_has_none(made: Made) -> None:
    external = replace(rename(made.pets, "healthy", "ill"), positive="ill")
    found = evaluate("pets", external, class_map={"healthy": "dog", "ill": "cat"})
    assert found.positive == "cat"


def test_an_ensemble_has_one_positive_class(made: Made) -> None:
    assert evaluate(["pets", "reverse"], made.pets).positive is None
    opposite = replace(made.tumors, positive="no_tumor")
    save_run(Store(), train_network(opposite, seed=4), opposite, name="opposite")
    with pytest.raises(EvaluationError, match="different positive classes, no_tumor and tumor; choose one"):
        evaluate(["tumors", "opposite"], made.tumors)
    assert evaluate(["tumors", "opposite"], made.tumors, positive="tumor").positive == "tumor"


def test_an_ensemble_predicts_the_same_whatever_the_order_of_the_runs_and_of_their_classes(made: Made) -> None:
    for index, image in enumerate(made.pets.splits["test"].images[:20]):
        Image.fromarray(image[..., 0]).save(f"{index}.png")
    files = [f"{index}.png" for index in range(20)]
    forward, backward = (predict(order, files) for order in (("pets", "reverse"), ("reverse", "pets")))
    assert forward.predicted_names == backward.predicted_names


def test_the_command_line_takes_a_class_map_and_a_positive_class(made: Made, capfd: pytest.CaptureFixture[str]) -> None:
    test = made.pets.splits["test"]
    for index, (pixels, label) in enumerate(zip(test.images, test.labels, strict=True)):
        folder = Path("photos", "test" if index % 3 else "train", ("minou", "Dog")[label])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[..., 0]).save(folder / f"{index}.png")
    command = ("evaluate", "pets", "--data", "photos", "--split", "all")
    assert main(command) == 2
    err = capfd.readouterr().err
    assert "Dog, minou" in err
    assert "cat, dog" in err
    assert "--class-map minou=NAME" in err
    assert main((*command, "--class-map", "minou=cat", "--positive", "cat", "--json")) == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["positive"], found["class_map"]) == ("cat", {"Dog": "dog", "minou": "cat"})
    assert found["images"] == {"dog": int(test.labels.sum()), "cat": int((1 - test.labels).sum())}
    assert main((*command, "--class-map", "minou=cat,Dog=dog", "--positive", "cat")) == 0
    out = capfd.readouterr().out
    assert "sensitivity (cat)" in out
    assert main((*command, "--class-map", "minou=cat")) == 0
    out = capfd.readouterr().out
    assert "sensitivity (" not in out
    assert "choose one with --positive" in out
