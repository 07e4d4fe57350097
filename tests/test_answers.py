"""Prediction sets, abstention, unusual images and copies of training images, in evaluations and predictions of runs."""

from __future__ import annotations

import csv
import io
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
from keras_cnns.evaluation.record import to_record
from keras_cnns.evaluation.reference_files import read_arrays
from keras_cnns.evaluation.report.page import write_report
from keras_cnns.tracking import Store
from keras_cnns.tracking.runs import TRAIN_AND_VALIDATION, TRAINED_ON
from keras_cnns.training.reference import log_training_images
from tests.progress_lines import without_progress

pytestmark = pytest.mark.usefixtures("fresh", "quick_evaluations")


@dataclass(frozen=True)
class Made:
    """A store with two runs on digits of three classes, a refit, and a multi-label run.

    Each image has a patient with one other image.

    Attributes:
        folder: The folder of the store.
        data: The images.
        with_sets: The evaluation of the first run with prediction sets at a confidence level of 0.9.
        at_coverage: Its evaluation at a coverage of 0.6.
    """

    folder: Path
    data: Dataset
    with_sets: Evaluation
    at_coverage: Evaluation


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("answers")
    train = load("digits", image_size=16).splits["train"]
    labels = np.minimum(train.labels // 3, 2)
    parts = dict(zip(("train", "validation", "test"), np.split(np.arange(1200), [500, 860]), strict=True))
    splits = {name: describe(train.images[part], labels[part], name) for name, part in parts.items()}
    data = Dataset(name="own", source="own", splits=splits, class_names=("low", "middle", "high"))
    store = Store(f"sqlite:///{folder}/mlflow.db")
    for seed, name in enumerate(("first", "second")):
        save_run(store, train_network(data, epochs=10, seed=seed), data, name=name)
    refit = save_run(store, train_network(data), data, name="refit")
    store.log(refit, tags={TRAINED_ON: TRAIN_AND_VALIDATION, "refit_of": "the-trial"})
    several = {name: replace(split, labels=np.eye(3, dtype=np.int64)[split.labels]) for name, split in splits.items()}
    labelled = replace(data, splits=several)
    save_run(store, train_network(labelled, activation="sigmoid"), labelled, name="labels")
    with_sets = evaluate("first", data, confidence_level=0.9, by="sex", tracking_uri=store.uri)
    return Made(folder, data, with_sets, evaluate("first", data, coverage=0.6, tracking_uri=store.uri))


def describe(images: np.ndarray, labels: np.ndarray, name: str) -> Split:
    order = np.argsort(labels, kind="stable")
    numbers = np.arange(len(labels)) // 2
    return Split(
        images[order], labels[order], patients=np.array([f"{name}{number}" for number in numbers]),
        columns={"sex": np.where(numbers % 2, "f", "m")},
    )  # fmt: skip


@pytest.fixture
def fresh(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy_store(made.folder, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save_images(images: Sequence[np.ndarray], folder: str = "images") -> None:
    Path(folder).mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(Path(folder, f"{number:03d}.png"))


def test_prediction_sets_cover_the_test_images_and_are_stored_with_the_evaluation(made: Made) -> None:
    found = made.with_sets
    answers = found.answers
    assert answers is not None
    assert answers.sets is not None
    assert (answers.rule.images, answers.rule.patients) == (360, 180)
    in_set = answers.overall.in_set
    assert in_set is not None
    assert in_set.low < 0.95, "sampling errors of test and validation images"
    assert in_set.high > 0.88
    accuracy, of_answers = answers.overall.accuracy, answers.overall.accuracy_answered
    assert accuracy is not None
    assert of_answers is not None
    assert of_answers.value > accuracy.value
    assert list(answers.by_class) == ["low", "middle", "high"]
    assert list(answers.by["sex"]) == ["f", "m"]
    assert any("calibrated on 360 validation images of 180 patients" in note for note in found.notes)

    write_report(found, Path("report.html"))
    record = json.loads(json.dumps(to_record(found)))
    assert record["answers"]["overall"]["in_set"]["value"] == in_set.value
    assert record["answers"]["confidence_level"] == 0.9
    assert record["risk_coverage"]["coverage"][-1] == 1
    assert record["risk_coverage"]["risk"][-1] == pytest.approx(1 - found.metrics["accuracy"])
    cases = found.cases
    sets = cases["prediction_set"].str.split(";")
    assert np.mean([true in names for true, names in zip(cases["true_class"], sets, strict=True)]) == in_set.value
    assert cases["answered"].tolist() == answers.answered.tolist()
    assert (sets[cases["answered"]].str.len() == 1).all()
    text = Path("report.html").read_text("utf-8")
    assert all(part in text for part in ("class in set", "sex f"))


def test_abstention_at_a_coverage_answers_this_fraction(made: Made) -> None:
    found = made.at_coverage
    assert found.answers is not None
    overall = found.answers.overall
    assert overall.answered is not None
    assert overall.accuracy is not None
    assert overall.accuracy_answered is not None
    assert overall.answered.low < 0.6 < overall.answered.high
    assert overall.accuracy_answered.value > overall.accuracy.value
    assert overall.in_set is None
    assert made.with_sets.metrics == found.metrics, "abstention changes nothing else"
    stored = json.loads(Store().read_file(found.run_id, "evaluation/test/evaluation.json") or "")
    assert stored["answers"]["overall"]["answered"]["value"] == overall.answered.value


def test_predict_prints_sets_and_abstains_as_in_the_evaluation(made: Made, capfd: pytest.CaptureFixture[str]) -> None:
    save_images(made.data.splits["test"].images[::10])
    for options, evaluation in (
        (("--confidence-level", "0.9"), made.with_sets), (("--coverage", "0.6"), made.at_coverage), ((), None),
    ):  # fmt: skip
        assert main(("predict", "first", "images", *options)) == 0
        out, err = capfd.readouterr()
        rows = list(csv.DictReader(io.StringIO(out)))
        columns = {"--confidence-level": ["prediction set", "abstained"], "--coverage": ["abstained"]}
        assert list(rows[0])[5:] == [*columns.get("".join(options[:1]), []), "out of distribution"]
        expected = evaluation and evaluation.answers
        if expected is None:
            continue
        abstained = [row["abstained"] == "true" for row in rows]
        assert abstained == (~expected.answered[::10]).tolist()
        assert f"{sum(abstained)} of 34 images are not answered" in err
        if expected.sets is not None:
            names = made.data.class_names
            for row, members in zip(rows, expected.sets[::10], strict=True):
                assert row["prediction set"] == ";".join(np.array(names)[members])
    assert main(("predict", "first", "images/000.png", "--json", "--confidence-level", "0.9")) == 0
    (found,) = json.loads(capfd.readouterr().out)
    assert set(found["prediction_set"]) <= {"low", "middle", "high"}
    assert isinstance(found["abstained"], bool)


def test_images_unlike_the_training_images_cause_one_line_of_warning_and_are_not_answered(
    made: Made, capfd: pytest.CaptureFixture[str]
) -> None:
    strange = 255 - made.data.splits["test"].images[:30]
    save_images([*made.data.splits["test"].images[:30], *strange[:3]])
    assert main(("predict", "first", "images", "--coverage", "1")) == 0
    out, err = capfd.readouterr()
    rows = list(csv.DictReader(io.StringIO(out)))
    unusual = [row["out of distribution"] == "true" for row in rows]
    assert all(unusual[30:])
    assert sum(unusual[:30]) <= 3
    assert [row["abstained"] for row in rows] == [str(value).lower() for value in unusual]
    warning, *_ = without_progress(err).splitlines()
    assert warning.startswith(f"warning: {sum(unusual)} of 33 images are out of distribution")
    metrics = Store().run("first").metrics
    assert metrics["false_alarm_rate_low"] <= metrics["false_alarm_rate"] <= metrics["false_alarm_rate_high"] < 0.1
    assert f"{metrics['false_alarm_rate']:.1%}" in warning

    external = {"test": Split(strange, np.arange(30) % 3)}
    found = evaluate("first", replace(made.data, name="elsewhere", splits=external))
    assert found.unusual is not None
    assert found.unusual.share.value > 0.9
    assert any("unlike the training images" in note for note in found.notes[:2])
    assert Store().run("first").metrics["external_test_out_of_distribution"] == found.unusual.share.value
    own = made.with_sets
    assert own.unusual is not None
    assert own.unusual.share.low <= 0.02
    assert not any("unlike the training images" in note for note in own.notes)


def test_copies_of_training_images_are_the_first_note(made: Made) -> None:
    train, test = made.data.splits["train"], made.data.splits["test"]
    images = np.concatenate([test.images[:200:5], train.images[:4, :, ::-1], train.images[4:6]])
    labels = np.concatenate([test.labels[:200:5], train.labels[:6]])
    other = replace(made.data, name="elsewhere", splits={"test": Split(images, labels)})
    found = evaluate("first", other)
    assert found.copies is not None
    assert {40, 41, 42, 43, 44, 45} <= set(found.copies.indices.tolist())
    assert len(found.copies.indices) <= 12
    assert found.notes[0].startswith(f"{len(found.copies.indices)} of 46 images are copies of training images")
    assert "test[4" in found.notes[0]


def test_an_ensemble_averages_the_validation_predictions(made: Made) -> None:
    save_images(made.data.splits["test"].images[:20])
    found = predict(["first", "second"], ["images"], confidence_level=0.9)
    evaluated = evaluate(["first", "second"], made.data, confidence_level=0.9).answers
    assert found.sets is not None
    assert evaluated is not None
    assert evaluated.sets is not None
    np.testing.assert_array_equal(found.sets, evaluated.sets[:20])
    assert found.unusual is not None


def test_what_cannot_be_calibrated_is_refused_in_one_line(made: Made) -> None:
    save_images(made.data.splits["test"].images[:1])
    for run, options, words in (
        ("labels", {"confidence_level": 0.9}, "is multi-label"),
        ("labels", {"coverage": 0.9}, "is multi-label"),
        ("refit", {"confidence_level": 0.9}, "use run the-trial"),
        ("first", {"confidence_level": 0.9, "coverage": 0.9}, "exclude each other"),
        ("first", {"confidence_level": 0.9, "tta": 2}, "leave out --tta"),
    ):
        with pytest.raises(EvaluationError, match=words) as error:
            predict(run, ["images"], **options)  # type: ignore[arg-type]
        assert "\n" not in str(error.value)
    other = replace(made.data, splits={"test": made.data.splits["test"]}, name="elsewhere")
    with pytest.raises(EvaluationError, match="leave out --tta"):
        evaluate("first", other, confidence_level=0.9, tta=2)


def test_a_run_without_stored_hashes_and_features_says_so(made: Made) -> None:
    store = Store()
    artifacts = Path(store.log_files(store.run("second").id, into="reference"))
    for file in artifacts.iterdir():
        file.unlink()
    found = evaluate("second", made.data)
    assert found.copies is None
    assert found.unusual is None
    assert found.notes[0].startswith("The run has no hashes of its training images")
    save_images(made.data.splits["test"].images[:1])
    assert predict("second", ["images"]).unusual is None
    run = store.run("second")
    log_training_images(made.data.training.images, store, run.id)
    assert read_arrays(store, run, "training_images.npz") is not None
    (artifacts / "training_images.npz").write_bytes(b"PK\x03\x04 damaged")
    with pytest.raises(EvaluationError, match=r"reference/training_images\.npz is damaged"):
        read_arrays(store, run, "training_images.npz")
    (artifacts / "features.npz").write_bytes(b"no file of NumPy")
    with pytest.raises(EvaluationError, match=r"reference/features\.npz is damaged"):
        predict("second", ["images"])
