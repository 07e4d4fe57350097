"""Evaluation with patients, subgroups, ensembles, test-time augmentation, external datasets and sweeps."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from saved_networks import copy_store, save_run, train_network

from keras_cnns import Dataset, evaluate, load, predict
from keras_cnns.cli import main
from keras_cnns.data import Split
from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.calibration import apply_temperature
from keras_cnns.evaluation.compatibility import select_groups
from keras_cnns.evaluation.ensemble import Ensemble
from keras_cnns.evaluation.operating_point import fit_operating_point
from keras_cnns.evaluation.run_network import load_run_network
from keras_cnns.tracking import Store

pytestmark = pytest.mark.usefixtures("fresh", "quick_evaluations")


def with_columns(split: Split, seed: int) -> Split:
    """Return the split with patients of four images each, who have a sex and an age."""
    patient = np.arange(len(split)) // 4
    generator = np.random.default_rng(seed)
    sexes, ages = generator.choice(["F", "M"], len(split)), generator.integers(20, 90, len(split)).astype(float)
    columns = {"sex": sexes[patient], "age": ages[patient], "site": np.where(patient % 30, "<north>", "south")}
    return replace(split, patients=np.array([f"p{number}" for number in patient]), columns=columns)


@dataclass(frozen=True)
class Made:
    folder: Path
    data: Dataset
    ids: tuple[str, ...]
    sweep: str


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Two runs, and a sweep of two trials, of which the second is the better one."""
    folder = tmp_path_factory.mktemp("together")
    train = load("digits").splits["train"]
    labels = (train.labels >= 5).astype(np.int64)
    parts = dict(zip(("train", "validation", "test"), np.split(np.arange(1000), [500, 750]), strict=True))
    splits = {name: with_columns(Split(train.images[part], labels[part]), 0) for name, part in parts.items()}
    data = Dataset(name="halves", source="halves", splits=splits, class_names=("low", "high"), positive="high")
    store = Store(f"sqlite:///{folder}/mlflow.db")
    ids = tuple(
        save_run(
            store, train_network(data, epochs=2, seed=seed), data, name=f"run{seed}", recipe={"augmentation": "medical"}
        )
        for seed in range(2)
    )
    sweep = store.start_group("sweep-lenet", experiment="saved", params={}, tags={})
    best = train_network(data, epochs=1, seed=2)
    for number, reached in enumerate((0.7, 0.8)):
        save_run(store, best, data, name=f"trial-000{number}", parent=sweep, val_accuracy=reached)
    return Made(folder, data, ids, sweep)


