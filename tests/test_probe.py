"""The linear probe: a classifier as a logistic regression on the features of a network."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import safetensors.numpy
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from keras_cnns import Dataset, Recipe, evaluate, load, report, reproduce
from keras_cnns.cli import main
from keras_cnns.errors import ReportError, SettingError
from keras_cnns.networks import registry
from keras_cnns.networks.pretrained import TORCH
from keras_cnns.networks.registry import network_settings
from keras_cnns.networks.weights import to_state_dict
from keras_cnns.pretrained.references import WeightsFile
from keras_cnns.pretrained.runs import find_any_weights
from keras_cnns.pretrained.starting_weights import StartingWeights
from keras_cnns.testing.small_networks import small_settings
from keras_cnns.tracking import Run, Store
from keras_cnns.training import probe
from keras_cnns.training.fit import fit
from keras_cnns.training.job import Job
from keras_cnns.training.probe import cache_key
from keras_cnns.writing.reproducing import find_recorded_weights
from tests.test_fine_tuning import ONE_STEP, TINY, by_layer, changed_blocks, compiled, job, saved, take_digits
from tests.test_reproduce import write_archive
from tests.test_weights import randomise

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return take_digits()


def test_a_probe_has_the_probabilities_of_a_pipeline_of_scikit_learn(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = job(epochs=0, head="probe", freeze="features", keep="last")
    fitted = fit(chosen, digits, tmp_path / "first")
    network = keras.saving.load_model(fitted.best_model, compile=False)
    features, _ = probe.feature_network(chosen, digits)
    training, validation = digits.training, digits.splits["validation"]
    classifier = probe.fit_classifier(chosen, digits)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=classifier.strength, max_iter=5000, tol=1e-8))
    pipeline.fit(features.predict(training.images, verbose=0), training.labels)
    expected = pipeline.predict_proba(features.predict(validation.images, verbose=0))
    np.testing.assert_allclose(network.predict(validation.images, verbose=0), expected, atol=2e-3)
    assert [metrics["val_accuracy"] for metrics in fitted.history] == [
        pytest.approx((expected.argmax(axis=1) == validation.labels).mean())
    ]
    before = by_layer(compiled(chosen, digits))
    assert changed_blocks(before, saved(fitted.best_model)) == {"logits"}
    monkeypatch.setattr(probe, "feature_network", None)  # the features are in the cache
    again = fit(chosen, digits, tmp_path / "second")
    assert not changed_blocks(saved(fitted.best_model), saved(again.best_model))
    assert fit(chosen, digits, tmp_path / "second").history == again.history


def test_training_can_begin_with_a_probe(digits: Dataset, tmp_path: Path) -> None:
    fitted = fit(
        job(epochs=1, head="probe", freeze="features", learning_rate=1e-7, keep="last", **ONE_STEP), digits, tmp_path
    )
    classifier = probe.fit_classifier(job(head="probe"), digits)
    kernel, _ = saved(fitted.best_model)["logits"]
    np.testing.assert_allclose(kernel, classifier.kernel, atol=1e-4)


def make_points(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    values = generator.normal(3.0, 2.0, (60, 100))
    return values, (values[:, :3] + generator.normal(size=(60, 3)) > 3.0).astype(np.int64)


@pytest.mark.parametrize("features", [20, 100])
def test_the_regression_of_two_classes_and_of_labels_is_that_of_scikit_learn(features: int) -> None:
    values, labels = make_points()
    values = values[:, :features]
    kernel, bias = probe.Regression(values, labels, None, 3).fit(0.1)
    for index, target in enumerate(labels.T):
        pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, tol=1e-8, max_iter=5000))
        expected = pipeline.fit(values, target).predict_proba(values)[:, 1]
        np.testing.assert_allclose(expit(values @ kernel + bias)[:, index], expected, atol=1e-4)
        of_two, bias_of_two = probe.Regression(values, target, None, 2).fit(0.1)
        logits = values @ of_two + bias_of_two
        np.testing.assert_allclose(expit(logits[:, 1] - logits[:, 0]), expected, atol=1e-4)


def test_a_class_or_label_without_images_is_improbable() -> None:
    values, labels = make_points()
    labels[:, 2] = 0
    kernel, bias = probe.Regression(values, labels, None, 3).fit(0.1)
    assert expit(values @ kernel + bias)[:, 2].max() < 1e-6
    kernel, bias = probe.Regression(values, labels[:, 0], None, 3).fit(0.1)
    assert (values @ kernel + bias)[:, 2].max() < -15


def test_the_strength_of_a_probe_is_chosen_by_patient(digits: Dataset) -> None:
    """Each patient has an image of each of two classes, whose features say nothing but who it is."""
    generator = np.random.default_rng(0)
    values, labels = generator.normal(size=(96, 30)), np.arange(96) % 2
    patients = np.array([f"patient {index // 4}" for index in range(96)])
    split = replace(digits.training, labels=labels, patients=patients)
    dataset = replace(digits, splits={"train": split}, class_names=("no", "yes"))
    assigned = probe.assign_folds(dataset)
    assert assigned is not None
    assert len(set(zip(patients, assigned, strict=True))) == 24, "a patient is in one fold"
    assert probe.choose_strength(values, labels, None, dataset) <= 1e-3, "noise needs strong regularisation"
    few = replace(dataset, splits={"train": replace(split.take(np.arange(96)), patients=np.full(96, "one"))})
    assert probe.choose_strength(values, labels, None, few) == probe.DEFAULT_STRENGTH


def test_features_depend_on_the_seed_if_a_layer_before_the_classifier_is_random(digits: Dataset) -> None:
    def key(seed: int, *initial: str) -> str:
        file = WeightsFile(reference="x", source="x", path=Path("x"), sha256="0")
        weights = StartingWeights(file=file, preprocessing=TORCH, initial=initial)
        recipe = Recipe(standardization="weights")
        job = Job(model="lenet5", settings=network_settings("lenet5", {}), recipe=recipe, seed=seed, weights=weights)
        return cache_key(job, digits)

    assert key(0) == key(1)
    assert key(0, "logits") == key(1, "logits")
    assert key(0, "f6") != key(1, "f6")
    assert key(0, "f6", "logits") != key(1, "f6", "logits")


def test_a_probe_needs_a_dense_classifier(digits: Dataset) -> None:
    arguments: dict[str, Any] = {"model": "nin-cifar-bn", "settings": network_settings("nin-cifar-bn", {})}
    with pytest.raises(SettingError, match=r"head=probe: nin-cifar-bn .* does not end in a dense layer"):
        Job(**arguments, recipe=Recipe(head="probe"))
    arguments["settings"] = network_settings("nin-cifar-bn", small_settings("nin-cifar-bn"))
    chosen = Job(**arguments, recipe=Recipe())
    with pytest.raises(SettingError, match=r"head=probe: nin-cifar-bn .* does not end in a dense layer"):
        probe.fit_classifier(chosen, replace(digits, splits=load("digits", image_size=32).splits))


@pytest.fixture
def weights_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with weights of a small ResNet, beside an archive of images, in the current folder."""
    monkeypatch.chdir(tmp_path)
    write_archive(tmp_path / "images.npz", test_images=20)
    model = registry.build("resnet18", input_shape=(32, 32, 3), classes=5, **TINY)
    randomise(model)
    safetensors.numpy.save_file(to_state_dict(model), "weights.safetensors")
    return Path("weights.safetensors")


