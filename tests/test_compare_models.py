"""Comparison of runs, and of readers with runs, on the same images."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from saved_networks import copy_store, save_run, train_network
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from test_metrics import draw_evaluation

from keras_cnns import Dataset, ModelComparison, compare_models, load
from keras_cnns.cli import main
from keras_cnns.cli.compare_images import csv_rows, print_comparison
from keras_cnns.comparing.model_comparison import get_predictions
from keras_cnns.comparing.paired_differences import PairedDifference, correct_for_comparisons, paired_differences
from keras_cnns.comparing.readers import read_readers
from keras_cnns.errors import DataError, EvaluationError
from keras_cnns.evaluation.calibration import binary_probabilities
from keras_cnns.evaluation.labelled_predictions import LabelledPredictions
from keras_cnns.evaluation.operating_point import OperatingPoint
from keras_cnns.evaluation.statistics.paired_tests import compare_areas, mcnemar
from keras_cnns.tracking import Store
from tests.progress_lines import without_progress

TEST_IMAGES = 120
CLASSES = ("low", "high")


@dataclass(frozen=True)
class Made:
    """A store with runs on files of digits, below five or not; the third one takes smaller images."""

    folder: Path
    data: Dataset


def write_images(folder: Path, digits: Dataset, sizes: tuple[int, int, int]) -> Dataset:
    begin, images = 0, digits.splits["train"]
    for split, count in zip(("train", "val", "test"), sizes, strict=True):
        for index in range(begin, begin + count):
            path = folder / split / CLASSES[int(images.labels[index] >= 5)] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images.images[index][..., 0]).save(path)
        begin += count
    return load(folder, channels=1, positive="high")


@pytest.fixture(scope="module", autouse=True)
def without_plots() -> Iterator[None]:
    """Write the reports of the runs without their plots, which take longer than the comparison."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras_cnns.evaluation.report.page.to_png", lambda _: b"")
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("compared")
    digits = load("digits")
    data = write_images(folder / "cases", digits, (200, 100, TEST_IMAGES))
    store = Store(f"sqlite:///{folder}/mlflow.db")
    network = train_network(data, epochs=2)
    save_run(store, network, data, name="first")
    save_run(store, train_network(data, epochs=6, seed=1), data, name="second")
    small = load(folder / "cases", channels=1, positive="high", image_size=6)
    save_run(store, train_network(small, epochs=2), small, name="small")
    fewer = write_images(folder / "fewer", digits, (60, 30, 40))
    save_run(store, network, fewer, name="fewer")
    save_run(store, network, replace(data, class_names=("cat", "dog"), positive=None), name="pets")
    return Made(folder, data)


@pytest.fixture(scope="module")
def compared(made: Made, tmp_path_factory: pytest.TempPathFactory) -> ModelComparison:
    """Three runs on their own images, and two readers: one names classes, and one does not answer all images."""
    folder = tmp_path_factory.mktemp("store")
    copy_store(made.folder, folder)
    test = made.data.splits["test"]
    answers = [f"{0.2 + 0.6 * label:.1f}" if index % 10 else "" for index, label in enumerate(test.labels)]
    readers = write_readers(folder, {"all_high": ["HIGH"] * TEST_IMAGES, "careful": answers}, test.files)
    return compare_models(
        ["first", "second", "small"], readers=readers, tracking_uri=f"sqlite:///{folder}/mlflow.db"
    )  # fmt: skip


