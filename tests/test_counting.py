"""Arguments of `count`, and counts of single operations."""

from __future__ import annotations

import inspect

import keras
import pytest

from keras_cnns import build, count
from keras_cnns.errors import SettingError
from keras_cnns.networks.counting import CostCounter, SymbolicTensor
from keras_cnns.networks.operations import convolution
from keras_cnns.networks.registry import HINTS, all_families
from keras_cnns.testing.families import find_count_error

FAMILIES = sorted(all_families())


@pytest.mark.parametrize("argument", HINTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_argument_of_another_library_is_rejected_with_a_hint(family: str, argument: str) -> None:
    name = all_families()[family].search.base
    error = find_count_error(name, **{argument: None})
    assert str(error) == f"{name}: {argument} is not a setting: {HINTS[argument]}."
    if argument not in inspect.signature(build).parameters:
        with pytest.raises(SettingError, match="is not a setting"):
            build(name, **{argument: None})


def test_an_unknown_argument_suggests_similar_settings() -> None:
    with pytest.raises(SettingError, match=r"densenet121: unknown setting 'growth'. Did you mean 'growth_rate'"):
        count("densenet121", growth=12)


def test_a_strided_1x1_convolution_is_padded_before_it_is_subsampled() -> None:
    images = keras.Input((7, 8, 2))
    options = {"strides": 2, "padding": 4, "name": "convolution"}
    assert convolution(SymbolicTensor(7, 8, 2, CostCounter()), 3, 1, **options).shape == (None, 8, 8, 3)
    assert convolution(images, 3, 1, **options).shape == (None, 8, 8, 3)


def test_a_bottleneck_needs_a_tenth_of_the_multiply_accumulates() -> None:
    """A 5x5 convolution from 200 to 32 channels, directly and through 16 (Szegedy et al. 2015, section 4)."""
    direct, reduced = CostCounter(), CostCounter()
    convolution(SymbolicTensor(32, 32, 200, direct), 32, 5, name="direct")
    convolution(convolution(SymbolicTensor(32, 32, 200, reduced), 16, 1, name="reduce"), 32, 5, name="large")
    assert (direct.macs, reduced.macs) == (163_840_000, 16_384_000)
