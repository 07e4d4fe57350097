"""Tests that every family of networks must pass. Networks are tested in small versions."""

from __future__ import annotations

import importlib.util
import math
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_cnns.errors import ImageSizeError, SettingError, WeightsError
from keras_cnns.lazy import keras
from keras_cnns.networks.counting import Counts
from keras_cnns.networks.description import DIFFERENCES, IDEA, describe_settings, find_paragraph
from keras_cnns.networks.family import Family
from keras_cnns.networks.feature_maps import feature_maps_by_stride
from keras_cnns.networks.features import features
from keras_cnns.networks.layouts import KERAS
from keras_cnns.networks.profiling import profile
from keras_cnns.networks.recipe import Recipe
from keras_cnns.networks.registry import all_families, build, count, smallest_side
from keras_cnns.networks.settings import Choice, Domain, FloatRange, IntRange, NoneOr, TupleOf
from keras_cnns.networks.weights import from_state_dict, to_state_dict
from keras_cnns.testing.small_networks import (
    CLASSES,
    build_small,
    covering_variants,
    distinct_variants,
    make_images,
    shared_small,
    small_settings,
    small_side,
)

ILLEGAL_VALUES = (object(), -1, math.nan, "no such value", (), (0, -1))
BACKENDS = {"tensorflow": 1e-5, "jax": 1e-4, "torch": 1e-4}
"""The backends of Keras on which saved networks are tested, with the largest relative difference of outputs."""
LOAD = """
import sys
from pathlib import Path
import keras, numpy as np
import keras_cnns
folder, tolerance = Path(sys.argv[1]), float(sys.argv[2])
for path in sorted(folder.glob("*.keras")):
    model = keras.saving.load_model(path)
    stored = np.load(path.with_suffix(".npz"))
    images = stored["images"]
    # Compilation is faster than eager execution in JAX.
    compiled = keras.backend.backend() == "jax"
    outputs = model.predict(images, verbose=0) if compiled else keras.ops.convert_to_numpy(model(images))
    assert np.abs(outputs - stored["outputs"]).max() <= tolerance * np.abs(stored["outputs"]).max(), path.stem
    print(path.stem)
"""


def legal_small_values(domain: Domain) -> st.SearchStrategy[Any]:
    """Return a strategy for legal values that make networks small: the low end of widths and numbers of layers."""
    match domain:
        case Choice(values=values):
            return st.sampled_from(values)
        case IntRange(low=low, high=high, step=step):
            return st.sampled_from([low + step * index for index in range(3) if low + step * index <= high])
        case FloatRange(low=low, high=high):
            return st.floats(low, min(high, max(low, 1.0)))
        case TupleOf(item=item, min_length=min_length, max_length=max_length):
            longest = min(max_length, min_length + 2)
            return st.lists(legal_small_values(item), min_size=min_length, max_size=longest).map(tuple)
        case NoneOr(domain=inner):
            return st.none() | legal_small_values(inner)
    raise AssertionError(f"no values for {domain}")


@st.composite
def small_networks(draw: st.DrawFn, family: Family) -> tuple[str, dict[str, Any]]:
    """Draw a small variant of a family with up to six settings changed."""
    name = draw(st.sampled_from(sorted(family.variants)))
    domains = family.variants[name].settings.domains()
    changed = draw(st.sets(st.sampled_from(sorted(domains)), max_size=6))
    drawn = {setting: draw(legal_small_values(domains[setting])) for setting in sorted(changed)}
    return name, {**small_settings(name), **drawn}


def find_count_error(name: str, **arguments: Any) -> SettingError | None:
    """Return the error that `count` raises for these arguments, or None."""
    try:
        count(name, **arguments)
    except SettingError as error:
        return error
    return None


def costs(counts: Counts) -> tuple[int, int, int]:
    """Return trainable parameters, all parameters and multiply-accumulates."""
    return counts.trainable_parameters, counts.total_parameters, counts.macs


def train_step(model: Any, images: np.ndarray) -> tuple[Any, list[Any]]:
    """Take a step of SGD and return the outputs of the network and its gradients as arrays."""
    import tensorflow as tf  # noqa: PLC0415 - only this test needs a gradient tape

    with tf.GradientTape() as tape:
        outputs = model(images, training=True)
        loss = -tf.reduce_mean(tf.math.log(outputs[:, 1] + 1e-6))
    return outputs, tape.gradient(loss, model.trainable_variables)


