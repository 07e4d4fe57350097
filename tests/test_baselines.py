"""Networks of Keras and functions of users are found, built, counted, described and searched like our own."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from keras_cnns import Recipe, build, count, describe, profile
from keras_cnns.cli import main
from keras_cnns.errors import KerasCnnsError, ModelNameError, SettingError
from keras_cnns.networks import registry
from keras_cnns.networks.baselines import code, functions
from keras_cnns.networks.baselines.families import make_family
from keras_cnns.networks.baselines.names import list_keras_networks
from keras_cnns.networks.blocks import check_fine_tuning, list_blocks
from keras_cnns.networks.registry import find_variant, network_settings
from keras_cnns.training.fine_tuning import FineTuning
from tuning.candidates.space import make_space
from tuning.searching.reuse import identify_network

MOBILE = "keras:MobileNetV3Small"
SMALL: dict[str, Any] = {"alpha": 0.25, "minimalistic": True}
SHAPE = (32, 32, 3)


def test_networks_of_keras_are_found_without_a_list_of_ours() -> None:
    assert set(list_keras_networks()) == {f"keras:{name}" for name in vars(keras.applications) if name[0].isupper()}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        (MOBILE, {"input_shape": SHAPE, "classes": 3, **SMALL}),
        ("nets.py:small", {"input_shape": (16, 16, 1), "classes": 2, "width": 3, "deep": True, "kernels": (3, 1)}),
        *(pytest.param(name, {"input_shape": (96, 96, 3), "classes": 3}, marks=pytest.mark.exhaustive)
          for name in list_keras_networks() if "Large" not in name and "XL" not in name),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("networks")
def test_counts_and_profile_equal_the_network(name: str, arguments: dict[str, Any]) -> None:
    model = build(name, **arguments)
    costs, measured = count(name, **arguments), profile(model)
    assert costs.total_parameters == model.count_params()
    assert (costs.macs, costs.trainable_parameters) == (measured.macs, measured.trainable_parameters)
    assert model.output_shape == (None, arguments["classes"])
    names = [layer.name for layer in model.layers]
    assert names == [layer.name for layer in build(name, **arguments).layers], "names do not depend on other networks"
    assert model.get_layer("logits").get_weights()[-1].shape == (arguments["classes"],)


@pytest.mark.usefixtures("networks")
def test_macs_of_layers_by_hand() -> None:
    arguments: dict[str, Any] = {"input_shape": (16, 16, 1), "classes": 2, "width": 3, "deep": True}
    first, separable, depthwise = 14 * 14 * 9 * 3, 6 * 6 * (9 * 3 + 3 * 6), 4 * 4 * 9 * 12
    dense, head = 4 * 4 * 12 * 5, 5 * 2
    assert count("nets.py:small", **arguments).macs == first + separable + depthwise + dense + head


@pytest.mark.usefixtures("networks")
def test_layers_of_nested_models_are_seen_and_preprocessing_is_left_out() -> None:
    names = [layer.name for layer in build("nets.py:small", deep=True).layers]
    assert {"batch_normalization", "re_lu", "conv2d", "separable_conv2d", "logits", "predictions"} <= set(names)
    assert not {"inner", "rescaling"} & set(names)


def test_einsum_dense_is_counted() -> None:
    inputs = keras.Input((4, 4, 6))
    layer = keras.layers.EinsumDense("...c,cd->...d", 5)
    assert profile(keras.Model(inputs, layer(inputs))).macs == 4 * 4 * 6 * 5


@pytest.mark.usefixtures("networks")
def test_arguments_of_the_function_are_settings() -> None:
    found = describe("nets.py:small", kernels=(3, 3))
    settings = {setting.name: setting for setting in found.settings}
    assert list(settings) == ["width", "rate", "deep", "kernels", "mode"]
    assert settings["width"].meaning == "Channels of the first convolution."
    assert (found.family, found.idea, found.papers, found.smallest_side) == ("baseline", "A small network.", (), 5)
    assert describe(MOBILE, **SMALL).smallest_side == 32
    chosen = find_variant("nets.py:small")[1].settings
    texts = {"width": "8", "rate": "0.5", "deep": "true", "kernels": "3,5", "mode": "none"}
    assert chosen.replace_strings(texts).as_dict() == {
        "width": 8, "rate": 0.5, "deep": True, "kernels": (3, 5), "mode": None,
    }  # fmt: skip
    changed = chosen.replace({"mode": (1, "a")})
    assert pickle.loads(pickle.dumps(changed)) == changed  # noqa: S301


def test_a_worker_in_another_folder_finds_the_file(
    networks: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functions, "FILES", {})
    pickled = pickle.dumps(find_variant("nets.py:small")[1].settings)
    monkeypatch.chdir(tmp_path_factory.mktemp("worker"))
    with pytest.raises(ModelNameError, match=r"nets\.py: the file with the network cannot be read"):
        find_variant("nets.py:small")
    settings = pickle.loads(pickled)  # noqa: S301
    assert type(find_variant("nets.py:small")[1].settings) is type(settings)
    networks.write_text(networks.read_text("utf-8") + "\n", "utf-8")
    with pytest.raises(ModelNameError, match="the file has changed"):
        pickle.loads(pickled)  # noqa: S301


def test_a_file_is_executed_only_as_itself(networks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("harmful.py").write_text("raise SystemError", "utf-8")
    networks.write_text(networks.read_text("utf-8") + "import harmful\n", "utf-8")
    monkeypatch.delitem(__import__("sys").modules, "harmful", raising=False)
    monkeypatch.setattr("sys.path", [folder for folder in __import__("sys").path if folder])
    with pytest.raises(ModelNameError, match=r"nets\.py: its execution fails: ModuleNotFoundError"):
        build("nets.py:small")
    monkeypatch.syspath_prepend("")
    with pytest.raises(ModelNameError, match="there is no installed module 'harmful'"):
        build("harmful:small")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("keras:EfficientNetV2B9", r"unknown network 'keras:EfficientNetV2B9'\. Did you mean 'keras:EfficientNetV2B"),
        ("EfficientNetV2B0", "unknown network 'EfficientNetV2B0'. Did you mean 'keras:EfficientNetV2B0'"),
        ("nets.py:smal", r"nets\.py has no function 'smal'\. Did you mean 'small'"),
        ("nets.py:not_a_function", "has no function 'not_a_function'"),
        ("missing.py:small", r"missing\.py: the file with the network cannot be read \(No such file"),
        ("no_such_module:small", "there is no installed module 'no_such_module'"),
        ("nets.py:", r"'nets\.py:' is not the name of a network; baselines are keras:NAME, FILE.py:FUNCTION or"),
        ("nets.py:no_model", "nets.py:no_model: the function must return a Keras model, not int"),
        ("nets.py:tanh", "nets.py:tanh: the network must end in logits, softmax or sigmoid, not in tanh"),
        ("nets.py:two_outputs", "must have one input and one output, not 1 and 2"),
        ("nets.py:other_classes", r"must have shape \(None, 2\), one value for each of the 2 classes"),
        ("nets.py:raising", "nets.py:raising: the function fails: RuntimeError: this function"),
        ("nets.py:softmax_twice", "must end in logits, or in one softmax or sigmoid, not in two activations"),
        ("nets.py:relu", "must end in logits, softmax or sigmoid, not in ReLU"),
        ("nets.py:exiting", "nets.py:exiting: the function fails: SystemExit: 0"),
        ("nets.py:method", "replace is reserved; give the argument of the function another name"),
        ("~no_such_user/nets.py:small", "the file with the network cannot be read"),
        ("nets.py:with_lambda", "is a Lambda layer, which cannot be loaded safely"),
        ("nets.py:learning", "learning_rate is a setting of the recipe"),
        ("nets.py:needs_more", "the argument depth of the function needs a default value"),
        ("nets.py:nothing", "the function must take the arguments input_shape and classes"),
    ],
)
@pytest.mark.usefixtures("networks")
def test_a_mistake_is_reported_in_one_line(name: str, message: str) -> None:
    with pytest.raises(KerasCnnsError, match=message) as caught:
        build(name, input_shape=(16, 16, 1), classes=2)
    assert "\n" not in str(caught.value)


def test_a_function_that_is_not_of_python_has_no_known_arguments() -> None:
    with pytest.raises(SettingError, match="builtins:dict: the arguments of the function are not known"):
        build("builtins:dict")


@pytest.mark.usefixtures("networks")
def test_the_activation_at_the_end_is_left_out_whatever_follows_it() -> None:
    model = build("nets.py:float_probabilities", input_shape=(16, 16, 1), classes=3)
    activations = [layer.activation.__name__ for layer in model.layers if hasattr(layer, "activation")]
    assert activations == ["linear", "linear", "softmax"]


@pytest.mark.usefixtures("networks")
def test_blocks_of_a_baseline_can_be_frozen() -> None:
    settings = network_settings("nets.py:small", {"deep": True})
    model = build("nets.py:small", deep=True)
    assert list_blocks("nets.py:small", settings) == FineTuning(model, Recipe()).block_names
    with pytest.raises(SettingError, match=r"nets.py:small has no such block; use features or one of conv2d, "):
        check_fine_tuning("nets.py:small", settings, Recipe(freeze="stage1"))


@pytest.mark.usefixtures("networks")
def test_the_initial_weights_depend_only_on_the_seed() -> None:
    make_family.cache_clear()  # the first network is counted before it is built, the second one is not
    weights = []
    for _ in range(2):
        keras.utils.set_random_seed(1)
        weights.append(build("nets.py:small", deep=True).get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("networks")
def test_images_that_are_too_small_are_reported_with_the_smallest_side() -> None:
    with pytest.raises(SettingError, match=r"images of 16x16 pixels are too small; .* is 32x32"):
        count(MOBILE, input_shape=(16, 16, 3), **SMALL)
    with pytest.raises(SettingError, match="smallest that works with these settings is 9x9"):
        count("nets.py:small", input_shape=(4, 4, 1), kernels=(5, 5))


@pytest.mark.usefixtures("networks")
def test_a_sweep_searches_only_the_arguments_that_are_named() -> None:
    recipe = Recipe(epochs=1)
    space = make_space(
        "nets.py:small", recipe=recipe, space={"width": "4,8", "deep": "true,false", "kernels": "3|3,3"},
        image_shape=(16, 16, 1), classes=2,
    )  # fmt: skip
    (branch,) = space.branches.values()
    assert set(branch.domains) == {"width", "deep", "kernels"}
    candidates = space.draw(6, seed=0)
    assert len({candidate.settings for candidate in candidates}) > 3
    assert pickle.loads(pickle.dumps(candidates)) == candidates  # noqa: S301
    assert make_space(MOBILE, recipe=recipe, space={"alpha": "0.25,0.5"}).searched()["alpha"].values == (0.25, 0.5)
    with pytest.raises(SettingError, match="unknown setting 'alfa'"):
        make_space(MOBILE, recipe=recipe, space={"alfa": "0.5"})


def test_only_the_same_code_is_the_same_network() -> None:
    tags = {code.CHECKSUM_TAG: "1"}
    assert identify_network("resnet", "resnet18", {}) == identify_network("resnet", "resnet50", {})
    assert identify_network("baseline", "a.py:f", tags) != identify_network("baseline", "a.py:g", tags)
    assert identify_network("baseline", "a.py:f", tags) != identify_network("baseline", "a.py:f", {})


def test_models_lists_baselines_after_our_networks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("models",)) == 0
    names, _, section = capsys.readouterr().out.partition("\nbaselines")
    assert names.split() == registry.list_models()
    assert set(list_keras_networks()) <= set(section.replace(",", "").split())
    assert main(("models", "keras:MobileNetV3*")) == 0
    assert capsys.readouterr().out.split() == ["keras:MobileNetV3Large", "keras:MobileNetV3Small"]


@pytest.mark.usefixtures("networks")
def test_profile_and_describe_print_a_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("profile", "nets.py:small", "--set", "width=2", "--json")) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "nets.py:small"
    assert main(("describe", "nets.py:small", "--set", "mode=a")) == 0
    assert "A small network." in capsys.readouterr().out
