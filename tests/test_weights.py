"""Weight transfer between our networks and other libraries copies all weights or none and keeps the outputs."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import safetensors.numpy

from keras_cnns import build, strip_auxiliary, weights
from keras_cnns.errors import WeightsError
from keras_cnns.networks.weights import from_keras, from_state_dict, to_state_dict
from keras_cnns.networks.weights.transfer import BATCH_COUNTER, find_layout, make_entries

# Names, shapes and outputs of torchvision and timm; the file lists their versions.
REFERENCES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data" / "state_dict_layouts.json").read_text(encoding="utf-8")
)["models"]
EPSILON = {"batch_norm_epsilon": 1.001e-5}
SMALL: dict[str, dict[str, Any]] = {
    "alexnet-owt": {"widths": (4, 6, 8, 6, 4), "dense_width": 5, "input_shape": (95, 127, 3)},
    "densenet121": {"blocks": (2, 3), "growth_rate": 4},
    "googlenet-torchvision": {"width_multiplier": 0.05, "auxiliary_classifiers": True},
    "resnet18": {"widths": (4, 4, 8, 8), "stem_width": 4},
    "resnet50-v1.5": {"units": (1, 2), "widths": (4, 8), "stem_width": 4},
    "vgg11": {"widths": (2, 3, 4, 4, 4), "dense_width": 5, "input_shape": (64, 96, 3)},
    "vgg11-bn": {"widths": (2, 3, 4, 4, 4), "dense_width": 5, "input_shape": (64, 96, 3)},
}


def small(name: str, *, classes: int = 5, seed: int | None = None, **settings: Any) -> keras.Model:
    """Return a network with few channels that outputs logits; with a seed, all its weights are random."""
    arguments = {"input_shape": (64, 64, 3), "classes": classes, "classifier_activation": None}
    model = build(name, **(arguments | SMALL.get(name, {}) | settings))
    if seed is not None:
        randomise(model, seed)
    return model


def randomise(model: keras.Model, seed: int = 0) -> None:
    """Set all weights, including moving averages, to random values that keep activations in range."""
    random = np.random.default_rng(seed)
    for layer in model.layers:
        layer.set_weights([sample(random, weight.name, weight.shape, weight.shape[:-1]) for weight in layer.weights])


def sample(random: np.random.Generator, name: str, shape: tuple[int, ...], inputs: tuple[int, ...]) -> np.ndarray:
    """Return random values for one array; `inputs` is the shape of the inputs of one output of a kernel."""
    values = random.random(shape, dtype=np.float32)
    if len(shape) > 1:
        return (values - np.float32(0.5)) * np.float32(2 * (6 / np.prod(inputs)) ** 0.5)
    if name.endswith(("gamma", "moving_variance", "weight", "running_var")):
        return values + np.float32(0.5)
    return (values - np.float32(0.5)) * np.float32(0.2)


def images(model: keras.Model) -> np.ndarray:
    values = np.random.default_rng(0).random((2, *model.input_shape[1:]))
    return (values * 2 - 1).astype("float32")


def outputs(model: keras.Model) -> np.ndarray:
    return np.asarray(model(images(model), training=False))


def relative_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def assert_rejected(act: Callable[[], object], *parts: str) -> None:
    with pytest.raises(WeightsError) as caught:
        act()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def assert_unchanged(model: keras.Model, state: Any, *parts: str, **options: Any) -> None:
    before = model.get_weights()
    assert_rejected(lambda: from_state_dict(model, state, **options), *parts)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("theirs", "ours", "settings"),
    [
        ("VGG16", "vgg16", {}),
        pytest.param("VGG19", "vgg19", {}, marks=pytest.mark.exhaustive),
        ("ResNet50", "resnet50-keras", {}),
        pytest.param("ResNet101", "resnet101-keras", {}, marks=pytest.mark.exhaustive),
        pytest.param("ResNet152", "resnet152-keras", {}, marks=pytest.mark.exhaustive),
        ("ResNet50V2", "resnet50-v2-keras", {}),
        pytest.param("ResNet101V2", "resnet101-v2-keras", {}, marks=pytest.mark.exhaustive),
        pytest.param("ResNet152V2", "resnet152-v2-keras", {}, marks=pytest.mark.exhaustive),
        pytest.param("DenseNet121", "densenet121", EPSILON, marks=pytest.mark.exhaustive),
        pytest.param("DenseNet169", "densenet169", EPSILON, marks=pytest.mark.exhaustive),
        pytest.param("DenseNet201", "densenet201", EPSILON, marks=pytest.mark.exhaustive),
    ],
)
def test_a_network_gives_the_outputs_of_keras_applications(theirs: str, ours: str, settings: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"input_shape": (64, 64, 3), "classes": 10, "classifier_activation": None}
    source = getattr(keras.applications, theirs)(weights=None, **arguments)
    randomise(source)
    model = build(ours, **arguments, **settings)
    from_keras(model, source)
    assert relative_difference(outputs(model), outputs(source)) <= 1e-5


def test_a_network_of_keras_applications_can_be_used_for_other_classes() -> None:
    arguments: dict[str, Any] = {"weights": None, "input_shape": (64, 64, 3)}
    without_top = keras.applications.DenseNet121(include_top=False, **arguments)
    model = build("densenet121", input_shape=(64, 64, 3), classes=3, **EPSILON)
    assert_rejected(lambda: from_keras(model, without_top), "predictions/kernel (1024, 3) is missing")
    from_keras(model, without_top, classifier=False)
    stem = without_top.get_layer("conv1_conv").get_weights()
    np.testing.assert_array_equal(model.get_layer("stem_conv").get_weights()[0], stem[0])


@pytest.mark.exhaustive  # another shape is rejected for state dicts
def test_another_network_of_keras_applications_is_rejected() -> None:
    source = keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classes=5)
    model = small("resnet50-keras", units=(2, 2, 2, 2))
    assert_rejected(lambda: from_keras(model, source), "resnet50-keras", "conv2_block3_1_conv/kernel", "and 139 more")
    v1_5 = small("resnet50-keras", stride_in="3x3")
    assert_rejected(lambda: from_keras(v1_5, source), "stride_in='3x3'", "stride_in='1x1'")


ONE_OF_EACH_LAYOUT = ("alexnet-owt", "densenet121", "googlenet-torchvision", "resnet18", "resnet50-v1.5", "vgg11")


def networks() -> list[Any]:
    """Return the references grouped by our network, so that each network is built once."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in REFERENCES:
        rows.setdefault(f"{row['ours']} {row['settings'] or ''}".strip(), []).append(row)
    return [
        pytest.param(found, id=name, marks=[] if name in ONE_OF_EACH_LAYOUT else [pytest.mark.exhaustive])
        for name, found in rows.items()
    ]


