"""Statistics of predictions equal references on random and degenerate inputs, and cover the truth as stated."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.proportion import proportion_confint

from keras_cnns.evaluation.statistics.brier_decomposition import decompose_brier_score
from keras_cnns.evaluation.statistics.net_benefit import decision_curve
from keras_cnns.evaluation.statistics.paired_tests import compare_areas, estimate_areas, mcnemar, midranks
from keras_cnns.evaluation.statistics.proportions import (
    clopper_pearson,
    clustered_interval,
    design_effect,
    effective_trials,
    wilson,
)
from keras_cnns.evaluation.statistics.recalibration import (
    MAX_LOGIT,
    binary_logits,
    calibration_intercepts,
    calibration_slopes,
)

SEEDS = st.integers(0, 2**32 - 1)
# Albumin, total protein, K-G score and whether surgery helped, of 49 patients (DeLong, DeLong and Clarke-Pearson 1988).
OVARIAN_CANCER = np.fromstring("""
    3.0 5.8 10 0 3.2 6.3 5 1 3.9 6.8 3 1 2.8 4.8 6 0 3.2 5.8 3 1 0.9 4.0 5 0 2.5 5.7 8 0 1.6 5.6 5 1 3.8 5.7 5 1
    3.7 6.7 6 1 3.2 5.4 4 1 3.8 6.6 6 1 4.1 6.6 5 1 3.6 5.7 5 1 4.3 7.0 4 1 3.6 6.7 4 0 2.3 4.4 6 1 4.2 7.6 4 0
    4.0 6.6 6 0 3.5 5.8 6 1 3.8 6.8 7 1 3.0 4.7 8 0 4.5 7.4 5 1 3.7 7.4 5 1 3.1 6.6 6 1 4.1 8.2 6 1 4.3 7.0 5 1
    4.3 6.5 4 1 3.2 5.1 5 1 2.6 4.7 6 1 3.3 6.8 6 0 1.7 4.0 7 0 3.7 6.1 5 1 3.3 6.3 7 1 4.2 7.7 6 1 3.5 6.2 5 1
    2.9 5.7 9 0 2.1 4.8 7 1 2.8 6.2 8 0 4.0 7.0 7 1 3.3 5.7 6 1 3.7 6.9 5 1 3.6 6.6 5 1
""", sep=" ").reshape(-1, 4)  # fmt: skip


@given(trials=st.integers(1, 3000), share=st.sampled_from([0.0, 0.01, 0.3, 0.5, 0.99, 1.0]))
def test_intervals_of_proportions_equal_those_of_statsmodels(trials: int, share: float) -> None:
    successes = round(share * trials)
    for function, method in ((clopper_pearson, "beta"), (wilson, "wilson")):
        expected = proportion_confint(successes, trials, method=method)
        assert function(successes, trials) == pytest.approx(expected, abs=1e-9)


def test_intervals_of_proportions_equal_published_ones() -> None:
    """The example of Newcombe (1998, "Two-sided confidence intervals for the single proportion"), table 1."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert clopper_pearson(81, 263) == pytest.approx((0.2527, 0.3676), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    assert clopper_pearson(0, 20) == pytest.approx((0, 0.1684), abs=5e-5)
    assert clopper_pearson(40, 40) == pytest.approx((0.025 ** (1 / 40), 1))
    assert clopper_pearson(0, 0) is wilson(0, 0) is clustered_interval(np.zeros(3), np.zeros(3)) is None


@given(seed=SEEDS, clusters=st.integers(1, 60), share=st.sampled_from([0.0, 0.2, 0.9, 1.0]))
def test_single_images_are_clusters_of_one(seed: int, clusters: int, share: float) -> None:
    successes = (np.random.default_rng(seed).random(clusters) < share).astype(float)
    expected = clopper_pearson(successes.sum(), clusters)
    assert clustered_interval(successes, np.ones(clusters)) == pytest.approx(expected, abs=1e-12)