def save_with_outputs(model: Any, name: str, folder: Path) -> None:
    """Save a small network, random images and its outputs for them."""
    batch = make_images(2, side=small_side(name))
    model.save(folder / f"{name}.keras")
    np.savez(folder / f"{name}.npz", images=batch, outputs=np.asarray(model(batch)))


def load_in_new_process(folder: Path, backend: str) -> list[str]:
    """Load all saved networks in a process that imports only Keras and keras-cnns, and return their names in order.

    Raises:
        AssertionError: One of them cannot be loaded, or has other outputs.
    """
    fast_to_compile = {"KERAS_BACKEND": backend, "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    loaded = subprocess.run(  # noqa: S603
        [sys.executable, "-c", LOAD, str(folder), str(BACKENDS[backend])],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **fast_to_compile},
    )
    assert loaded.returncode == 0, loaded.stderr[-2000:]
    return sorted(loaded.stdout.split())


@contextmanager
def channels_first() -> Iterator[None]:
    """Set Keras's global image data format to channels first."""
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        yield
    finally:
        keras.config.set_image_data_format(before)


def sample_value(domain: Domain, generator: random.Random) -> Any:
    """Return a random value of a search domain."""
    match domain:
        case Choice(values=values):
            return generator.choice(values)
        case IntRange(low=low, high=high, step=step):
            return generator.randrange(low, high + 1, step)
        case FloatRange(low=low, high=high):
            return generator.uniform(low, high)
    raise AssertionError(f"{domain} cannot be searched; use a Choice, an IntRange or a FloatRange")


