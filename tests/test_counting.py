"""Counts from settings alone equal those of the built graph, for every variant and for any legal settings."""

from __future__ import annotations

import math
from typing import Any

import keras
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import DISTINCT, side_for, small_settings

from keras_cnns import Counts, build, count, profile
from keras_cnns.errors import ImageSizeError, SettingError
from keras_cnns.networks.counting import CostCounter, SymbolicTensor
from keras_cnns.networks.operations import convolution
from keras_cnns.networks.registry import HINTS, all_families
from keras_cnns.networks.settings import Choice, FloatRange, IntRange, NoneOr, TupleOf

FAMILIES = sorted(all_families())
EVERY_SETTING = [
    (family, name)
    for family in FAMILIES
    for name in all_families()[family].variants[all_families()[family].search.base].settings.domains()
]


def costs(counts: Counts) -> tuple[int, int, int]:
    return counts.trainable_parameters, counts.total_parameters, counts.macs


@pytest.mark.parametrize("name", DISTINCT)
def test_counts_equal_the_graph_of_a_small_network(name: str) -> None:
    side = side_for(name)
    arguments: dict[str, Any] = {"input_shape": (side, side + 3, 2), "classes": 3, **small_settings(name)}
    assert costs(count(name, **arguments)) == costs(profile(build(name, **arguments)))


def small_values(domain: Any) -> st.SearchStrategy[Any]:
    """Legal values that make networks small: the low end of widths and depths."""
    match domain:
        case Choice(values=known):
            return st.sampled_from(known)
        case IntRange(low=low, high=high, step=step):
            return st.sampled_from([low + step * index for index in range(5) if low + step * index <= high])
        case FloatRange(low=low, high=high):
            return st.floats(low, min(high, max(low, 1.0)))
        case TupleOf(item=item, min_length=min_length, max_length=max_length):
            longest = min(max_length, min_length + 3)
            return st.lists(small_values(item), min_size=min_length, max_size=longest).map(tuple)
        case NoneOr(domain=inner):
            return st.none() | small_values(inner)
    raise AssertionError(f"no values for {domain}")


@st.composite
def networks(draw: st.DrawFn, family: str) -> tuple[str, dict[str, Any]]:
    """A small variant of a family with up to six settings changed."""
    found = all_families()[family]
    name = draw(st.sampled_from(sorted(found.variants)))
    domains = found.variants[name].settings.domains()
    changed = draw(st.sets(st.sampled_from(sorted(domains)), max_size=6))
    return name, {**small_settings(name), **{field: draw(small_values(domains[field])) for field in sorted(changed)}}


def count_error(name: str, **arguments: Any) -> SettingError | None:
    try:
        count(name, **arguments)
    except SettingError as error:
        return error
    return None


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_any_legal_settings_build_a_network_with_the_counted_cost(family: str) -> None:
    @settings(max_examples=25, deadline=None)
    @given(
        network=networks(family),
        shape=st.tuples(st.integers(1, 90), st.integers(20, 90), st.integers(1, 4)),
        classes=st.integers(1, 5),
    )
    def check(network: tuple[str, dict[str, Any]], shape: tuple[int, int, int], classes: int) -> None:
        name, changes = network
        error = count_error(name, input_shape=shape, classes=classes, **changes)
        if error is not None:
            assert str(error).startswith(f"{name}: ")
            assert "\n" not in str(error)
            assert isinstance(error, ImageSizeError) == ("smallest that works" in str(error))
            with pytest.raises(type(error)):
                build(name, input_shape=shape, classes=classes, **changes)
            return
        counts = count(name, input_shape=shape, classes=classes, **changes)
        model = build(name, input_shape=shape, classes=classes, **changes)
        assert costs(counts) == costs(profile(model))
        assert model.output_shape == (None, classes)

    check()


@pytest.mark.parametrize(("family", "setting"), EVERY_SETTING)
@pytest.mark.parametrize("value", [object(), -1, math.nan, "no such value", (), (0, -1)])
def test_an_illegal_value_of_any_setting_is_rejected_with_the_legal_values(
    family: str, setting: str, value: Any
) -> None:
    found = all_families()[family]
    domain = found.variants[found.search.base].settings.domain(setting)
    if value == () and isinstance(domain, TupleOf) and domain.min_length == 0:
        pytest.skip("an empty tuple is legal for this setting")
    error = count_error(found.search.base, **{setting: value})
    assert str(error).startswith(f"{found.search.base}: {setting} must be {domain}, not ")
    assert "\n" not in str(error)


@pytest.mark.parametrize("argument", HINTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_argument_of_another_library_is_rejected_with_a_hint(family: str, argument: str) -> None:
    name = all_families()[family].search.base
    error = count_error(name, **{argument: None})
    assert str(error) == f"{name}: {argument} is not a setting: {HINTS[argument]}."
    if argument != "classifier_activation":
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