def probe_with_command(capsys: pytest.CaptureFixture[str]) -> Run:
    sets = ("--set", "units=1,1", "--set", "widths=4,8", "--set", "stem_width=4", "--data", "images.npz")
    assert main(("train", "resnet18", "--weights", "weights.safetensors", "--probe", *sets, "--json")) == 0
    return Store().run(json.loads(capsys.readouterr().out)["run_id"])


@pytest.mark.usefixtures("weights_file")
def test_the_command_line_probes_weights_as_an_ordinary_run(capsys: pytest.CaptureFixture[str]) -> None:
    run = probe_with_command(capsys)
    assert (run.recipe["head"], run.recipe["epochs"], run.metrics["epochs"]) == ("probe", "0", 1)
    assert run.metrics["best_val_accuracy"] > 0.8
    assert "temperature" in run.metrics


def test_a_lock_file_is_repeated_with_the_same_weights_only(weights_file: Path) -> None:
    found = find_any_weights(weights_file, "resnet18", None, {})
    training = {"model": "resnet18", "weights": {"reference": found.reference, "sha256": found.sha256}}
    assert find_recorded_weights("lock.json", training, {}, None) == "weights.safetensors"
    assert find_recorded_weights("lock.json", {"model": "resnet18", "weights": None}, {}, None) is None
    state = safetensors.numpy.load_file(weights_file)
    safetensors.numpy.save_file({**state, "bn1.bias": state["bn1.bias"] + 1}, weights_file)
    with pytest.raises(ReportError, match="are not those that the run began with: their SHA-256 is"):
        find_recorded_weights("lock.json", training, {}, None)
    weights_file.unlink()
    with pytest.raises(ReportError, match=r"began with weights that are not available: .*does not exist"):
        find_recorded_weights("lock.json", training, {}, None)


@pytest.mark.exhaustive
@pytest.mark.usefixtures("quick_evaluations", "weights_file")
def test_a_probe_is_evaluated_written_up_and_reproduced(capsys: pytest.CaptureFixture[str]) -> None:
    run = probe_with_command(capsys)
    evaluate(run.id)
    written = report(run.id, output="out")
    article, card = ((written.folder / name).read_text("utf-8") for name in ("article.md", "model-card.md"))
    for text in (article, card):
        assert "from the weights weights.safetensors" in text
        assert run.tags["weights.sha256"] in text
        assert "which do not have the layers logits" in text
        assert "The classifier was initialised by logistic regression" in text
    assert "standardised as for the weights" in article
    assert "No other weights were changed." in article
    assert reproduce(written.folder / "lock.json").equal