def references_with_outputs() -> list[Any]:
    """Return the networks with stored outputs; `make test` leaves out the one with 130 million weights."""
    rows = {f"{row['library']} {row['name']}": row for row in REFERENCES if "outputs" in row}
    return [
        pytest.param(row, id=name, marks=[pytest.mark.exhaustive] if name == "timm vgg11" else [])
        for name, row in rows.items()
    ]


@pytest.mark.usefixtures("zero_weights")
@pytest.mark.parametrize("rows", networks())
def test_exported_names_and_shapes_equal_those_of_the_library(rows: list[dict[str, Any]]) -> None:
    model = build(rows[0]["ours"], **rows[0]["settings"])
    for row in rows:
        entries = make_entries(model, row["library"], find_layout(model, row["library"]))
        counters = [
            entry.name.replace("running_var", BATCH_COUNTER) for entry in entries if "running_var" in entry.name
        ]
        lines = sorted([*(f"{entry.name} {entry.shape}" for entry in entries), *(f"{name} ()" for name in counters)])
        assert lines == row.get("lines", lines)
        assert len(lines) == row["entries"]
        assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == row["sha256"]


@pytest.mark.usefixtures("zero_weights")
@pytest.mark.parametrize("row", references_with_outputs())
def test_a_network_gives_the_outputs_of_the_library(row: dict[str, Any]) -> None:
    """The stored outputs are those of the library's network with the same weights and images."""
    side = row["side"]
    arguments: dict[str, Any] = {"input_shape": (side, side, 3), "classes": 10, "classifier_activation": None}
    model = build(row["ours"], **arguments, **row["settings"])
    state = {
        name: sample(np.random.default_rng(zlib.crc32(name.encode())), name, values.shape, values.shape[1:])
        for name, values in to_state_dict(model, row["library"]).items()
    }
    from_state_dict(model, state)
    stored = row["outputs"]
    given = keras.Model(model.input, {name: model.get_layer(name).output for name in stored})(images(model))
    for name, expected in stored.items():
        assert relative_difference(np.asarray(given[name]), np.asarray(expected)) <= 1e-5, name


