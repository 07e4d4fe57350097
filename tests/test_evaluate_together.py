"""Patients, subgroups, ensembles, views, whole external sets and sweeps, from the run to the report."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from kept import copy_store, fitted, keep
from PIL import Image

from keras_cnns import Dataset, evaluate, load, predict
from keras_cnns.cli import main
from keras_cnns.data import Split
from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.calibration import settled_by_validation
from keras_cnns.evaluation.checks import check_groups
from keras_cnns.evaluation.network import open_network
from keras_cnns.tracking import Store

pytestmark = pytest.mark.usefixtures("fresh")


def with_columns(split: Split, seed: int) -> Split:
    """A split of patients with four images each, of a sex and an age."""
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
    """Two runs, and a sweep of two trials of which the second is the better one and has kept its network."""
    folder = tmp_path_factory.mktemp("together")
    train = load("digits").splits["train"]
    labels = (train.labels >= 5).astype(np.int64)
    parts = dict(zip(("train", "validation", "test"), np.split(np.arange(1000), [500, 750]), strict=True))
    splits = {name: with_columns(Split(train.images[part], labels[part]), 0) for name, part in parts.items()}
    data = Dataset(name="halves", source="halves", splits=splits, class_names=("low", "high"))
    store = Store(f"sqlite:///{folder}/mlflow.db")
    ids = tuple(
        keep(store, fitted(data, epochs=2, seed=seed), data, name=f"run{seed}", recipe={"augmentation": "medical"})
        for seed in range(2)
    )
    sweep = store.start_group("sweep-lenet", experiment="kept", params={}, tags={})
    best = fitted(data, epochs=1, seed=2)
    for number, reached in enumerate((0.7, 0.8)):
        keep(store, best, data, name=f"trial-000{number}", parent=sweep, val_accuracy=reached)
    return Made(folder, data, ids, sweep)


@pytest.fixture
def fresh(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy_store(made.folder, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_patients_are_drawn_together_unless_other_groups_are_given(made: Made) -> None:
    found = evaluate("run0", made.data)
    assert (found.grouped, found.groups) == ("patients", 63)
    assert any("whole patients" in note for note in found.notes)
    by_column = evaluate("run0", made.data, groups="sex")
    assert (by_column.grouped, by_column.groups, by_column.metrics) == ("sex", 2, found.metrics)
    assert by_column.intervals != found.intervals
    test = made.data.splits["test"]
    assert check_groups(np.arange(250), test, "halves")[1] == "groups"
    assert check_groups(None, replace(test, patients=None), "halves") == (None, "")


def test_subgroups_are_in_report_run_and_result(made: Made) -> None:
    found = evaluate("run0", made.data, by=("sex", "age", "site"), report="result.html")
    assert list(found.by["sex"]) == ["F", "M"]
    assert len(found.by["age"]) == 4
    assert sum(part.images for part in found.by["age"].values()) == 250
    assert not found.by["site"]["south"].metrics
    run = Store().run("run0")
    assert run.metrics["test_by_sex_F_auc"] == found.by["sex"]["F"].metrics["auc"]
    assert run.metrics["test_by_sex_F_auc_low"] == found.by["sex"]["F"].intervals["auc"].low
    page = Path("result.html").read_text(encoding="utf-8")
    for part in ("By sex", "By age", "too few", "&lt;north&gt;", "Too few to say: site south"):
        assert part in page
    assert "<north>" not in page


def test_an_ensemble_is_the_mean_and_settles_for_itself(made: Made) -> None:
    store, test, validation = Store(), made.data.splits["test"], made.data.splits["validation"]
    networks = [open_network(store, run_id) for run_id in made.ids]
    found = evaluate(list(made.ids), made.data)
    mean = (networks[0].probabilities(test.images) + networks[1].probabilities(test.images)) / 2
    np.testing.assert_allclose(found.probabilities, mean, atol=1e-12)
    of_validation = np.mean([network.probabilities(validation.images) for network in networks], axis=0)
    settled = settled_by_validation(validation.labels, of_validation)
    assert (found.threshold, found.temperature) == (settled["threshold"], settled["temperature"])
    runs = [Store().run(run_id) for run_id in made.ids]
    assert runs[0].metrics["ensemble_test_auc"] == found.metrics["auc"]
    assert not any(name.startswith(("test_", "ensemble_test")) for name in runs[1].metrics)
    assert Path(found.kept, "report.html").is_file()
    fingerprint = test.fingerprint
    assert [store.look(run_id, fingerprint).by_run for run_id in made.ids] == [2, 2], "each run has looked"

    Image.fromarray(test.images[0, ..., 0]).save("image.png")
    for order in (made.ids, made.ids[::-1]):
        said = predict(order, ["image.png"])
        assert (said.threshold, said.temperature) == (found.threshold, found.temperature)
        np.testing.assert_allclose(said.probabilities[0], mean[0], atol=1e-12)


def test_an_ensemble_on_other_images_settles_nothing_there(made: Made) -> None:
    test = made.data.splits["test"]
    swapped = {"test": replace(test, labels=1 - test.labels)}
    other = replace(made.data, name="elsewhere", class_names=("high", "low"), splits=swapped)
    found = evaluate(made.ids, other)
    thresholds = [Store().run(run_id).metrics["threshold"] for run_id in made.ids]
    assert found.threshold == pytest.approx(np.mean(thresholds))
    assert found.temperature is None
    assert found.external
    assert "ensemble_external_test_auc" in Store().run(made.ids[0]).metrics


def test_views_are_a_mean_whose_first_is_the_image(made: Made) -> None:
    once, thrice = (evaluate("run0", made.data, views=views) for views in (1, 3))
    assert not np.allclose(once.probabilities, thrice.probabilities)
    again = open_network(Store(), "run0").probabilities(made.data.splits["test"].images, views=3)
    assert np.array_equal(thrice.probabilities, again)
    np.testing.assert_allclose(thrice.probabilities.sum(axis=1), 1)
    assert (thrice.views, thrice.preset) == (3, "medical")
    assert "with 3 views" in thrice.settled.where
    other = replace(made.data, splits={"test": made.data.splits["test"]})
    outside = evaluate("run0", other, views=2)
    assert outside.threshold == once.threshold
    for said in ("settled without views", "the name of the run's own images"):
        assert any(said in note for note in outside.notes)


def test_all_images_of_another_source_are_measured(made: Made) -> None:
    parts = {name: made.data.splits[name] for name in ("validation", "test")}
    found = evaluate("run0", replace(made.data, name="elsewhere", splits=parts), split="all", by="sex")
    assert (len(found.labels), found.grouped, found.split) == (500, "patients", "all")
    assert found.looks is not None
    assert sum(part.images for part in found.by["sex"].values()) == 500
    assert "external_all_auc" in Store().run("run0").metrics
    with pytest.raises(EvaluationError, match="was trained on these images"):
        evaluate("run0", made.data, split="all")


def test_a_sweep_stands_for_its_best_trial(made: Made) -> None:
    found = evaluate(made.sweep[:12], made.data)
    assert found.members[0].name == "trial-0001"
    assert any("is a sweep; this is its best trial of 2" in note for note in found.notes)


def test_the_command_line_says_all_of_it(made: Made, capfd: pytest.CaptureFixture[str]) -> None:
    rows = ["path,label,split,patient,sex"]
    for name, split in (("train", "train"), ("validation", "val"), ("test", "test")):
        part = made.data.splits[name]
        for place in range(0, len(part), 2):
            Image.fromarray(part.images[place, ..., 0]).save(f"{name}{place}.png")
            label = made.data.class_names[part.labels[place]]
            sex = part.columns["sex"][place]
            rows.append(f"{name}{place}.png,{label},{split},{name}{part.patients[place]},{sex}")
    Path("cases.csv").write_text("\n".join(rows))
    command = ("evaluate", "run0", "run1", "--data", "cases.csv", "--allow-leaks", "--by", "sex", "--views", "2")
    assert main(command) == 0
    out, err = capfd.readouterr()
    assert err == ""
    for part in ("ensemble", "the mean of the probabilities of 2 networks", "the mean over 2", "positive",
                 "whole patients", "run1"):  # fmt: skip
        assert part in out
    assert main((*command, "--groups", "sex", "--json")) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["runs"] == list(made.ids)
    assert (found["grouped"], found["groups"], found["views"]) == ("sex", 2, 2)
    assert set(found["by"]["sex"]) == {"F", "M"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"run": ("run0", "run0")}, "named twice"),
        ({"run": ()}, "no run is named"),
        ({"by": "sexes"}, "it has sex, age, site. Did you mean 'sex'"),
        ({"groups": "sight"}, "--groups sight: halves has no such column"),
        ({"views": 0}, "views 0 is not possible"),
        ({"split": "al"}, "Did you mean 'all'"),
    ],
)
def test_a_mistake_is_told_before_anything_is_measured(options: dict[str, object], message: str, made: Made) -> None:
    with pytest.raises(EvaluationError, match=message) as told:
        evaluate(**{"run": "run0", "data": made.data, **options})
    assert "\n" not in str(told.value)
    assert Store().look(made.ids[0], made.data.splits["test"].fingerprint).by_run == 1


def test_networks_that_cannot_answer_together_are_told(made: Made) -> None:
    split = load("digits", image_size=12).splits["train"]
    labels = split.labels % 2
    parts = {name: Split(split.images[:50], labels[:50]) for name in ("train", "validation")}
    larger = Dataset(name="larger", source="larger", splits=parts, class_names=("low", "high"))
    keep(Store(), fitted(larger), larger, name="larger")
    with pytest.raises(EvaluationError, match="8x8x1 and 12x12x1"):
        evaluate(["run0", "larger"], made.data)
    with pytest.raises(EvaluationError, match="no such column; it has none; a table"):
        evaluate("larger", replace(larger, splits={"test": parts["train"]}), by="sex")