@pytest.fixture
def fresh(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy_store(made.folder, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_patients_are_resampled_together_unless_other_groups_are_passed(made: Made) -> None:
    found = evaluate("run0", made.data)
    assert (found.grouped_by, found.groups) == ("patients", 63)
    assert any("whole patients" in note for note in found.notes)
    by_column = evaluate("run0", made.data, groups="sex")
    assert (by_column.grouped_by, by_column.groups, by_column.metrics) == ("sex", 2, found.metrics)
    assert by_column.intervals != found.intervals
    test = made.data.splits["test"]
    assert select_groups(np.arange(250), test, "halves")[1] == "groups"
    assert select_groups(None, replace(test, patients=None), "halves") == (None, "")


def test_subgroups_are_in_the_report_the_run_and_the_result(made: Made) -> None:
    found = evaluate("run0", made.data, by=("sex", "age", "site"), report="result.html")
    assert list(found.by["sex"]) == ["F", "M"]
    assert len(found.by["age"]) == 4
    assert sum(part.images for part in found.by["age"].values()) == 250
    assert not found.by["site"]["south"].metrics
    run = Store().run("run0")
    assert run.metrics["test_by_sex_F_auc"] == found.by["sex"]["F"].metrics["auc"]
    assert run.metrics["test_by_sex_F_auc_low"] == found.by["sex"]["F"].intervals["auc"].low
    page = Path("result.html").read_text(encoding="utf-8")
    for part in ("By sex", "By age", "too few", "&lt;north&gt;", "Too few images for metrics: site south"):
        assert part in page
    assert "<north>" not in page


def test_an_ensemble_averages_probabilities_and_fits_its_own_operating_point(made: Made) -> None:
    store, test, validation = Store(), made.data.splits["test"], made.data.splits["validation"]
    networks = [load_run_network(store, store.run(run_id)) for run_id in made.ids]
    found = evaluate(list(made.ids), made.data)
    mean = (networks[0].predict(test.images).probabilities + networks[1].predict(test.images).probabilities) / 2
    np.testing.assert_allclose(found.probabilities, mean, atol=1e-12)
    of_validation = np.mean([network.predict(validation.images).probabilities for network in networks], axis=0)
    fitted_point = fit_operating_point(validation.labels, of_validation)
    point = found.operating_point
    assert (point.threshold, point.temperature) == (fitted_point["threshold"], fitted_point["temperature"])
    runs = [Store().run(run_id) for run_id in made.ids]
    assert runs[0].metrics["ensemble_test_auc"] == found.metrics["auc"]
    assert not any(name.startswith(("test_", "ensemble_test")) for name in runs[1].metrics)
    assert Path(found.report_folder, "report.html").is_file()
    counts = [store.count_test_set_evaluation(run_id, test.fingerprint).by_run for run_id in made.ids]
    assert counts == [2, 2], "counted for each run"

    Image.fromarray(test.images[0, ..., 0]).save("image.png")
    for order in (made.ids, made.ids[::-1]):
        predictions = predict(order, ["image.png"])
        stored = predictions.operating_point
        assert (stored.threshold, stored.temperature) == (point.threshold, point.temperature)
        calibrated = apply_temperature(mean[:1], point.temperature)
        np.testing.assert_allclose(predictions.probabilities, calibrated, atol=1e-6)


def test_an_ensemble_has_the_operating_point_of_its_validation_predictions_on_any_dataset(made: Made) -> None:
    own = evaluate(made.ids, made.data)
    test = made.data.splits["test"]
    swapped = {"test": replace(test, labels=1 - test.labels)}
    other = replace(made.data, name="elsewhere", class_names=("high", "low"), splits=swapped)
    found = evaluate(made.ids, other)
    validation = made.data.splits["validation"]
    networks = [load_run_network(Store(), Store().run(run_id)) for run_id in made.ids]
    mean = np.mean([network.predict(validation.images).probabilities for network in networks], axis=0)
    fitted = fit_operating_point(validation.labels, mean)
    for point in (own.operating_point, found.operating_point):
        assert point.threshold == pytest.approx(fitted["threshold"])
        assert point.temperature == pytest.approx(fitted["temperature"])
    assert found.external
    assert "ensemble_external_test_auc" in Store().run(made.ids[0]).metrics


def test_the_mean_threshold_is_that_of_the_first_networks_classes(made: Made) -> None:
    first, second = (load_run_network(Store(), Store().run(run_id)) for run_id in made.ids)
    reversed_second = replace(second, class_names=("high", "low"))
    thresholds = (first.operating_point.threshold, second.operating_point.threshold)
    assert Ensemble(members=(first, second)).mean_threshold() == pytest.approx(sum(thresholds) / 2)
    assert Ensemble(members=(first, reversed_second)).mean_threshold() == pytest.approx(
        (thresholds[0] + 1 - thresholds[1]) / 2
    )
    assert Ensemble(members=(reversed_second, first)).mean_threshold() == pytest.approx(
        (thresholds[1] + 1 - thresholds[0]) / 2
    )


def test_test_time_augmentation_averages_the_image_and_augmented_copies(made: Made) -> None:
    once, thrice = (evaluate("run0", made.data, tta=tta) for tta in (1, 3))
    assert not np.allclose(once.probabilities, thrice.probabilities)
    again = load_run_network(Store(), Store().run("run0")).predict(made.data.splits["test"].images, tta=3).probabilities
    assert np.array_equal(thrice.probabilities, again)
    np.testing.assert_allclose(thrice.probabilities.sum(axis=1), 1)
    assert (thrice.tta, thrice.tta_augmentation) == (3, "medical")
    assert "tta=3" in thrice.operating_point.source
    other = replace(made.data, splits={"test": made.data.splits["test"]})
    outside = evaluate("run0", other, tta=2)
    assert outside.operating_point.threshold == once.operating_point.threshold
    for text in ("fitted without test-time augmentation", "the name of the run's own dataset"):
        assert any(text in note for note in outside.notes)


def test_all_images_of_an_external_dataset_can_be_evaluated(made: Made) -> None:
    parts = {name: made.data.splits[name] for name in ("validation", "test")}
    found = evaluate("run0", replace(made.data, name="elsewhere", splits=parts), split="all", by="sex")
    assert (len(found.labels), found.grouped_by, found.split) == (500, "patients", "all")
    assert found.test_set_evaluations is not None
    assert sum(part.images for part in found.by["sex"].values()) == 500
    assert "external_all_auc" in Store().run("run0").metrics
    with pytest.raises(EvaluationError, match="was trained on these images"):
        evaluate("run0", made.data, split="all")


def test_the_id_of_a_sweep_selects_its_best_trial(made: Made) -> None:
    found = evaluate(made.sweep[:12], made.data)
    assert found.runs[0].name == "trial-0001"
    assert any("is a sweep; trial-0001 is the best of its 2 trials" in note for note in found.notes)


def test_the_command_line_prints_all_of_it(made: Made, capfd: pytest.CaptureFixture[str]) -> None:
    rows = ["path,label,split,patient,sex"]
    for name, split in (("train", "train"), ("validation", "val"), ("test", "test")):
        part = made.data.splits[name]
        for index in range(0, len(part), 2):
            Image.fromarray(part.images[index, ..., 0]).save(f"{name}{index}.png")
            label = made.data.class_names[part.labels[index]]
            sex = part.columns["sex"][index]
            rows.append(f"{name}{index}.png,{label},{split},{name}{part.patients[index]},{sex}")
    Path("cases.csv").write_text("\n".join(rows))
    command = ("evaluate", "run0", "run1", "--data", "cases.csv", "--leaks", "allow", "--by", "sex", "--tta", "2")
    assert main(command) == 0
    out, err = capfd.readouterr()
    assert err == ""
    for part in ("ensemble", "mean of the probabilities of 2 networks", "mean of the probabilities of 2 versions",
                 "positive", "whole patients", "run1"):  # fmt: skip
        assert part in out
    assert main((*command, "--groups", "sex", "--json")) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["runs"] == list(made.ids)
    assert (found["grouped_by"], found["groups"], found["tta"]) == ("sex", 2, 2)
    assert set(found["by"]["sex"]) == {"F", "M"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"run": ("run0", "run0")}, "named twice"),
        ({"run": ()}, "no run is named"),
        ({"by": "sexes"}, "it has sex, age, site. Did you mean 'sex'"),
        ({"groups": "sight"}, "--groups sight: halves has no such column"),
        ({"tta": 0}, "tta=0 is not possible"),
        ({"split": "al"}, "Did you mean 'all'"),
    ],
)
def test_a_mistake_is_reported_before_anything_is_evaluated(
    options: dict[str, object], message: str, made: Made
) -> None:
    with pytest.raises(EvaluationError, match=message) as raised:
        evaluate(**{"run": "run0", "data": made.data, **options})
    assert "\n" not in str(raised.value)
    assert Store().count_test_set_evaluation(made.ids[0], made.data.splits["test"].fingerprint).by_run == 1


def test_networks_of_different_image_sizes_cannot_form_an_ensemble(made: Made) -> None:
    split = load("digits", image_size=12).splits["train"]
    labels = split.labels % 2
    parts = {name: Split(split.images[:50], labels[:50]) for name in ("train", "validation")}
    larger = Dataset(name="larger", source="larger", splits=parts, class_names=("low", "high"))
    save_run(Store(), train_network(larger), larger, name="larger")
    with pytest.raises(EvaluationError, match="8x8x1 and 12x12x1"):
        evaluate(["run0", "larger"], made.data)
    with pytest.raises(EvaluationError, match="no such column; it has none; a table"):
        evaluate("larger", replace(larger, splits={"test": parts["train"]}), by="sex")
