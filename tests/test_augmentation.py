"""Augmentation: images change within the range of pixels, and depend only on the seed, the epoch and the batch."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_cnns.cli import main
from keras_cnns.data import Split
from keras_cnns.data.augmentation import BatchSeedGenerator, augment_views, make_layers, make_preset_layers, mix
from keras_cnns.data.inspection import inspect
from keras_cnns.data.pipeline import training_batches
from keras_cnns.errors import SettingError
from keras_cnns.evaluation.run_network import RunNetwork
from keras_cnns.networks.augmentations import AUGMENTATIONS, Augmentation, find_augmentation
from keras_cnns.networks.recipe import Recipe

CHANGING = [preset for preset in AUGMENTATIONS if preset != "none"]
DOCS = Path(__file__).parents[1] / "docs"
RANDOM = np.random.default_rng(0)
IMAGES = np.clip(RANDOM.normal(110, 40, (6, 1, 1, 3)) + RANDOM.normal(0, 50, (6, 20, 24, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("preset", AUGMENTATIONS)
def test_augmented_views_are_images_of_the_same_shape_and_range(preset: str) -> None:
    views = augment_views(IMAGES, preset, views=3, seed=1)
    assert views.shape == (3, *IMAGES.shape)
    assert views.dtype == np.float32
    assert views.min() >= 0
    assert views.max() <= 255
    np.testing.assert_array_equal(views, augment_views(IMAGES, preset, views=3, seed=1))


@pytest.mark.parametrize("preset", CHANGING)
def test_a_preset_does_not_change_what_an_image_shows(preset: str) -> None:
    seed = BatchSeedGenerator(tf.constant([1, 2], tf.int32))
    labels = tf.one_hot(np.arange(6) % 3, 3)
    for layer in make_preset_layers(preset):
        transformation = layer.get_random_transformation(tf.cast(IMAGES, tf.float32), training=True, seed=seed)
        np.testing.assert_array_equal(layer.transform_labels(labels, transformation), labels)


@pytest.mark.parametrize("preset", AUGMENTATIONS)
def test_a_preset_has_a_description_and_is_a_value_of_the_recipe(preset: str) -> None:
    augmentation = find_augmentation(preset)
    assert len(augmentation.description.splitlines()) == 1
    assert 0 <= augmentation.unchanged_share < 1
    assert bool(augmentation.layers) == (preset != "none")
    assert Recipe(augmentation=preset).augmentation == preset


@pytest.mark.parametrize(
    "use",
    [
        find_augmentation,
        make_preset_layers,
        lambda preset: augment_views(IMAGES, preset, views=1, seed=0),
        lambda preset: Recipe(augmentation=preset),
        lambda preset: inspect("digits", sheet="sheet.png", augmentation=preset),
        lambda preset: tta_augmentation({"augmentation": preset}),
    ],
)
def test_the_error_for_an_unknown_preset_lists_the_presets(use: Callable[[str], object]) -> None:
    with pytest.raises(SettingError) as raised:
        use("medicla")
    (message,) = str(raised.value).splitlines()
    assert f"augmentation must be one of {', '.join(AUGMENTATIONS)}, not medicla. Did you mean 'medical'" in message


def tta_augmentation(recipe: dict[str, str]) -> str:
    run = SimpleNamespace(id="0123456789ab", recipe=recipe)
    return RunNetwork(run=run, model=None, class_names=()).tta_augmentation  # type: ignore[arg-type]


def test_test_time_augmentation_is_that_of_training_or_light() -> None:
    found = [tta_augmentation(recipe) for recipe in ({}, *({"augmentation": preset} for preset in AUGMENTATIONS))]
    assert found == ["light", *(preset if preset in CHANGING else "light" for preset in AUGMENTATIONS)]


@pytest.mark.parametrize("layer", ["RandomRotatoin", "Dense"])
def test_the_error_for_a_layer_that_keras_does_not_have_names_the_preset(
    layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(AUGMENTATIONS, "strong", Augmentation(description="none", layers={layer: {"factor": 0.1}}))
    with pytest.raises(SettingError, match=f"^augmentation 'strong': '{layer}' is not an augmentation layer of Keras"):
        make_preset_layers("strong")


def test_help_and_docs_list_the_presets(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(("inspect", "--help"))
    assert ", ".join(AUGMENTATIONS) in " ".join(capsys.readouterr().out.split())
    monkeypatch.syspath_prepend(DOCS / "hooks")
    page = SimpleNamespace(file=SimpleNamespace(src_uri="training.md"))
    text = import_module("pages").on_page_markdown((DOCS / "training.md").read_text("utf-8"), page)
    assert "AUGMENTATIONS" not in text
    assert all(f"| `{name}` | {preset.description} |" in text for name, preset in AUGMENTATIONS.items())


def test_the_preset_none_does_not_change_images() -> None:
    np.testing.assert_array_equal(augment_views(IMAGES, "none", views=2, seed=0), np.stack([IMAGES, IMAGES]))


@pytest.mark.parametrize("preset", CHANGING)
def test_views_differ_from_each_other_and_between_seeds(preset: str) -> None:
    first, second = augment_views(IMAGES, preset, views=2, seed=1)
    (other,) = augment_views(IMAGES, preset, views=1, seed=2)
    assert not np.allclose(first, IMAGES, atol=1)
    assert not np.allclose(first, second, atol=1)
    assert not np.allclose(first, other, atol=1)


# RandAugment draws its operations for each batch.
@pytest.mark.parametrize("preset", [name for name in CHANGING if "RandAugment" not in AUGMENTATIONS[name].layers])
def test_images_of_a_batch_are_augmented_independently(preset: str) -> None:
    (views,) = augment_views(np.repeat(IMAGES[:1], 300, axis=0), preset, views=1, seed=3)
    same = np.array([np.allclose(view, IMAGES[0], atol=1) for view in views])
    assert same.mean() == pytest.approx(AUGMENTATIONS[preset].unchanged_share, abs=0.08)
    changed = views[~same][:20]
    assert all(not np.allclose(changed[0], view, atol=1) for view in changed[1:])


def test_the_medical_preset_lowers_and_raises_contrast_and_does_not_flip() -> None:
    layers = {type(layer).__name__ for layer in make_preset_layers("medical")}
    assert "RandomFlip" not in layers
    spread = augment_views(np.repeat(IMAGES[:1], 60, axis=0), "medical", views=1, seed=0)[0].std(axis=(1, 2, 3))
    assert (spread < 0.9 * IMAGES[0].std()).any()
    assert (spread > 1.1 * IMAGES[0].std()).any()


def test_the_medical_preset_erases_a_patch_in_a_quarter_of_the_images() -> None:
    bright = np.full((800, 16, 16, 1), 255, np.uint8)
    erasing = [layer for layer in make_preset_layers("medical") if type(layer).__name__ == "RandomErasing"]
    seed = BatchSeedGenerator(tf.constant([1, 2], tf.int32))
    transformation = erasing[0].get_random_transformation(tf.cast(bright, tf.float32), training=True, seed=seed)
    assert np.asarray(transformation["apply_erasing"]).mean() == pytest.approx(0.25, abs=0.05)


LABELS = np.arange(40) % 4
SPLIT = Split(RANDOM.integers(0, 256, (40, 9, 9, 1)).astype(np.uint8), LABELS.astype(np.int64))
ALL = Recipe(augmentation="medical", mixup=0.3, cutmix=1.0)


def epoch_batches(first: int, last: int, split: Split = SPLIT) -> list[np.ndarray]:
    epoch = tf.Variable(first, dtype=tf.int64, trainable=False)
    batches = training_batches(split, classes=4, batch_size=16, seed=5, epoch=epoch, recipe=ALL)
    seen = []
    for number in range(first, last):
        epoch.assign(number)
        seen += [np.asarray(tensor) for batch in batches for tensor in batch]
    return seen


@pytest.fixture(scope="module")
def uninterrupted() -> list[np.ndarray]:
    """Return the images and labels of the batches of four epochs."""
    return epoch_batches(0, 4)


def test_a_resumed_training_augments_like_an_uninterrupted_one(uninterrupted: list[np.ndarray]) -> None:
    assert len(uninterrupted) == 4 * 3 * 2
    for one, other in zip(uninterrupted[2 * 3 * 2 :], epoch_batches(2, 4), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(uninterrupted[0], uninterrupted[6])


def test_streamed_images_give_the_same_batches_as_images_in_memory(
    uninterrupted: list[np.ndarray], tmp_path: Path
) -> None:
    np.save(tmp_path / "images.npy", SPLIT.images)
    mapped = Split(np.load(tmp_path / "images.npy", mmap_mode="r"), SPLIT.labels)
    for one, other in zip(uninterrupted[: 2 * 3 * 2], epoch_batches(0, 2, mapped), strict=True):
        np.testing.assert_array_equal(one, other)


@settings(max_examples=20, deadline=None)
@given(mixup=st.sampled_from([0.0, 0.2, 2.0]), cutmix=st.sampled_from([0.0, 1.0]), seed=st.integers(0, 2**31 - 1))
def test_labels_are_mixed_like_the_images(mixup: float, cutmix: float, seed: int) -> None:
    shades = np.array([0, 50, 100, 200], np.float32)
    images = np.broadcast_to(shades[:, None, None, None], (4, 32, 32, 1))
    _, layers = make_layers(Recipe(mixup=mixup, cutmix=cutmix))
    generator = BatchSeedGenerator(tf.constant([seed, 0], tf.int32))
    mixed, shares = mix(tf.constant(images), tf.eye(4), layers, generator)
    np.testing.assert_allclose(np.sum(shares, axis=1), 1, atol=1e-5)
    # CutMix computes the share before it rounds the rectangle to whole pixels, so a row and a column may differ.
    tolerance = 200 * 2 / 32 if cutmix else 0.1
    np.testing.assert_allclose(np.mean(mixed, axis=(1, 2, 3)), np.asarray(shares) @ shades, atol=tolerance)


def test_class_weights_of_mixed_images_are_weighted_by_their_shares() -> None:
    batches = training_batches(
        SPLIT, classes=4, batch_size=16, seed=0, epoch=tf.Variable(0, dtype=tf.int64),
        recipe=Recipe(mixup=0.5), class_weights=np.array([0.5, 1.0, 2.0, 0.25]),
    )  # fmt: skip
    _, shares, weights = next(iter(batches))
    np.testing.assert_allclose(weights, np.asarray(shares) @ [0.5, 1.0, 2.0, 0.25], rtol=1e-5)


def test_workers_share_each_batch_without_repeating_images() -> None:
    numbered = Split(np.arange(43, dtype=np.uint8).reshape(-1, 1, 1, 1), np.zeros(43, np.int64))
    seen = []
    for worker in range(2):
        epoch = tf.Variable(0, dtype=tf.int64)
        batches = training_batches(numbered, classes=1, batch_size=8, seed=1, epoch=epoch, share=(worker, 2))
        seen.append(np.concatenate([images.numpy().ravel() for images, _ in batches]).astype(int))
    assert [len(part) for part in seen] == [21, 21]
    assert len(set(seen[0]) | set(seen[1])) == 42
    epoch = tf.Variable(0, dtype=tf.int64)
    alone = [
        set(images.numpy().astype(int).ravel())
        for images, _ in training_batches(numbered, classes=1, batch_size=8, seed=1, epoch=epoch)
    ]
    for step in range(5):
        assert {*seen[0][step * 4 : step * 4 + 4], *seen[1][step * 4 : step * 4 + 4]} == alone[step]