@given(seed=SEEDS, clusters=st.integers(1, 60), share=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
def test_the_effective_number_of_trials_is_between_one_and_all(seed: int, clusters: int, share: float) -> None:
    generator = np.random.default_rng(seed)
    trials = generator.integers(0, 6, clusters)
    trials[0] = 3
    successes = generator.binomial(trials, share)
    assert 0 < effective_trials(successes, trials) <= trials.sum()
    low, high = clustered_interval(successes, trials) or (np.nan, np.nan)
    assert 0 <= low <= successes.sum() / trials.sum() <= high <= 1
    mirrored = clustered_interval(trials - successes, trials)
    assert successes.sum() * 2 == trials.sum() or mirrored == pytest.approx((1 - high, 1 - low))


def test_patients_count_if_all_their_images_agree() -> None:
    trials = np.full(40, 5.0)
    assert effective_trials(trials, trials) == pytest.approx(40, rel=0.1), "all correct"
    mixed = trials * (np.arange(40) < 25)
    assert design_effect(mixed, trials) == pytest.approx(5, rel=0.1)
    independent = np.random.default_rng(0).binomial(5, 0.5, 2000)
    assert design_effect(independent, np.full(2000, 5.0)) == pytest.approx(1, abs=0.1)


def simulate_clusters(generator: np.random.Generator, clusters: int, share: float, correlation: float) -> np.ndarray:
    """Draw successes and trials of beta-binomial clusters of one to seven images, shape (2, clusters)."""
    trials = generator.integers(1, 8, clusters)
    scale = (1 - correlation) / correlation
    return np.stack([generator.binomial(trials, generator.beta(share * scale, (1 - share) * scale, clusters)), trials])


@pytest.mark.parametrize(("share", "correlation"), list(product((0.8, 0.95), (0.05, 0.5))))
def test_clustered_intervals_have_their_nominal_coverage(share: float, correlation: float) -> None:
    """A short simulation; benchmarks/interval_coverage.py has more settings and repetitions."""
    generator = np.random.default_rng(0)
    covered = []
    for _ in range(600):
        low, high = clustered_interval(*simulate_clusters(generator, 50, share, correlation)) or (1.0, 0.0)
        covered.append(low <= share <= high)
    assert np.mean(covered) >= 0.93


def compare_pairs(positive: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return how often a positive image has a higher score than a negative one, for each pair."""
    above = scores[positive][:, np.newaxis] - scores[~positive]
    return np.asarray((above > 0) + 0.5 * (above == 0))


def reference_covariance(positive: np.ndarray, scores: list[np.ndarray], clusters: np.ndarray) -> np.ndarray:
    """Return the covariance of Obuchowski (1997) by its definition, which compares all pairs of images."""
    pairs = [compare_pairs(positive, score) for score in scores]
    names = np.unique(clusters)
    covariance = np.zeros((len(scores), len(scores)))
    of = {True: clusters[positive], False: clusters[~positive]}
    sums = np.array([
        [
            [(pair.mean(axis=axis) - pair.mean())[of[axis == 1] == name].sum() for name in names]
            for axis in (1, 0)
        ]
        for pair in pairs
    ])  # fmt: skip
    counts = [len(np.unique(of[True])), len(np.unique(of[False])), len(names)]
    sizes = positive.sum(), (~positive).sum()
    for first, second in product(range(len(scores)), repeat=2):
        for side in (0, 1):
            spread = counts[side] / (counts[side] - 1) / sizes[side] * (sums[first, side] * sums[second, side]).sum()
            covariance[first, second] += spread / sizes[side]
        for one, other in ((first, second), (second, first)):
            across = counts[2] / (counts[2] - 1) * (sums[one, 0] * sums[other, 1]).sum()
            covariance[first, second] += across / (sizes[0] * sizes[1])
    return covariance


@settings(deadline=None)
@given(seed=SEEDS, images=st.integers(6, 40), levels=st.sampled_from([2, 5, 1000]), clustered=st.booleans())
def test_areas_and_their_covariance_equal_their_definition(
    seed: int, images: int, levels: int, clustered: bool
) -> None:
    generator = np.random.default_rng(seed)
    positive = generator.random(images) < 0.4
    scores = [generator.integers(0, levels, images) + 0.5 * levels * positive for _ in range(3)]
    clusters = generator.integers(0, images // 3, images) if clustered else np.arange(images)
    assume(min(len(np.unique(clusters[chosen])) for chosen in (positive, ~positive)) >= 2)
    areas, covariance = estimate_areas(positive, scores, clusters if clustered else None)
    np.testing.assert_allclose(areas, [compare_pairs(positive, score).mean() for score in scores])
    np.testing.assert_allclose(covariance, reference_covariance(positive, scores, clusters), atol=1e-12)


def test_delongs_test_equals_the_published_example() -> None:
    """The example of DeLong, DeLong and Clarke-Pearson (1988), as computed by PROC LOGISTIC (SAS/STAT user's guide)."""
    albumin, protein, score, helped = OVARIAN_CANCER.T
    positive, score = helped == 1, 10 - score
    areas, covariance = estimate_areas(positive, [albumin, score, protein])
    assert areas == pytest.approx([0.7366, 0.7258, 0.6478], abs=5e-5)
    assert np.sqrt(np.diag(covariance)) == pytest.approx([0.0927, 0.1028, 0.1000], abs=5e-5)
    for other, difference, error, interval, p in (
        (albumin, 0.0108, 0.0953, (-0.1761, 0.1976), 0.9102),
        (protein, -0.0780, 0.1046, (-0.2830, 0.1271), 0.4561),
    ):
        found = compare_areas(positive, score, other)
        assert found is not None
        assert found.interval is not None
        assert found.difference == pytest.approx(difference, abs=5e-5)
        variance = found.covariance[0, 0] + found.covariance[1, 1] - 2 * found.covariance[0, 1]
        assert np.sqrt(variance) == pytest.approx(error, abs=5e-5)
        assert found.interval == pytest.approx(interval, abs=5e-5)
        assert found.p == pytest.approx(p, abs=5e-5)


def test_areas_that_cannot_be_compared_have_no_p_value() -> None:
    positive = np.arange(10) >= 5
    right, wrong = np.arange(10.0), -np.arange(10.0)
    assert compare_areas(np.ones(4, bool), np.arange(4.0), np.arange(4.0)) is None
    same = compare_areas(positive, np.arange(10) % 3.0, np.arange(10) % 3.0)
    assert same is not None
    assert (same.difference, same.p, same.interval) == (0, 1, None)
    perfect = compare_areas(positive, right, 2 * right + 1)
    assert perfect is not None
    assert (perfect.areas, perfect.p, perfect.interval) == ((1, 1), 1, None)
    opposite = compare_areas(positive, right, wrong)
    assert opposite is not None
    assert (opposite.difference, opposite.p, opposite.interval) == (-1, None, None)
    alone = compare_areas(np.arange(10) == 9, right, np.arange(10) % 4.0)
    assert alone is not None
    assert (alone.p, alone.interval) == (None, None), "one positive image"


@given(values=st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_midranks_equal_those_of_scipy(values: list[int]) -> None:
    np.testing.assert_array_equal(midranks(np.array(values)), stats.rankdata(values))


@given(table=st.lists(st.integers(0, 40), min_size=4, max_size=4))
def test_mcnemars_test_equals_that_of_statsmodels(table: list[int]) -> None:
    both, first_only, second_only, none = table
    first = np.repeat([True, True, False, False], [both, first_only, second_only, none])
    second = np.repeat([True, False, True, False], [both, first_only, second_only, none])
    expected = reference_mcnemar([[both, first_only], [second_only, none]], exact=True).pvalue
    assert mcnemar(first, second) == pytest.approx(expected, abs=1e-12)
    assert mcnemar(first, second, np.arange(len(first))) == pytest.approx(expected, abs=1e-12)


@given(seed=SEEDS, clusters=st.integers(1, 9))
def test_mcnemars_test_for_clusters_counts_all_exchanges(seed: int, clusters: int) -> None:
    generator = np.random.default_rng(seed)
    cluster_of_image = generator.integers(0, clusters, 25)
    first, second = generator.random((2, 25)) < [[0.5], [0.8]]
    sums = [int(second[cluster_of_image == name].sum()) - int(first[cluster_of_image == name].sum())
            for name in range(clusters)]  # fmt: skip
    exchanged = [abs(np.dot(signs, sums)) for signs in product((-1, 1), repeat=clusters)]
    expected = np.mean([value >= abs(sum(sums)) for value in exchanged])
    assert mcnemar(first, second, cluster_of_image) == pytest.approx(expected, abs=1e-12)


def test_mcnemars_test_for_clusters_keeps_its_level() -> None:
    """Two equally good classifiers on 40 patients of five images, on which each is mostly right or mostly wrong."""
    generator = np.random.default_rng(0)
    patients = np.repeat(np.arange(40), 5)
    p = []
    for _ in range(400):
        chance = generator.choice([0.1, 0.95], (2, 40))[:, patients]
        first, second = generator.random((2, 200)) < chance
        p.append((mcnemar(first, second, patients), mcnemar(first, second)))
    with_patients, without = (np.array(p) < 0.05).mean(axis=0)
    assert with_patients < 0.075
    assert without > 0.2, "images of a patient are not independent"


@st.composite
def binary_predictions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw logits, classes and weights of images."""
    generator = np.random.default_rng(draw(SEEDS))
    images = draw(st.integers(8, 80))
    logits = generator.normal(draw(st.sampled_from([-3, 0, 1])), draw(st.sampled_from([0.1, 1, 5])), images)
    positive = generator.random(images) < 1 / (1 + np.exp(-draw(st.sampled_from([0.2, 0.7, 2])) * logits))
    return logits, positive, generator.integers(0, 3, (images, 4)).astype(float)


def fit_reference(design: np.ndarray, positive: np.ndarray, weights: np.ndarray, **options: object) -> np.ndarray:
    model = sm.GLM(positive.astype(float), design, sm.families.Binomial(), freq_weights=weights, **options)
    return np.asarray(model.fit(tol=1e-12, maxiter=200).params)


@settings(max_examples=60, deadline=None)
@given(case=binary_predictions())
def test_calibration_slope_and_intercept_equal_those_of_statsmodels(
    case: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    logits, positive, weights = case
    slopes, intercepts = (function(*case) for function in (calibration_slopes, calibration_intercepts))
    for index, weight in enumerate(weights.T):
        used = weight > 0
        if len(np.unique(positive[used])) < 2:
            assert np.isnan([slopes[index], intercepts[index]]).all()
            continue
        expected = fit_reference(np.ones((used.sum(), 1)), positive[used], weight[used], offset=logits[used])
        assert intercepts[index] == pytest.approx(expected[0], abs=1e-6)
        low, high = logits[used & ~positive], logits[used & positive]
        if low.max() < high.min():
            assert slopes[index] == np.inf
        elif high.max() < low.min():
            assert slopes[index] == -np.inf
        else:
            expected = fit_reference(sm.add_constant(logits[used]), positive[used], weight[used])
            assert slopes[index] == pytest.approx(expected[1], rel=1e-5, abs=1e-6)


def test_calibration_is_that_of_the_simulated_probabilities() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, 200_000)
    positive = generator.random(len(logits)) < 1 / (1 + np.exp(-(0.5 * logits - 0.3)))
    ones = np.ones((len(logits), 1))
    assert calibration_slopes(logits, positive, ones)[0] == pytest.approx(0.5, abs=0.01)
    assert calibration_intercepts(logits, positive, ones)[0] == pytest.approx(-0.37, abs=0.05)


def test_certain_or_equal_probabilities_are_finite_or_not_defined() -> None:
    assert binary_logits(np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])).tolist() == [MAX_LOGIT, -MAX_LOGIT, 0]
    assert binary_logits(np.array([[1 - 1e-7, 1e-7]]))[0] == pytest.approx(np.log(1e-7), abs=1e-6)
    equal, classes, ones = np.full(4, 0.3), np.array([True, False, True, False]), np.ones((4, 1))
    assert np.isnan(calibration_slopes(equal, classes, ones)).all()
    assert calibration_intercepts(equal, classes, ones)[0] == pytest.approx(-0.3)
    tied = np.array([0.0, 1.0, 1.0, 2.0])
    assert calibration_slopes(tied, np.array([False, False, True, True]), ones)[0] == np.inf, "no finite maximum"
    certain = np.array([MAX_LOGIT] * 5 + [-MAX_LOGIT] * 5)
    found = calibration_slopes(certain, np.array([True] * 4 + [False] * 5 + [True]), np.ones((10, 1)))
    assert found[0] == pytest.approx(2 * np.log(4) / (2 * MAX_LOGIT))


@given(seed=SEEDS, images=st.integers(1, 60), bins=st.sampled_from([1, 5, 15]))
def test_the_components_of_the_brier_score_sum_to_it(seed: int, images: int, bins: int) -> None:
    generator = np.random.default_rng(seed)
    probabilities, positive = generator.random(images), generator.random(images) < 0.4
    found = decompose_brier_score(positive, probabilities, np.floor(probabilities * bins))
    total = found.reliability - found.resolution + found.uncertainty + found.within_bins
    assert total == pytest.approx(((probabilities - positive) ** 2).mean(), abs=1e-12)
    assert min(found.reliability, found.resolution, found.uncertainty) >= 0


def test_the_brier_score_of_a_forecast_is_decomposed_by_hand() -> None:
    """Two probabilities: 0.2 for four images, one of them positive, and 0.8 for two, both positive."""
    probabilities, positive = np.array([0.2] * 4 + [0.8] * 2), np.array([1, 0, 0, 0, 1, 1]) == 1
    found = decompose_brier_score(positive, probabilities, probabilities)
    assert found.reliability == pytest.approx((4 * 0.05**2 + 2 * 0.2**2) / 6)
    assert found.resolution == pytest.approx((4 * 0.25**2 + 2 * 0.5**2) / 6)
    assert (found.uncertainty, found.within_bins) == (pytest.approx(0.25), pytest.approx(0))


@given(seed=SEEDS, images=st.integers(1, 60), kind=st.sampled_from(["random", "tied", "one class"]))
def test_the_net_benefit_equals_its_definition(seed: int, images: int, kind: str) -> None:
    generator = np.random.default_rng(seed)
    probabilities = generator.integers(0, 11, images) / 10 if kind == "tied" else generator.random(images)
    positive = np.full(images, seed % 2 == 0) if kind == "one class" else generator.random(images) < 0.3
    found = decision_curve(positive, probabilities)
    for threshold, model, treat_all in zip(found.thresholds, found.model, found.treat_all, strict=True):
        treated = probabilities >= threshold
        odds = threshold / (1 - threshold)
        assert model == pytest.approx((treated & positive).mean() - odds * (treated & ~positive).mean(), abs=1e-12)
        assert treat_all == pytest.approx(positive.mean() - odds * (~positive).mean(), abs=1e-12)


@pytest.mark.parametrize("function", [calibration_slopes, calibration_intercepts])
def test_a_bootstrap_of_the_calibration_converges_in_every_resample(
    function: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
) -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, 150)
    positive = generator.random(150) < 1 / (1 + np.exp(-logits))
    weights = generator.multinomial(150, np.full(150, 1 / 150), 500).T.astype(float)
    assert np.isfinite(function(logits, positive, weights)).all()
