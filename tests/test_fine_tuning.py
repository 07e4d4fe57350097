"""Fine-tuning: frozen blocks, gradual unfreezing, learning rates by block, and the linear probe."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from keras_cnns import Dataset, Recipe, load, train
from keras_cnns.cli import main
from keras_cnns.errors import SettingError
from keras_cnns.networks import registry
from keras_cnns.networks.blocks import group_blocks, list_blocks
from keras_cnns.networks.graph import block_name
from keras_cnns.networks.registry import all_families, network_settings
from keras_cnns.testing.small_networks import small_settings
from keras_cnns.training.checkpoints import best_model_path
from keras_cnns.training.devices import Cluster, replica_count
from keras_cnns.training.fine_tuning import FineTuning
from keras_cnns.training.fit import Fitted, check_workers, fit
from keras_cnns.training.job import Job, compile_model, make_batching
from keras_cnns.training.memory import MICRO_BATCHES_FILE
from keras_cnns.training.speed import Speed
from keras_cnns.training.variable_rates import AdamW, VariableRates
from keras_cnns.writing.composing import Composer
from keras_cnns.writing.starting import StartingPhrases
from tests.processes import call, use_devices
from tests.test_training import first_images
from tuning.candidates.space import make_space

pytestmark = pytest.mark.usefixtures("own_cache")
MODEL = "resnet-cifar-20"
TINY: dict[str, Any] = {"units": (1, 1), "widths": (4, 8), "stem_width": 4}
BLOCKS = ("stem", "stage1", "stage2")
ALL = {*BLOCKS, "logits"}
PLAIN = {"schedule": "constant", "warmup": 0.0, "batch_size": 32}
ONE_STEP = {"batch_size": 96}  # per epoch

Weights = Mapping[str, list[np.ndarray]]


def take_digits() -> Dataset:
    dataset = load("digits")
    splits = {name: first_images(dataset.splits[name], count) for name, count in (("train", 96), ("validation", 64))}
    return replace(dataset, splits=splits)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return take_digits()


def job(**recipe: Any) -> Job:
    return Job(model=MODEL, settings=network_settings(MODEL, TINY), recipe=Recipe(**{**PLAIN, **recipe}), seed=3)


def compiled(job: Job, dataset: Dataset) -> keras.Model:
    keras.utils.set_random_seed(job.seed)
    speed = Speed(precision=job.recipe.precision, steps_per_execution=1)
    return compile_model(job, dataset, make_batching(job, dataset), speed)


def batch_of(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    split = dataset.training
    return split.images[:32].astype("float32"), np.eye(dataset.classes, dtype="float32")[split.labels[:32]]


def by_layer(model: keras.Model) -> Weights:
    return {layer.name: [np.array(value) for value in layer.get_weights()] for layer in model.layers if layer.weights}


def saved(file: Path) -> Weights:
    return by_layer(keras.saving.load_model(file, compile=False))


def changed_blocks(before: Weights, after: Weights) -> set[str]:
    """Return the blocks with any weight or statistic that is different, be it in the last bit."""
    assert before.keys() == after.keys()
    return {
        block_name(name)
        for name, values in before.items()
        if any(not np.array_equal(one, other) for one, other in zip(values, after[name], strict=True))
    }


class StopAfterEpoch:
    """A progress callback that interrupts a training after each epoch."""

    def step(self, done: int, total: int) -> None:
        """Ignore single steps."""

    def epoch(self, number: int, metrics: Any) -> None:  # noqa: ARG002
        raise KeyboardInterrupt


class KeepWeights:
    """A progress callback that keeps the saved network of each epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.epochs: list[Weights] = []

    def step(self, done: int, total: int) -> None:
        """Ignore single steps."""

    def epoch(self, number: int, metrics: Any) -> None:  # noqa: ARG002
        network = keras.saving.load_model(best_model_path(self.folder), compile=False)
        assert all(layer.trainable for layer in network.layers), "a saved network does not depend on what was frozen"
        self.epochs.append(by_layer(network))


GRADUAL: dict[str, Any] = {
    "epochs": 3, "freeze": "features", "unfreeze_at": (1, 2), "layer_decay": 0.5, "ema": 0.9, "keep": "last",
    "clip_norm": 1.0, "patience": 9, **ONE_STEP,
}  # fmt: skip