@pytest.fixture
def fresh(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy_store(made.folder, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_readers(folder: Path, columns: dict[str, list[str]], images: tuple[str, ...]) -> Path:
    path = folder / "readers.csv"
    rows = zip(images, *columns.values(), strict=True)
    path.write_text("\n".join([",".join(["path", *columns]), *(",".join(row) for row in rows)]), encoding="utf-8")
    return path


def test_runs_are_tested_on_their_own_images_whatever_their_size(compared: ModelComparison) -> None:
    first, second, small = compared.evaluations
    names = [tuple(name.partition(" ")[0] for name in pair.names) for pair in compared.pairs]
    assert names[:3] == [("first", "second"), ("first", "small"), ("second", "small")]
    for pair, (one, other) in zip(compared.pairs, ((first, second), (first, small), (second, small)), strict=False):
        assert (pair.images, pair.groups, compared.grouped_by) == (TEST_IMAGES, None, "")
        for name in ("auc", "accuracy", "sensitivity", "specificity", "brier", "mcc"):
            assert pair.differences[name].values == pytest.approx((one.metrics[name], other.metrics[name]))
        areas = compare_areas(one.labels == 1, one.probabilities[:, 1], other.probabilities[:, 1])
        auc = pair.differences["auc"]
        assert areas is not None
        assert (auc.p, auc.interval, auc.test) == (areas.p, areas.interval, "DeLong")
        for name, chosen in (("accuracy", one.labels >= 0), ("sensitivity", one.labels == 1),
                             ("specificity", one.labels == 0)):  # fmt: skip
            right, left = ((each.predicted == each.labels)[chosen] for each in (one, other))
            table = [[(right & left).sum(), (right & ~left).sum()], [(~right & left).sum(), (~right & ~left).sum()]]
            assert pair.differences[name].p == pytest.approx(reference_mcnemar(table, exact=True).pvalue)
        assert not {"ece", "calibration_slope", "lr_positive"} & pair.differences.keys()


def test_each_run_counts_a_test_set_evaluation(compared: ModelComparison) -> None:
    counts = [each.test_set_evaluations for each in compared.evaluations]
    assert [count and count.by_run for count in counts] == [1, 1, 1]


def test_readers_are_compared_with_each_run(compared: ModelComparison) -> None:
    of_readers = compared.pairs[3:]
    assert [pair.names[1] for pair in of_readers] == ["all_high", "careful"] * 3
    for pair in of_readers[::2]:
        assert (pair.differences["sensitivity"].values[1], pair.differences["specificity"].values[1]) == (1, 0)
        assert not {"auc", "brier"} & pair.differences.keys(), "the answers are classes"
    for pair in of_readers[1::2]:
        assert pair.images == TEST_IMAGES - 12
        assert pair.differences["auc"].values[1] == pair.differences["accuracy"].values[1] == 1
        assert pair.differences["auc"].test == "DeLong"
        assert "brier_scaled" not in pair.differences
    assert any(note.startswith("careful has no answer for 12 of 120 images") for note in compared.notes)


def test_p_values_are_corrected_for_all_pairs(compared: ModelComparison) -> None:
    p = sorted((pair.differences["accuracy"].p, pair.differences["accuracy"].corrected_p) for pair in compared.pairs)
    assert p[0][1] == pytest.approx(min(1, len(p) * p[0][0]))
    assert all(corrected >= own for own, corrected in p)
    assert any("9 comparisons" in sentence for sentence in compared.explanations())


def test_a_comparison_is_printed_and_exported(compared: ModelComparison, capsys: pytest.CaptureFixture[str]) -> None:
    print_comparison(compared)
    out = capsys.readouterr().out
    for part in ("test: 120 images of cases", "positive class: high", "careful minus first (", "AUC", "p, corrected",
                 "DeLong", "McNemar", "evaluation on this test set"):  # fmt: skip
        assert part in out
    shown = repr(compared)
    assert "comparison on 120 images of cases, test" in shown
    assert all(f"{pair.names[1]} minus {pair.names[0]}, {pair.images} images" in shown for pair in compared.pairs)
    assert shown.count("p, corrected") == len(compared.pairs)
    found = json.loads(json.dumps(compared.as_dict(), allow_nan=False))
    assert len(found["pairs"]) == 9
    assert found["pairs"][0]["differences"]["auc"]["test"] == "DeLong"
    rows = list(csv_rows(compared))
    assert len(rows) == sum(len(pair.differences) for pair in compared.pairs)
    assert rows[0][:2] == compared.pairs[0].names


@pytest.mark.usefixtures("fresh")
def test_the_command_evaluates_and_compares(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(("compare", "first", "second", "--split", "validation", "--csv")) == 0
    out, err = capfd.readouterr()
    assert without_progress(err) == ""
    rows = {row["metric"]: row for row in csv.DictReader(io.StringIO(out))}
    stored = [Store().run(name).metrics["validation_auc"] for name in ("first", "second")]
    assert [float(rows["auc"][name]) for name in ("first_value", "second_value")] == pytest.approx(stored)
    assert float(rows["auc"]["p"]) == float(rows["auc"]["corrected_p"]), "one comparison"


def draw_predictions(quality: float, groups: np.ndarray | None = None, seed: int = 0) -> LabelledPredictions:
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(60) % 2, 3)
    noise = np.repeat(generator.normal(size=60), 3) + 0.3 * generator.normal(size=180)
    point = OperatingPoint(threshold=0.5, temperature=None, source="made up")
    probability = 1 / (1 + np.exp(-(quality * (2 * labels - 1) + noise)))
    return LabelledPredictions(
        labels=labels, probabilities=binary_probabilities(probability), operating_point=point, groups=groups
    )


def test_patients_are_considered_by_tests_and_intervals() -> None:
    patients = np.repeat(np.arange(60), 3)
    first, second = draw_predictions(0.7, patients), draw_predictions(1.0, patients, seed=1)
    found = paired_differences(first, second)
    alone = paired_differences(replace(first, groups=None), replace(second, groups=None))
    for name in ("auc", "brier", "accuracy"):
        wide, narrow = found[name].interval, alone[name].interval
        assert wide is not None
        assert narrow is not None
        assert wide[1] - wide[0] > 1.3 * (narrow[1] - narrow[0])
    one, other = first.predicted == first.labels, second.predicted == second.labels
    assert found["accuracy"].p == mcnemar(one, other, patients) > mcnemar(one, other) == alone["accuracy"].p
    areas = compare_areas(first.labels == 1, first.probabilities[:, 1], second.probabilities[:, 1], patients)
    assert areas is not None
    assert found["auc"].p == areas.p


def test_equal_predictions_have_no_interval_and_a_p_value_of_one() -> None:
    for difference in paired_differences(draw_predictions(1.0), draw_predictions(1.0)).values():
        assert (difference.difference, difference.interval) == (0, None)
        assert difference.p == (1 if difference.test else None)


def test_holms_correction_is_that_of_each_metric() -> None:
    def pair(auc: float | None, accuracy: float) -> dict[str, PairedDifference]:
        return {
            name: PairedDifference(metric=name, values=(0, 0), difference=0, interval=None, p=p)
            for name, p in (("auc", auc), ("accuracy", accuracy))
        }

    first, second = correct_for_comparisons([pair(None, 0.03), pair(0.04, 0.02)])
    assert (first["auc"].corrected_p, second["auc"].corrected_p) == (None, 0.04)
    assert (first["accuracy"].corrected_p, second["accuracy"].corrected_p) == (0.04, 0.04)


@pytest.mark.parametrize("task", ["binary", "multi-class", "multi-label"])
def test_images_and_classes_in_another_order_are_matched(task: str) -> None:
    first = draw_evaluation(task)
    order = np.random.default_rng(0).permutation(len(first.labels))
    columns = [1, 0, *range(2, len(first.class_names))]
    threshold = first.operating_point.threshold
    other = replace(
        first,
        class_names=tuple(first.class_names[column] for column in columns),
        labels=first.labels[order][:, columns] if task == "multi-label" else np.array(columns)[first.labels[order]],
        probabilities=first.probabilities[order][:, columns],
        operating_point=replace(
            first.operating_point,
            threshold=tuple(threshold[column] for column in columns) if isinstance(threshold, tuple) else 0.55,
        ),
    )
    found = get_predictions(other, np.argsort(order), first, None, 0)
    np.testing.assert_array_equal(found.labels, first.labels)
    np.testing.assert_array_equal(found.probabilities, first.probabilities)
    np.testing.assert_array_equal(found.predicted, first.predicted)


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("runs", "options", "message"),
    [
        (["first"], {}, "one run cannot be compared; name another run, or a table of readers"),
        (["first", "first"], {}, "a run cannot be compared with itself"),
        (["first", "second"], {"split": "train"}, "split 'train' cannot be evaluated"),
        (["first", "pets"], {}, r"first .* has the classes low, high, and pets .* has cat, dog; compare runs with the"),
        (["first", "fewer"], {}, r"first .* has 120 images, and fewer .* has 40 other ones, which do not include"),
    ],
)
def test_what_cannot_be_compared_is_an_error_before_an_evaluation(
    runs: list[str], options: dict[str, str], message: str
) -> None:
    with pytest.raises(EvaluationError, match=message):
        compare_models(runs, **options)
    assert not any(name.startswith("test_") for name in Store().run("first").metrics)


def test_readers_are_matched_by_file_name_and_what_does_not_match_is_noted(tmp_path: Path) -> None:
    images = tuple(f"test/high/{index}.png" for index in range(12))
    rows = tuple(f"D:\\export\\{Path(name).name}" for name in images[:10])
    path = write_readers(tmp_path, {"reader": ["high"] * 11}, (*rows, "unknown.png"))
    found = read_readers(path, images, CLASSES)
    assert found.readers[0].answered.tolist() == [True] * 10 + [False] * 2
    assert "Rows of readers.csv without an evaluated image: 1, unknown.png." in found.notes
    assert any(note.startswith("Images without a row in readers.csv: 2, test/high/10.png") for note in found.notes)


def test_a_file_name_of_two_images_is_not_matched(tmp_path: Path) -> None:
    path = write_readers(tmp_path, {"reader": ["high", "low"]}, ("1.png", "b/2.png"))
    found = read_readers(path, ("a/1.png", "b/1.png", "b/2.png"), CLASSES)
    assert found.readers[0].answered.tolist() == [False, False, True]


def test_answers_are_classes_or_probabilities(tmp_path: Path) -> None:
    columns = {"names": ["high", "Low", ""], "probabilities": ["0,5", "0.49", "1"], "numbers": ["1", "0", "1"]}
    path = tmp_path / "readers.csv"
    rows = zip("abc", *columns.values(), strict=True)
    path.write_text("\n".join(["image;" + ";".join(columns), *(";".join(row) for row in rows)]), encoding="utf-8")
    names, probabilities, numbers = read_readers(path, tuple("abc"), CLASSES).readers
    assert (names.predicted.tolist(), names.answered.tolist()) == ([1, 0, 0], [True, True, False])
    assert names.probability is None
    assert probabilities.probability is not None
    assert probabilities.probability.tolist() == [0.5, 0.49, 1]
    assert (probabilities.predicted.tolist(), numbers.predicted.tolist()) == ([1, 0, 1], [1, 0, 1])
    assert numbers.probability is not None
    path.write_text("image,reader\na,1\nb,0\n", encoding="utf-8")
    (numbered,) = read_readers(path, ("a", "b"), ("0", "1")).readers
    assert (numbered.predicted.tolist(), numbered.probability) == ([1, 0], None)
    with pytest.raises(DataError, match=r"'1' in column 'reader', row 2, is not a class \(x, y, z\); correct it"):
        read_readers(path, ("a", "b"), ("x", "y", "z"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,reader\na,high\n", "has no column path, image or file, which names the image of each row; it has name"),
        ("path\na\n", "has no column besides 'path'"),
        ("path,reader\nx.png,high\n", r"no row is of an evaluated image: column 'path' has names such as 'x.png'"),
        ("path,reader\na,high\na,low\n", "rows 2 and 3 are of the same image"),
        ("path,reader\na,1.2\n", r"'1.2' in column 'reader', row 2, is neither a class .low, high. nor a probability"),
        ("path,reader,note\na,high,\n", "column 'note' has no answer for an evaluated image"),
    ],
)
def test_a_table_that_cannot_be_used_is_an_error(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "readers.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_readers(path, ("a", "b"), CLASSES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("first", "second", "--positive", "high"), "--positive applies to a comparison on images; add --split test"),
        (("first", "second", "--split", "test", "--html", "x.html"), "--html applies to experiments, not to a"),
        (("first", "a.csv", "b.csv"), "a.csv b.csv: name one table, with a column for each reader"),
        (("first", "second", "--split", "test", "--tracking-uri", "a", "--tracking-uri", "b"), "all runs in one store"),
    ],
)
def test_options_that_do_not_belong_together_are_errors(
    arguments: tuple[str, ...], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(("compare", *arguments)) == 2
    assert message in capfd.readouterr().err
