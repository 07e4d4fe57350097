"""Images unlike the training images: the features, the detector and its false-alarm rate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_cnns.data.pipeline import evaluation_batches
from keras_cnns.evaluation.conformal import conformal_quantile
from keras_cnns.evaluation.out_of_distribution import Detector, find_alarms, fit_detector, fit_distribution
from keras_cnns.evaluation.reference_files import write_arrays
from keras_cnns.lazy import keras
from keras_cnns.networks.features import with_feature_summary
from keras_cnns.networks.registry import all_families
from keras_cnns.testing.small_networks import make_images, shared_small, small_side


@pytest.mark.parametrize("name", [family.search.base for family in all_families().values()])
def test_every_network_summarises_its_features_and_predicts_as_before(name: str) -> None:
    network = shared_small(name)
    summary = with_feature_summary(network)
    images = make_images(3, side=small_side(name))
    features, predicted = (np.asarray(summary(images)[part]) for part in ("features", "predictions"))
    np.testing.assert_allclose(predicted, np.asarray(network(images)), atol=1e-5)
    assert features.dtype == np.float32
    assert features.shape[0] == 3
    assert features.shape[1] > 2
    assert np.isfinite(features).all()


def test_the_summary_has_the_means_of_feature_maps_and_what_the_classifier_receives() -> None:
    layers = keras.layers
    network = keras.Sequential([
        keras.Input((6, 6, 1)),
        layers.Conv2D(4, 3, name="block1_conv"),
        layers.ReLU(name="block1_relu"),
        layers.Conv2D(5, 3, name="block2_conv"),
        layers.Flatten(name="flatten"),
        layers.Dense(7, name="hidden"),
        layers.Dense(2, name="classifier"),
        layers.Softmax(name="predictions"),
    ])  # fmt: skip
    images = make_images(2, channels=1, side=6)
    found = np.asarray(with_feature_summary(network).predict(evaluation_batches(images), verbose=0)["features"])
    outputs = [network.get_layer(name).output for name in ("block1_relu", "block2_conv", "hidden")]
    first, second, received = (np.asarray(part) for part in keras.Model(network.inputs, outputs)(images))
    expected = np.concatenate([first.mean(axis=(1, 2)), second.mean(axis=(1, 2)), received], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), images=st.integers(20, 200), features=st.integers(2, 30))
def test_distances_are_mahalanobis_distances_of_the_shrunk_covariance(seed: int, images: int, features: int) -> None:
    generator = np.random.default_rng(seed)
    mixing = np.linalg.qr(generator.normal(size=(features, features)))[0] * np.geomspace(10, 1, features)
    training, new = (generator.normal(size=(number, features)) @ mixing.T for number in (images, 9))
    distribution = fit_distribution(training)
    axes = distribution.directions.astype(np.float64)
    within = axes.T @ np.diag(distribution.variances) @ axes
    covariance = within + distribution.remainder * (np.eye(features) - axes.T @ axes)
    assert np.trace(covariance) == pytest.approx(np.trace(np.cov(training.T)), rel=0.02)
    centred = new - distribution.mean
    expected = np.sqrt(np.einsum("ij,jk,ik->i", centred, np.linalg.pinv(covariance, rcond=1e-12), centred))
    np.testing.assert_allclose(distribution.distances(new), expected, rtol=0.02)


@pytest.mark.parametrize("images_per_patient", [1, 5])
def test_one_percent_of_ordinary_images_are_false_alarms(images_per_patient: int) -> None:
    rates, measured, detected = [], [], []
    for seed in range(40):
        generator = np.random.default_rng(seed)

        def draw(patients: int, generator: np.random.Generator = generator) -> tuple[np.ndarray, np.ndarray]:
            numbers = np.repeat(np.arange(patients), images_per_patient)
            common = generator.normal(size=(patients, 20))[numbers]
            return common + generator.normal(size=(len(numbers), 20)), numbers

        training, (validation, patients) = draw(300)[0], draw(200)
        detector = fit_detector(training, validation, patients)
        assert detector is not None
        assert detector.false_alarm_rate == 0.01
        new = draw(500)[0]
        rates.append(detector.is_unusual(new).mean())
        measured.append(detector.measured.value)
        detected.append(detector.is_unusual(new + 4).mean())
        assert detector.measured.low <= detector.measured.value <= detector.measured.high
    error = np.std(rates) / np.sqrt(len(rates))
    assert np.mean(rates) <= 0.01 + 2 * error
    assert np.mean(rates) >= 0.003
    assert np.mean(measured) == pytest.approx(np.mean(rates), abs=0.004)
    assert np.mean(detected) > 0.9


@settings(max_examples=30)
@given(distances=st.lists(st.sampled_from([1.0, 2.0, 3.0]) | st.floats(0, 10), min_size=2, max_size=40),
       patients=st.integers(2, 12))  # fmt: skip
def test_the_false_alarm_rate_is_measured_with_thresholds_of_other_patients(
    distances: list[float], patients: int
) -> None:
    values, groups = np.array(distances), np.arange(len(distances)) % patients
    number = len(np.unique(groups))
    expected = [
        value > conformal_quantile(values[groups != group], 1 - max(0.01, 1 / number), groups[groups != group])
        for value, group in zip(values, groups, strict=True)
    ]
    assert find_alarms(values, groups).tolist() == expected


def test_few_validation_patients_allow_more_false_alarms_and_one_allows_no_detector() -> None:
    generator = np.random.default_rng(0)
    training, validation = generator.normal(size=(100, 5)), generator.normal(size=(60, 5))
    detector = fit_detector(training, validation, np.repeat(np.arange(20), 3))
    assert detector is not None
    assert detector.false_alarm_rate == pytest.approx(1 / 21)
    assert detector.threshold == detector.distribution.distances(validation).max()
    assert fit_detector(training, validation, np.zeros(60)) is None
    assert fit_detector(training[:1], validation) is None
    assert fit_detector(np.where(training > 2, np.inf, training), validation) is None
    constant = fit_detector(np.ones((30, 4)), np.ones((30, 4)))
    assert constant is not None
    assert constant.is_unusual(np.array([[1, 1, 1, 1], [1, 1, 1, 2]])).tolist() == [False, True]


def test_a_detector_is_stored_without_pickle(tmp_path: object) -> None:
    generator = np.random.default_rng(0)
    detector = fit_detector(generator.normal(size=(100, 5)), generator.normal(size=(60, 5)))
    assert detector is not None
    path = tmp_path / "features.npz"  # type: ignore[operator]
    write_arrays(path, detector.to_arrays())
    with np.load(path, allow_pickle=False) as file:
        again = Detector.from_arrays(dict(file))
    new = generator.normal(size=(50, 5)) * 2
    np.testing.assert_array_equal(again.is_unusual(new), detector.is_unusual(new))
    assert (again.false_alarm_rate, again.measured) == (detector.false_alarm_rate, detector.measured)