def test_blocks_are_unfrozen_by_epoch_and_resuming_is_exact_in_every_phase(digits: Dataset, tmp_path: Path) -> None:
    """Until then nothing in them changes, not even in the last bit: weights, averages of weights, and statistics."""
    keep = KeepWeights(tmp_path / "whole")
    whole = fit(job(**GRADUAL), digits, tmp_path / "whole", progress_callbacks=[keep])
    steps = [by_layer(compiled(job(**GRADUAL), digits)), *keep.epochs]
    changed = [changed_blocks(before, after) for before, after in itertools.pairwise(steps)]
    assert changed == [{"logits"}, {"logits", "stage2"}, ALL]
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            fit(job(**GRADUAL), digits, tmp_path / "resumed", progress_callbacks=[StopAfterEpoch()])
    resumed = fit(job(**GRADUAL), digits, tmp_path / "resumed")
    assert [{**metrics, "seconds": 0} for metrics in whole.history] == [
        {**metrics, "seconds": 0} for metrics in resumed.history
    ]
    assert not changed_blocks(saved(whole.best_model), saved(resumed.best_model))


@pytest.mark.parametrize(
    ("freeze", "trained"), [("none", ALL), ("stage1", {"stage2", "logits"}), ("features", {"logits"})]
)
def test_a_block_is_frozen_with_everything_before_it(digits: Dataset, freeze: str, trained: set[str]) -> None:
    model = compiled(job(freeze=freeze), digits)
    before = by_layer(model)
    model.train_on_batch(*batch_of(digits))
    assert changed_blocks(before, by_layer(model)) == trained


def test_frozen_blocks_stay_frozen_with_micro_batches_in_mixed_precision(digits: Dataset, tmp_path: Path) -> None:
    (tmp_path / MICRO_BATCHES_FILE).write_text(json.dumps({"micro_batches": 2}))
    chosen = job(freeze="stage1", unfreeze_at=(1,), epochs=2, precision="mixed_bfloat16", keep="last", **ONE_STEP)
    keep = KeepWeights(tmp_path)
    fit(chosen, digits, tmp_path, progress_callbacks=[keep])
    steps = [by_layer(compiled(chosen, digits)), *keep.epochs]
    assert [changed_blocks(*pair) for pair in itertools.pairwise(steps)] == [{"stage2", "logits"}, ALL]


@pytest.mark.parametrize(
    "recipe", [{"optimizer": "sgd", "weight_decay": 0.0}, {"weight_decay": 0.5}], ids=["sgd", "adamw"]
)
def test_each_block_has_its_own_learning_rate(digits: Dataset, recipe: dict[str, Any]) -> None:
    """The update by one step, with weight decay, is proportional to it."""
    updates = []
    for own in ({}, {"layer_decay": 0.5, "head_rate": 3.0}):
        model = compiled(job(**recipe, **own, learning_rate=0.01), digits)
        before = [keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables]
        model.train_on_batch(*batch_of(digits))
        after = [keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables]
        updates.append([new - old for old, new in zip(before, after, strict=True)])
    factors = {"logits": 3.0, "stage2": 0.5, "stage1": 0.25, "stem": 0.125}
    for variable, plain, own in zip(model.trainable_variables, *updates, strict=True):
        expected = plain * factors[block_name(variable.path.split("/")[0])]
        np.testing.assert_allclose(own, expected, rtol=0, atol=2e-7 + 1e-4 * np.abs(expected).max())


def test_plain_recipes_use_the_optimizers_of_keras(digits: Dataset) -> None:
    for recipe in ({}, {"freeze": "stage1"}, {"batch_norm_statistics": "frozen"}):
        assert type(compiled(job(**recipe), digits).optimizer) is keras.optimizers.AdamW


def test_the_bias_correction_of_adam_counts_the_steps_of_each_variable() -> None:
    """A variable that is first trained at step 300 gets the updates of one that is trained from the beginning."""
    early, late = keras.Variable(np.ones(2), name="early"), keras.Variable(np.ones(2), name="late")
    other = keras.Variable(np.ones(2), name="other")
    optimizer = AdamW(0.01, weight_decay=0.1)
    optimizer.rates = VariableRates(factors=(1.0, 1.0), first_steps=(0, 300))
    optimizer.build([other, late])
    reference = keras.optimizers.AdamW(0.01, weight_decay=0.1)
    reference.build([early])
    optimizer.iterations.assign(300)
    for gradient in np.random.default_rng(0).normal(size=(5, 2)):
        optimizer.apply([gradient, gradient], [other, late])
        reference.apply([gradient], [early])
        np.testing.assert_allclose(late.numpy(), early.numpy(), rtol=1e-6)
    assert np.abs(other.numpy() - 1).mean() > 2 * np.abs(early.numpy() - 1).mean(), "too large without it"