@pytest.mark.parametrize("layout", ["torchvision", "timm"])
@pytest.mark.parametrize("name", SMALL)
def test_export_and_import_give_equal_outputs(name: str, layout: str) -> None:
    if layout == "timm" and name.startswith(("alexnet", "googlenet")):
        assert_rejected(
            lambda: to_state_dict(small(name), layout),
            "timm has no network of this kind; libraries that have one: torchvision",
        )
        return
    model, fresh = small(name, seed=1), small(name)
    state = to_state_dict(model, layout)
    assert all(values.flags.c_contiguous and values.flags.writeable for values in state.values())
    from_state_dict(fresh, state)
    np.testing.assert_array_equal(outputs(fresh), outputs(model))


def test_exported_batch_norm_has_the_counters_that_a_strict_load_requires() -> None:
    counters = [values for name, values in to_state_dict(small("resnet18")).items() if name.endswith("tracked")]
    assert len(counters) == 18
    assert all(values.shape == () and values.dtype == np.int64 for values in counters)


def test_the_names_of_torchvisions_first_densenet_checkpoints_are_accepted() -> None:
    model, fresh = small("densenet121", seed=1), small("densenet121")
    state = {
        name.replace("norm1.", "norm.1.").replace("norm2.", "norm.2.").replace("conv1.", "conv.1.")
        if "denselayer" in name
        else name: values
        for name, values in to_state_dict(model).items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in state
    from_state_dict(fresh, state)
    np.testing.assert_array_equal(outputs(fresh), outputs(model))


def test_auxiliary_classifiers_are_ignored_by_a_network_without_them() -> None:
    model = small("googlenet-torchvision", seed=1)
    state = to_state_dict(model)
    for fresh in (small("googlenet-torchvision", auxiliary_classifiers=False), strip_auxiliary(model)):
        from_state_dict(fresh, state)
        np.testing.assert_array_equal(outputs(fresh), outputs(model))
        assert not any(name.startswith("aux") for name in to_state_dict(fresh))


def test_auxiliary_classifiers_are_required_by_a_network_with_them() -> None:
    state = to_state_dict(small("googlenet-torchvision", auxiliary_classifiers=False))
    assert_unchanged(small("googlenet-torchvision"), state, "aux1.conv.conv.weight", "is missing", "and ")


def test_reads_safetensors_and_npz_files(tmp_path: Path) -> None:
    model = small("resnet18", seed=1)
    state = to_state_dict(model)
    safetensors.numpy.save_file(state, tmp_path / "weights.safetensors")
    np.savez(tmp_path / "weights.npz", **state)
    for path in (tmp_path / "weights.safetensors", str(tmp_path / "weights.npz")):
        fresh = small("resnet18")
        from_state_dict(fresh, path)
        np.testing.assert_array_equal(outputs(fresh), outputs(model))


def test_objects_in_an_archive_of_arrays_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{"fc.weight": np.array([{}], dtype=object)})
    assert_unchanged(small("resnet18"), tmp_path / "x.npz", "x.npz: contains pickled objects, which are never loaded")
    for other in (tmp_path / "y.npz", tmp_path / "y.safetensors", tmp_path / "y.h5", tmp_path / "y.keras"):
        other.write_bytes(pickle.dumps({}))
        assert_unchanged(small("resnet18"), other, f"{other}: cannot be read")


def test_a_broken_archive_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    np.savez_compressed(path, **to_state_dict(small("resnet18")))
    data = bytearray(path.read_bytes())
    data[200:260] = bytes(60)
    path.write_bytes(data)
    assert_unchanged(small("resnet18"), path, f"{path}: cannot be read")


@pytest.mark.parametrize(
    ("name", "message"),
    [("missing.npz", "the file does not exist"), ("x.onnx", "are read from .safetensors, .npz, .keras, .h5, ")],
)
def test_a_missing_file_or_one_of_another_format_is_rejected(name: str, message: str, tmp_path: Path) -> None:
    assert_unchanged(small("resnet18"), tmp_path / name, name, message)


def test_all_mismatches_are_listed_and_no_weights_are_copied() -> None:
    model = small("resnet18")
    state = to_state_dict(small("resnet18", seed=1))
    del state["bn1.weight"]
    state["head.weight"] = np.zeros((5, 8), "float32")
    state["layer1.0.conv1.weight"] = np.zeros((4, 4, 5, 5), "float32")
    assert_unchanged(
        model,
        state,
        "resnet18: the weights do not fit: bn1.weight (4,) is missing, head.weight (5, 8) is unexpected, "
        "layer1.0.conv1.weight is (4, 4, 5, 5) instead of (4, 4, 3, 3).",
    )