class FamilyTests:
    """Tests of families. Subclass it, with a name that begins with `Test`, and list the families.

    Attributes:
        families: The families to test.
    """

    families: ClassVar[Sequence[Family]] = ()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a test for each family, variant or backend, by the names of the test's arguments."""
        if "family" in metafunc.fixturenames:
            metafunc.parametrize("family", self.families, ids=lambda family: family.name)
        if "variant" in metafunc.fixturenames:
            metafunc.parametrize("variant", distinct_variants(self.families))
        if "backend" in metafunc.fixturenames:
            others = [name for name in BACKENDS if importlib.util.find_spec(name) and name != keras.backend.backend()]
            metafunc.parametrize("backend", others or [keras.backend.backend()])

    def test_a_family_is_registered_and_complete(self, family: Family) -> None:
        """`build` finds it, and it has papers, documented settings, valid results and a recipe or a reason for none."""
        assert all_families()[family.name] is family
        assert family.variants
        for paper in family.papers:
            assert paper.title
            assert paper.authors
        assert find_paragraph(family.about, IDEA)
        assert find_paragraph(family.about, DIFFERENCES)
        for setting in describe_settings(family.variants[family.search.base].settings):
            assert setting.meaning, f"the docstring of the settings does not explain {setting.name}"
        assert {result.variant for result in family.results} <= set(family.variants)
        assert isinstance(family.paper_recipe, Recipe) or family.paper_recipe
        for block in family.blocks:
            assert block.__doc__, block.__name__
        for shown in family.diagrams.values():
            if isinstance(shown, str):
                assert shown in family.variants
            else:
                shown.function(keras.Input(shown.input_shape), **shown.arguments)

    def test_the_search_space_is_legal(self, family: Family) -> None:
        """Each value is legal, and most candidates build a network: the others violate `check_together`."""
        base = family.variants[family.search.base]
        generator = random.Random(0)  # noqa: S311
        legal = 0
        assert family.search.domains
        for _ in range(50):
            candidate = {name: sample_value(domain, generator) for name, domain in family.search.domains.items()}
            for name, value in candidate.items():
                base.settings.domain(name).check(value)
            error = find_count_error(family.search.base, **candidate)
            assert "\n" not in str(error)
            legal += error is None
        assert legal > 0

    def test_the_variants_count_their_cost(self, family: Family) -> None:
        """The cost of every variant is known without building it."""
        for name, variant in family.variants.items():
            assert variant.classes > 0
            assert min(costs(count(name))) > 0, name

    def test_an_illegal_value_of_a_setting_is_rejected_with_the_legal_values(self, family: Family) -> None:
        """The message names the network, the setting and its domain, in one line."""
        base = family.search.base
        for setting, domain in family.variants[base].settings.domains().items():
            for value in ILLEGAL_VALUES:
                if value == () and isinstance(domain, TupleOf) and domain.min_length == 0:
                    continue
                error = str(find_count_error(base, **{setting: value}))
                assert error.startswith(f"{base}: {setting} must be {domain}, not ")
                assert "\n" not in error

    def test_any_legal_settings_build_a_network_with_the_counted_cost(self, family: Family) -> None:
        """Whatever `count` accepts can be built and has the counted cost; whatever it rejects, `build` rejects."""

        @settings(max_examples=20, deadline=None)
        @given(
            network=small_networks(family),
            shape=st.tuples(st.integers(1, 90), st.integers(20, 90), st.integers(1, 4)),
            classes=st.integers(1, 5),
        )
        def check(network: tuple[str, dict[str, Any]], shape: tuple[int, int, int], classes: int) -> None:
            name, changes = network
            arguments = {"input_shape": shape, "classes": classes, **changes}
            error = find_count_error(name, **arguments)
            if error is None:
                model = build(name, **arguments)
                assert costs(count(name, **arguments)) == costs(profile(model))
                assert model.output_shape == (None, classes)
                return
            assert str(error).startswith(f"{name}: ")
            assert "\n" not in str(error)
            assert isinstance(error, ImageSizeError) == ("smallest that works" in str(error))
            with pytest.raises(type(error)):
                build(name, **arguments)

        check()

    def test_the_image_data_format_does_not_change_a_network(self, family: Family) -> None:
        """Networks take channels-last images, whatever Keras's global setting is."""
        name = family.search.base
        expected, images = shared_small(name), make_images(2, side=small_side(name))
        with channels_first():
            model = build_small(name)
            assert [layer.get_config() for layer in model.layers] == [layer.get_config() for layer in expected.layers]
            model.set_weights(expected.get_weights())
            outputs = np.asarray(model(images))
        np.testing.assert_array_equal(outputs, np.asarray(expected(images)))

    def test_weights_survive_a_transfer_to_each_library_of_its_layouts(self, family: Family) -> None:
        """For each state-dict library of a layout, one of the variants can be exported and imported again."""
        libraries = {library for layout in family.layouts for library in layout.libraries} - {KERAS}
        transferred: set[str] = set()
        for name in distinct_variants((family,)):
            for library in sorted(libraries - transferred):
                model = shared_small(name)
                try:
                    state = to_state_dict(model, library)
                except WeightsError:  # the library has no counterpart of this variant
                    continue
                copy = build_small(name)
                from_state_dict(copy, state, layout=library)
                for weight, expected in zip(copy.get_weights(), model.get_weights(), strict=True):
                    np.testing.assert_array_equal(weight, expected)
                transferred.add(library)
        assert transferred == libraries

    def test_the_classifier_activation_is_applied_to_the_logits(self, family: Family) -> None:
        """`classifier_activation=None` returns the logits of the same network."""
        name = family.search.base
        model, logits = shared_small(name), build_small(name, classifier_activation=None)
        logits.set_weights(model.get_weights())
        batch = make_images(2, side=small_side(name))
        expected = np.asarray(keras.ops.softmax(logits(batch)))
        np.testing.assert_allclose(np.asarray(model(batch)), expected, rtol=1e-4, atol=1e-6)

    def test_without_its_classifier_it_has_feature_maps_for_images_of_any_size(self, family: Family) -> None:
        """`include_top=False` with `(None, None, 3)` gives what a network of a fixed size pools."""
        name, side = family.search.base, small_side(family.search.base) + 1
        any_size = build_small(name, input_shape=(None, None, 3), include_top=False)
        pooled = build_small(name, side=side, include_top=False, pooling="avg")
        pooled.set_weights(any_size.get_weights())
        names = [{layer.name for layer in model.layers if layer.weights} for model in (any_size, shared_small(name))]
        assert names[0] < names[1]
        batch = make_images(2, side=side)
        maps = np.asarray(any_size(batch))
        assert maps.ndim == 4
        np.testing.assert_allclose(np.asarray(pooled(batch)), maps.mean(axis=(1, 2)), rtol=1e-4, atol=1e-5)

    def test_the_classifier_works_for_images_of_any_size_or_is_refused(self, family: Family) -> None:
        """Networks without dense layers on feature maps give the same outputs; others name the alternative."""
        name = family.search.base
        fixed, batch = shared_small(name), make_images(2, side=small_side(name))
        if any(isinstance(layer, keras.layers.Flatten) for layer in fixed.layers):
            with pytest.raises(
                ImageSizeError, match=rf"{name}: images of any size do not work: .* include_top=False\.$"
            ):
                build_small(name, input_shape=(None, None, 3))
            return
        model = build_small(name, input_shape=(None, None, 3))
        model.set_weights(fixed.get_weights())
        np.testing.assert_allclose(np.asarray(model(batch)), np.asarray(fixed(batch)), rtol=1e-4, atol=1e-6)

    def test_has_a_feature_pyramid_through_which_gradients_flow(self, family: Family) -> None:
        """The feature maps at each stride have this resolution, and the loss on them trains all layers before them."""
        import tensorflow as tf  # noqa: PLC0415 - only this test and those of training need a gradient tape

        model, side = shared_small(family.search.base), small_side(family.search.base)
        strides = sorted(feature_maps_by_stride(model))
        pyramid = features(model, strides=strides)
        with tf.GradientTape() as tape:
            outputs = pyramid(make_images(2, side=side), training=True)
            loss = sum(tf.reduce_sum(maps * maps) for maps in outputs.values())
        gradients = tape.gradient(loss, pyramid.trainable_variables)
        assert strides
        assert all(gradient is not None for gradient in gradients)
        for stride in strides:
            assert 0 < outputs[f"stride{stride}"].shape[1] <= math.ceil(side / stride) + 1
        with pytest.raises(SettingError, match=f"at stride 7; it has {', '.join(map(str, strides))}"):
            features(model, strides=(*strides, 7))

    def test_accepts_the_smallest_image_size_that_it_reports_and_no_smaller_one(self, family: Family) -> None:
        """The reported size is exact."""
        for name, variant in family.variants.items():
            side = smallest_side(family, variant.settings)
            assert find_count_error(name, input_shape=(side, side, 3)) is None
            if side > 1:
                message = f"smallest that works with these settings is {side}x{side}"
                assert message in str(find_count_error(name, input_shape=(side - 1, side - 1, 3)))
        name = family.search.base
        side = smallest_side(family, family.variants[name].settings.replace(small_settings(name)))
        assert np.isfinite(np.asarray(build_small(name, side=side)(make_images(2, side=side)))).all()
        if side > 1:
            with pytest.raises(ImageSizeError, match="smallest that works"):
                build_small(name, side=side - 1)

    def test_has_the_counted_cost_and_predicts_probabilities_for_any_batch_size(self, variant: str) -> None:
        """The cost of the graph is that of the settings; the outputs for an image do not depend on its batch."""
        model = shared_small(variant)
        counts = count(variant, input_shape=model.input_shape[1:], classes=CLASSES, **small_settings(variant))
        assert costs(counts) == costs(profile(model))
        batch = make_images(5, side=small_side(variant))
        together = np.asarray(model(batch))
        assert together.shape == (5, CLASSES)
        np.testing.assert_allclose(together.sum(axis=1), 1.0, rtol=1e-5)
        np.testing.assert_allclose(np.asarray(model(batch[:1])), together[:1], rtol=1e-4, atol=1e-5)

    def test_every_weight_has_a_finite_gradient(self, variant: str) -> None:
        """A training step changes every trainable weight."""
        model = shared_small(variant)
        _, gradients = train_step(model, make_images(3, side=small_side(variant)))
        assert gradients
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
            assert gradient is not None, variable.path
            assert np.isfinite(gradient.numpy()).all(), variable.path

    def test_trains_in_mixed_precision_and_predicts_in_float32(self) -> None:
        """With bfloat16, weights, gradients and outputs are float32, and all layers have the same names."""
        for name in covering_variants(self.families):
            keras.config.set_dtype_policy("mixed_bfloat16")
            try:
                model = build_small(name)
            finally:
                keras.config.set_dtype_policy("float32")
            assert [layer.name for layer in model.layers] == [layer.name for layer in shared_small(name).layers]
            outputs, gradients = train_step(model, make_images(3, side=small_side(name)))
            assert outputs.dtype == "float32"
            for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
                assert variable.dtype == "float32"
                assert np.isfinite(gradient.numpy()).all(), variable.path

    def test_saved_networks_give_the_same_outputs_in_a_new_process(self, backend: str, tmp_path: Path) -> None:
        """Networks with all types of layers are loaded in a new process with each other backend that is installed."""
        names = covering_variants(self.families)
        for name in names:
            save_with_outputs(build_small(name, classifier_activation=None), name, tmp_path)
        assert load_in_new_process(tmp_path, backend) == sorted(names)