def test_frozen_statistics_are_used_and_do_not_change(digits: Dataset) -> None:
    model = compiled(job(batch_norm_statistics="frozen", weight_decay=0.0), digits)
    before = by_layer(model)
    images, labels = batch_of(digits)
    loss = float(keras.ops.mean(keras.losses.categorical_crossentropy(labels, model(images, training=False))))
    assert model.train_on_batch(images, labels, return_dict=True)["loss"] == pytest.approx(loss, rel=1e-5)
    after = by_layer(model)
    gamma, beta, mean, variance = (
        np.array_equal(*values) for values in zip(before["stem_bn"], after["stem_bn"], strict=True)
    )
    assert (gamma, beta, mean, variance) == (False, False, True, True)


def test_recomputed_dense_blocks_are_frozen_too(digits: Dataset) -> None:
    settings = network_settings("densenet-bc-40", {"blocks": (1, 1), "growth_rate": 4, "recompute": True})
    recipe = Recipe(**PLAIN, freeze="block1")
    model = compiled(Job(model="densenet-bc-40", settings=settings, recipe=recipe), digits)
    before = by_layer(model)
    model.train_on_batch(*batch_of(digits))
    assert changed_blocks(before, by_layer(model)) == {"transition1", "block2", "final", "logits"}


def train_on_two_devices(folder: Path) -> Weights:
    use_devices(2)
    assert replica_count() == 2
    return saved(train_frozen(folder).best_model)


def train_frozen(folder: Path) -> Fitted:
    """Train with all options of fine-tuning, with batches that two devices can share evenly."""
    return fit(
        job(epochs=2, optimizer="sgd", learning_rate=0.02, weight_decay=0.01, freeze="stage1", unfreeze_at=(1,),
            layer_decay=0.5, batch_norm_statistics="frozen", ema=0.5, keep="last", **ONE_STEP),
        take_digits(), folder,
    )  # fmt: skip


@pytest.mark.exhaustive  # two devices train as one in test_training
@pytest.mark.slow
def test_two_devices_fine_tune_as_one(tmp_path: Path) -> None:
    of_one = saved(train_frozen(tmp_path / "one").best_model)
    of_two = call(train_on_two_devices, tmp_path / "two")
    for name, values in of_one.items():
        for one, other in zip(values, of_two[name], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.usefixtures("zero_weights")
@pytest.mark.parametrize("family", all_families())
def test_the_blocks_of_a_network_are_known_without_building_it(family: str) -> None:
    name = all_families()[family].search.base
    settings = small_settings(name)
    side = {"alexnet": 96}.get(family, 64)
    model = registry.build(name, input_shape=(side, side, 1), classes=3, **settings)
    tuning = FineTuning(model, Recipe())
    assert tuning.block_names == list_blocks(name, network_settings(name, settings))
    assert len(tuning.block_names) > 1


def test_layers_that_keep_their_initial_values_belong_to_the_head() -> None:
    layers = {"stem_conv": True, "stem_bn": False, "fc6": True, "auxiliary1_conv": True, "logits": True}
    assert group_blocks(layers) == {"stem": ["stem_conv", "stem_bn"], "fc6": ["fc6"]}
    assert list(group_blocks(layers, ("fc6", "logits"))) == ["stem"]


def test_a_sweep_searches_frozen_blocks_and_the_decay_of_learning_rates() -> None:
    def search(**space: object) -> set[tuple[str, float]]:
        made = make_space(
            MODEL, recipe=Recipe(), space={**TINY, **space}, only_named=True, image_shape=(16, 16, 1), classes=2
        )
        return {(one.recipe.freeze, one.recipe.layer_decay) for one in made.draw(12, seed=0)}

    found = search(freeze="none,features,stage2", layer_decay="0.5..1")
    assert {freeze for freeze, _ in found} == {"none", "features", "stage2"}
    assert all(0.5 <= decay <= 1 for _, decay in found)
    assert {freeze for freeze, _ in search(freeze="features,stage9")} == {"features"}
    for unfreeze_at in ("2,4", "2,4|3"):
        assert {freeze for freeze, _ in search(freeze="none,stem", unfreeze_at=unfreeze_at)} == {"stem"}
    with pytest.raises(SettingError, match=r"freeze=stage9: .* has no such block; use features or one of stem, stage1"):
        search(freeze="stage9")


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"epochs": 0}, "epochs=0 is for head=probe"),
        ({"unfreeze_at": (1, 2)}, "unfreeze_at=1,2 needs frozen blocks"),
        ({"freeze": "features", "unfreeze_at": (2, 2)}, "must be increasing"),
        ({"freeze": "features", "unfreeze_at": (3,), "epochs": 3}, "below epochs, which is 3"),
        ({"freeze": "stage 1"}, "freeze must be none, features, or the name of a block of the network, not stage 1"),
        ({"freeze": "stage9"}, "resnet-cifar-20 has no such block; use features or one of stem, stage1, stage2"),
        ({"freeze": "logits"}, "has no such block"),
    ],
)
def test_what_cannot_be_frozen_or_unfrozen_is_an_error_before_training(recipe: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=re.escape(message)) as caught:
        job(**recipe)
    assert "\n" not in str(caught.value)


