"""TensorFlow Datasets as a source: read offline, with images of any sizes, and suggestions for unknown names."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_cnns.data import load
from keras_cnns.data.sources import tfds as tfds_source
from keras_cnns.errors import DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 6, 5), np.uint8)


def assert_error(source: str, *parts: str) -> None:
    with pytest.raises(DataError) as raised:
        load(source)
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    assert [part for part in parts if part not in message] == [], message


@pytest.fixture
def tfds(monkeypatch: pytest.MonkeyPatch) -> Any:
    found = pytest.importorskip("tensorflow_datasets")
    monkeypatch.setattr("tensorflow_datasets.core.utils.gcs_utils._is_gcs_disabled", True)  # no network access
    return found


def test_a_prepared_dataset_is_read_offline(tfds: Any, tmp_path: Path) -> None:
    builder = tfds.builder("mnist", data_dir=tmp_path)
    folder = tmp_path / "mnist" / str(builder.version)
    folder.mkdir(parents=True)
    splits = [{"name": name, "shardLengths": ["30"], "numBytes": "1"} for name in ("train", "test")]
    info = {"name": "mnist", "version": str(builder.version), "fileFormat": "tfrecord", "splits": splits}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    with tfds.testing.mock_data(num_examples=200, data_dir=tmp_path):
        read = load("tfds:mnist", leaks="allow")
    assert {name: len(split) for name, split in read.splits.items()} == {"train": 160, "validation": 40, "test": 200}
    assert (read.image_shape, read.classes, read.name) == ((28, 28, 1), 10, "tfds:mnist")


def test_images_of_different_sizes_need_a_size(tfds: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class MixedSizes(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="small"), tfds.core.BuilderConfig(name="plain")]  # noqa: RUF012

        def _info(self) -> Any:
            kind = {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": tfds.features.ClassLabel(names=["cat", "dog"]),
            }
            keys = ("image", "label") if self.builder_config.name == "small" else None
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(kind), supervised_keys=keys)

        def _split_generators(self, _: Any) -> Any:
            return {"train": self._generate_examples()}

        def _generate_examples(self) -> Any:
            for index in range(20):
                shape = (6 + index % 3, 5 + index % 3, 3)
                yield index, {"image": np.full(shape, 10 * index, np.uint8), "label": index % 2}

    monkeypatch.setattr(tfds_source.tfds, "builder", functools.partial(tfds.builder, data_dir=tmp_path))
    assert_error("tfds:mixed_sizes/small", "3 different sizes", "--image-size 64")
    read = load("tfds:mixed_sizes/small", image_size=4)
    assert read.image_shape == (4, 4, 3)
    pixels = np.concatenate([split.images[:, 0, 0, 0] for split in read.splits.values()])
    assert sorted(pixels.tolist()) == [10 * index for index in range(20)]
    assert_error("tfds:mixed_sizes/plain", "not images with one class each")


@pytest.mark.usefixtures("tfds")
def test_the_error_for_an_unknown_dataset_suggests_names() -> None:
    assert_error("tfds:mnits", "'mnist'", "Did you mean")


def test_a_dataset_keeps_its_splits_and_class_names(tfds: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class TinyDataset(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            labels = tfds.features.ClassLabel(names=["cat", "dog"])
            features = tfds.features.FeaturesDict({"image": tfds.features.Image(shape=(6, 5, 1)), "label": labels})
            return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("image", "label"))

        def _split_generators(self, _: Any) -> Any:
            return {"train": self._generate_examples(20), "test": self._generate_examples(4)}

        def _generate_examples(self, count: int) -> Any:
            for index in range(count):
                yield index, {"image": IMAGES[index][..., np.newaxis], "label": index % 2}

    monkeypatch.setattr(tfds_source.tfds, "builder", functools.partial(tfds.builder, data_dir=tmp_path))
    read = load(f"tfds:{TinyDataset.name}", leaks="allow")
    assert {name: len(split) for name, split in read.splits.items()} == {"train": 16, "validation": 4, "test": 4}
    assert read.class_names == ("cat", "dog")
    assert_error("tfds:no_such_set_of_images", "tfds:no_such_set_of_images")
