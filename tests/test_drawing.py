"""Weights drawn ahead are those that the layers' own initialisers describe, and the same for a seed."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from scipy import stats

from keras_cnns import build
from keras_cnns.networks.weight_init import AHEAD, CHUNK, SOURCE, WORTH_A_THREAD, drawing_ahead

LARGE = {"input_shape": (16, 16, 3), "classes": 2}


def kernels(seed: int) -> list[np.ndarray]:
    keras.utils.set_random_seed(seed)
    model = build("resnet18", **LARGE)
    assert model.count_params() > WORTH_A_THREAD
    return [layer.get_weights()[0] for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]


def test_a_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first, again, other = kernels(1), kernels(1), kernels(2)
    for one, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one, same)
        assert (one != different).mean() > 0.99


def test_kernels_are_gaussian_with_the_variance_of_the_fan_out_and_not_correlated() -> None:
    scaled = []
    for kernel in kernels(3):
        height, width, _, made = kernel.shape
        scaled.append(kernel.ravel() * np.sqrt(height * width * made / 2.0))
    for values in scaled:
        assert stats.kstest(values, "norm").pvalue > 1e-4
    everything = np.concatenate(scaled)
    assert len(np.unique(everything)) > 0.8 * len(everything)
    for distance in (1, CHUNK):
        assert abs(np.corrcoef(everything[:-distance], everything[distance:])[0, 1]) < 5 / np.sqrt(len(everything))


def test_a_layer_keeps_an_initialiser_that_keras_knows() -> None:
    layer = build("resnet18", **LARGE).get_layer("stem_conv")
    assert layer.get_config()["kernel_initializer"]["class_name"] == "VarianceScaling"


def test_numbers_go_on_over_chunks_and_no_thread_is_left() -> None:
    with drawing_ahead(WORTH_A_THREAD):
        source = SOURCE.get()
        assert source is not None
        whole = np.concatenate([source.draw_chunk(number) for number in range(AHEAD + 3)])
        parts = [source.take(count, 2.0) for count in (1, CHUNK - 1, CHUNK + 7, 3, AHEAD * CHUNK)]
    taken = np.concatenate(parts)
    np.testing.assert_array_equal(taken, 2.0 * whole[: len(taken)])
    assert SOURCE.get() is None
    with pytest.raises(RuntimeError, match="shutdown"):
        source.take(AHEAD * CHUNK, 1.0)


def test_small_networks_draw_for_themselves() -> None:
    with drawing_ahead(WORTH_A_THREAD - 1):
        assert SOURCE.get() is None