def test_a_refit_keeps_the_phases_of_fine_tuning() -> None:
    recipe = Recipe(epochs=10, freeze="features", unfreeze_at=(2, 6), patience=3)
    assert recipe.for_refit(5).unfreeze_at == (1, 3)
    assert recipe.for_refit(1).unfreeze_at is None
    assert Recipe(epochs=0, head="probe").for_refit(1).epochs == 0


def test_several_workers_do_not_support_fine_tuning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras_cnns.training.fit.cluster", lambda: Cluster(0, 2))
    check_workers(Recipe())
    with pytest.raises(SettingError, match=r"freeze, .* do not support several workers; unset TF_CONFIG"):
        check_workers(Recipe(layer_decay=0.5))


def test_named_recipes_for_weights_need_weights(digits: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SettingError, match="recipe 'finetune' is for trainings that begin with weights"):
        train(MODEL, digits, recipe="finetune")
    assert main(("train", MODEL, "--probe")) == 2
    assert (
        "recipe 'probe' is for trainings that begin with weights; name them with --weights" in capsys.readouterr().err
    )


def compose(recipe: Recipe, tags: Mapping[str, str]) -> tuple[str, str]:
    """Return the phrases about the initial weights and about fine-tuning."""
    composer = Composer({"run": {"recipe": recipe.to_strings(), "tags": tags}})
    phrases = StartingPhrases(composer)
    lines = (composer.parse(phrase) for phrase in (phrases.initial_weights(), phrases.fine_tuning()))
    first, second = ("".join(getattr(part, "text", "") for part in line) for line in lines)
    return first, second


def test_write_ups_say_what_was_fine_tuned() -> None:
    assert compose(Recipe(), {}) == ("random initial weights", "")
    tags = {"weights": "imagenet", "weights.source": "https://a.org/b.pth", "weights.licence": "MIT",
            "weights.sha256": "a1", "weights.initial_layers": "fc7, logits"}  # fmt: skip
    recipe = Recipe(epochs=9, freeze="stage2", unfreeze_at=(3, 5), layer_decay=0.7, head_rate=2.0, head="probe",
                    batch_norm_statistics="frozen")  # fmt: skip
    weights, fine_tuning = compose(recipe, tags)
    assert weights == (
        "the weights imagenet (source https://a.org/b.pth; licence MIT; checksum a1), which do not have the layers "
        "fc7, logits"
    )
    for phrase in (
        "The classifier was initialised by logistic regression on the features of the training images",
        "The weights of block stage2 and of all blocks before it were not trained at first.",
        "After each of the epochs 3,5 one more block was trained, the last one first",
        "from the classifier to the input, by a factor of 0.7",
        "The learning rate of the classifier was multiplied by 2.",
        "Batch normalization used the moving statistics of the initial weights, which were not updated.",
    ):
        assert phrase in fine_tuning
    assert "The weights before the classifier were not trained." in compose(Recipe(freeze="features"), tags)[1]