def test_long_lists_of_mismatches_are_truncated() -> None:
    assert_unchanged(small("resnet18"), {}, "conv1.weight (4, 3, 7, 7) is missing", "and 87 more.")
    state = to_state_dict(small("vgg11"))
    assert_unchanged(small("resnet18"), state, "conv1.weight (4, 3, 7, 7) is missing, features.0.weight")


def test_arrays_that_are_not_numbers_are_rejected() -> None:
    state: dict[str, Any] = dict(to_state_dict(small("resnet18")))
    state["fc.bias"] = np.array(list("abcde"))
    assert_unchanged(small("resnet18"), state, "fc.bias is not an array of numbers")


@pytest.mark.parametrize("name", ["vgg11", "densenet121", "googlenet-torchvision"])
def test_the_classifier_can_be_kept_for_other_classes(name: str) -> None:
    model, source = small(name, classes=3, seed=2), small(name, seed=1)
    for layout in ("torchvision", "timm") if name != "googlenet-torchvision" else ("torchvision",):
        state = to_state_dict(source, layout)
        assert_unchanged(model, state, "For other classes, classifier=False")
        classifier = model.get_layer("logits").get_weights()
        from_state_dict(model, state, classifier=False)
        np.testing.assert_array_equal(model.get_layer("logits").get_weights()[0], classifier[0])
        inputs = [network.get_layer("logits").input for network in (model, source)]
        given, expected = (
            keras.Model(network.input, tensor)(images(network), training=False)
            for network, tensor in zip((model, source), inputs, strict=True)
        )
        np.testing.assert_array_equal(np.asarray(given), np.asarray(expected))


def test_the_classifier_can_be_missing_if_it_is_kept() -> None:
    state = to_state_dict(small("resnet18"))
    from_state_dict(small("resnet18", classes=2), {k: v for k, v in state.items() if "fc" not in k}, classifier=False)


@pytest.mark.parametrize(
    ("name", "settings", "messages"),
    [
        ("resnet50", {}, ("resnet50 has stride_in='1x1'", "stride_in='3x3'")),
        ("resnet18", {"stem_pool": "ceil"}, ("stem_pool='padded'",)),
        ("resnet18", {"batch_norm_epsilon": 1e-3}, ("batch_norm_epsilon=1e-05",)),
        ("resnet18", {"downsampling": "last"}, ("downsampling='first'",)),
        ("densenet121", {"transition_relu": False}, ("transition_relu=True",)),
        ("vgg11-lrn", {"widths": (2, 2, 2, 2, 2), "dense_width": 5}, ("normalization='none'",)),
        ("alexnet-owt", {"first_padding": 0}, ("first_padding=2",)),
        ("googlenet", {"width_multiplier": 0.05}, ("normalization='batch_norm'",)),
        ("googlenet-torchvision", {"last_pool_size": 3}, ("last_pool_size=2",)),
        ("googlenet-torchvision", {"auxiliary_pool": "paper", "input_shape": (96, 96, 3)}, ("'adaptive'",)),
        ("resnet18-v2", {}, ("torchvision has no network of this kind; libraries that have one: keras.applications",)),
        ("nin-cifar", {}, ("has no network of this kind, only alexnet, densenet, googlenet, resnet, vgg",)),
    ],
)
def test_a_network_that_would_give_other_outputs_is_rejected(
    name: str, settings: dict[str, Any], messages: tuple[str, ...]
) -> None:
    model = small(name, **settings)
    assert_rejected(lambda: to_state_dict(model), *messages)
    assert_rejected(lambda: from_state_dict(model, {}), *messages)


def test_layers_without_a_counterpart_are_rejected() -> None:
    model = small("resnet18")
    longer = keras.Model(model.inputs, keras.layers.Dense(2, name="extra")(model.output), name="mine")
    assert_rejected(lambda: to_state_dict(longer), "mine: torchvision has no counterpart of extra/kernel (5, 2)")


def test_an_unknown_layout_is_rejected() -> None:
    assert_rejected(lambda: to_state_dict(small("resnet18"), "torchvison"), "Did you mean 'torchvision'")
    assert_rejected(lambda: from_state_dict(small("resnet18"), {}, layout="caffe"), "There are: torchvision, timm")


def test_the_public_module_has_the_functions() -> None:
    assert (weights.from_keras, weights.from_state_dict) == (from_keras, from_state_dict)
    assert weights.to_state_dict is to_state_dict


def test_importing_loads_no_backend_and_no_other_package() -> None:
    script = "import keras_cnns.networks.weights, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    packages = {f"keras_cnns.{package}" for package in ("data", "training", "tracking", "evaluation")}
    assert not {"keras", "tensorflow", "torch", "tuning", *packages} & set(loaded)
