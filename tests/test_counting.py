"""What is counted from settings alone is what the built graph counts, for every variant and any legal settings."""

from __future__ import annotations

import math
from typing import Any

import keras
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import DISTINCT, shrunk, side_for

from keras_cnns import Counts, build, count, profile
from keras_cnns.errors import ImageSizeError, SettingError
from keras_cnns.networks.counting import SymbolicTensor, Tally
from keras_cnns.networks.operations import convolution
from keras_cnns.networks.registry import all_families
from keras_cnns.networks.settings import Choice, FloatRange, IntRange, NoneOr, TupleOf

FAMILIES = sorted(all_families())
EVERY_SETTING = [
    (family, name)
    for family in FAMILIES
    for name in all_families()[family].variants[all_families()[family].search.base].settings.domains()
]


def costs(counted: Counts) -> tuple[int, int, int]:
    return counted.trainable_parameters, counted.total_parameters, counted.macs


@pytest.mark.parametrize("name", DISTINCT)
def test_a_count_equals_the_graph_of_a_small_version(name: str) -> None:
    side = side_for(name)
    arguments: dict[str, Any] = {"input_shape": (side, side + 3, 2), "classes": 3, **shrunk(name)}
    assert costs(count(name, **arguments)) == costs(profile(build(name, **arguments)))


def values(domain: Any) -> st.SearchStrategy[Any]:
    """Legal values that make networks small: the low end of widths and depths."""
    match domain:
        case Choice(values=known):
            return st.sampled_from(known)
        case IntRange(low=low, high=high, step=step):
            return st.sampled_from([low + step * index for index in range(5) if low + step * index <= high])
        case FloatRange(low=low, high=high):
            return st.floats(low, min(high, max(low, 1.0)))
        case TupleOf(item=item, shortest=shortest, longest=longest):
            return st.lists(values(item), min_size=shortest, max_size=min(longest, shortest + 3)).map(tuple)
        case NoneOr(domain=inner):
            return st.none() | values(inner)
    raise AssertionError(f"no values for {domain}")


@st.composite
def networks(draw: st.DrawFn, family: str) -> tuple[str, dict[str, Any]]:
    """A variant with some settings changed, all of one length where they are tuples."""
    found = all_families()[family]
    name = draw(st.sampled_from(sorted(found.variants)))
    domains = found.variants[name].settings.domains()
    changed = draw(st.sets(st.sampled_from(sorted(domains)), max_size=6))
    return name, {**shrunk(name), **{field: draw(values(domains[field])) for field in sorted(changed)}}


def refusal(name: str, **arguments: Any) -> SettingError | None:
    try:
        count(name, **arguments)
    except SettingError as error:
        return error
    return None


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_any_legal_settings_build_and_cost_what_is_counted(family: str) -> None:
    @settings(max_examples=25, deadline=None)
    @given(
        network=networks(family),
        shape=st.tuples(st.integers(1, 90), st.integers(20, 90), st.integers(1, 4)),
        classes=st.integers(1, 5),
    )
    def holds(network: tuple[str, dict[str, Any]], shape: tuple[int, int, int], classes: int) -> None:
        name, chosen = network
        refused = refusal(name, input_shape=shape, classes=classes, **chosen)
        if refused is not None:
            assert str(refused).startswith(f"{name}: ")
            assert "\n" not in str(refused)
            assert isinstance(refused, ImageSizeError) == ("smallest that works" in str(refused))
            with pytest.raises(type(refused)):
                build(name, input_shape=shape, classes=classes, **chosen)
            return
        counted = count(name, input_shape=shape, classes=classes, **chosen)
        model = build(name, input_shape=shape, classes=classes, **chosen)
        assert costs(counted) == costs(profile(model))
        assert model.output_shape == (None, classes)

    holds()


@pytest.mark.parametrize(("family", "setting"), EVERY_SETTING)
@pytest.mark.parametrize("value", [object(), -1, math.nan, "no such value", (), (0, -1)])
def test_an_illegal_value_of_any_setting_is_refused_with_what_is_legal(family: str, setting: str, value: Any) -> None:
    found = all_families()[family]
    domain = found.variants[found.search.base].settings.domain(setting)
    if value == () and isinstance(domain, TupleOf) and domain.shortest == 0:
        pytest.skip("an empty tuple is legal here")
    refused = refusal(found.search.base, **{setting: value})
    assert str(refused).startswith(f"{found.search.base}: {setting} must be {domain}, not ")
    assert "\n" not in str(refused)


def test_padding_comes_before_the_pixels_that_a_strided_1x1_convolution_skips() -> None:
    maps = keras.Input((7, 8, 2))
    tally = Tally()
    options = {"strides": 2, "padding": 4, "name": "convolution"}
    assert convolution(SymbolicTensor(7, 8, 2, tally), 3, 1, **options).shape == (None, 8, 8, 3)
    assert convolution(maps, 3, 1, **options).shape == (None, 8, 8, 3)


def test_the_bottleneck_example_needs_a_tenth() -> None:
    """A 5x5 convolution of 200 maps to 32, directly and through 16 (Szegedy et al. 2015, section 4, the idea)."""
    direct, reduced = Tally(), Tally()
    convolution(SymbolicTensor(32, 32, 200, direct), 32, 5, name="direct")
    convolution(convolution(SymbolicTensor(32, 32, 200, reduced), 16, 1, name="reduce"), 32, 5, name="large")
    assert (direct.macs, reduced.macs) == (163_840_000, 16_384_000)
