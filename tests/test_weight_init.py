"""Weights sampled in the background have the distribution of the layers' own initializers and are reproducible."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
from scipy import stats

from keras_cnns import build
from keras_cnns.networks.weight_init import (
    CHUNK,
    CHUNKS_AHEAD,
    MIN_PARAMETERS,
    SOURCE,
    sample_chunk,
    sample_chunks,
    sampling_ahead,
)

ARGUMENTS = {"input_shape": (16, 16, 3), "classes": 2}


def kernels(seed: int) -> list[np.ndarray]:
    keras.utils.set_random_seed(seed)
    model = build("resnet18", **ARGUMENTS)
    assert model.count_params() > MIN_PARAMETERS
    return [layer.get_weights()[0] for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]


def test_equal_seeds_give_equal_weights_and_other_seeds_other_weights() -> None:
    for one, same, different in zip(kernels(1), kernels(1), kernels(2), strict=True):
        np.testing.assert_array_equal(one, same)
        assert (one != different).mean() > 0.99


def test_kernels_are_gaussian_with_the_variance_of_the_fan_out_and_uncorrelated() -> None:
    scaled = []
    for kernel in kernels(3):
        height, width, _, filters = kernel.shape
        scaled.append(kernel.ravel() * np.sqrt(height * width * filters / 2.0))
    for values in scaled:
        assert stats.kstest(values, "norm").pvalue > 1e-4
    everything = np.concatenate(scaled)
    assert len(np.unique(everything)) > 0.8 * len(everything)
    for distance in (1, CHUNK):
        assert abs(np.corrcoef(everything[:-distance], everything[distance:])[0, 1]) < 5 / np.sqrt(len(everything))


def test_a_layer_keeps_its_keras_initializer() -> None:
    layer = build("resnet18", **ARGUMENTS).get_layer("stem_conv")
    assert layer.get_config()["kernel_initializer"]["class_name"] == "VarianceScaling"


def test_numbers_continue_across_chunks_and_the_thread_ends() -> None:
    with ThreadPoolExecutor(1) as executor:
        chunks = sample_chunks(executor, seed=7)
        expected = np.concatenate([sample_chunk(7, index) for index in range(CHUNKS_AHEAD + 3)])
        np.testing.assert_array_equal(np.concatenate([next(chunks) for _ in range(CHUNKS_AHEAD + 3)]), expected)
    keras.utils.set_random_seed(4)
    with sampling_ahead(MIN_PARAMETERS):
        source = SOURCE.get()
        assert source is not None
        parts = [source.take(count, 2.0) for count in (1, CHUNK - 1, CHUNK + 7, 3, CHUNKS_AHEAD * CHUNK)]
    keras.utils.set_random_seed(4)
    with sampling_ahead(MIN_PARAMETERS):
        again = SOURCE.get()
        assert again is not None
        whole = again.take(sum(map(len, parts)), 1.0)
    np.testing.assert_array_equal(np.concatenate(parts), 2.0 * whole)
    assert SOURCE.get() is None
    with pytest.raises(RuntimeError, match="shutdown"):
        source.take(CHUNKS_AHEAD * CHUNK, 1.0)


def test_small_networks_do_not_sample_in_the_background() -> None:
    with sampling_ahead(MIN_PARAMETERS - 1):
        assert SOURCE.get() is None
