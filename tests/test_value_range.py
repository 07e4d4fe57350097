"""Values that are not of 8 bits: their depth or range is found from training and validation images, or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_dicom import make

from keras_cnns.data import Dataset, load
from keras_cnns.data.value_range import DEPTHS, ValueRange, Values, find_range, level_notes
from keras_cnns.errors import DataError

GREY = np.random.default_rng(0).integers(0, 256, (24, 8, 8))
GREY[:, 0, 0], GREY[:, 7, 7] = 255, 0


def scale_to(bits: int) -> np.ndarray:
    """Return the grey values in another depth."""
    return np.rint(GREY * ((2**bits - 1) / 255)).astype(np.uint16)


def save_files(root: Path, save: Callable[[np.ndarray, Path], None], values: np.ndarray = GREY) -> Path:
    for index, image in enumerate(values):
        path = root / ("train", "val", "test")[index // 8] / ("benign", "malignant")[index % 2] / f"{index:02}"
        path.parent.mkdir(parents=True, exist_ok=True)
        save(image, path)
    return root


def save_as(kind: str, root: Path, values: np.ndarray) -> Path:
    """Save values as files of a kind, or as arrays."""
    if kind in ("npz", "float npz"):
        root.mkdir(parents=True)
        stored = values if kind == "npz" else values / values.max()
        arrays = {f"{name}_images": stored[8 * at : 8 * at + 8] for at, name in enumerate(("train", "val", "test"))}
        labels = {f"{name}_labels": np.arange(8) % 2 for name in ("train", "val", "test")}
        np.savez(root / "set.npz", **arrays, **labels)
        return root / "set.npz"
    if kind == "dicom":
        return save_files(root, lambda image, path: make(image).save_as(f"{path}.dcm"), values)
    return save_files(root, lambda image, path: Image.fromarray(image).save(f"{path}.{kind}"), values)


def pixels_of(dataset: Dataset) -> np.ndarray:
    return np.concatenate([dataset.splits[name].images for name in ("train", "validation", "test")])[..., 0]


def in_file_order() -> np.ndarray:
    """The grey values in the order of the files: by split, then by class."""
    return np.concatenate([GREY[start : start + 8][order::2] for start in (0, 8, 16) for order in (0, 1)])


@pytest.mark.parametrize("bits", DEPTHS)
@pytest.mark.parametrize("kind", ["png", "tif", "dicom", "npz", "float npz"])
def test_values_of_every_depth_in_every_container_become_the_same_pixels(tmp_path: Path, kind: str, bits: int) -> None:
    source = save_as(kind, tmp_path / "set", scale_to(bits))
    read = load(source)
    for_network = load(source, ranges={"16-bit PNG": (0, 4095)})
    if (kind, bits) not in {("png", 8), ("png", 10)}:
        assert for_network.fingerprint == read.fingerprint, "a network for 12-bit PNG files gets the same pixels"
    expected = GREY if "npz" in kind else in_file_order()
    assert np.abs(pixels_of(read).astype(int) - expected).max() <= (1 if bits > 8 else 0)
    expected_note = "pixels of 0 to 1 were multiplied by 255" if "float" in kind else f"{bits}-bit values (0 to "
    assert any(expected_note in note for note in read.notes)


def test_files_of_8_bits_and_of_more_are_read_side_by_side(tmp_path: Path) -> None:
    def save(image: np.ndarray, path: Path) -> None:
        deep = int(path.name) % 3 == 0
        stored = np.rint(image * (4095 / 255)).astype(np.uint16) if deep else image.astype(np.uint8)
        Image.fromarray(stored).save(f"{path}.png")

    read = load(save_files(tmp_path, save))
    assert np.abs(pixels_of(read).astype(int) - in_file_order()).max() <= 1
    assert "16-bit PNG (8 images): 12-bit values (0 to 4095) were scaled to 0 to 255." in read.notes
    assert "The other 16 images have 8 bits." in read.notes


@pytest.mark.parametrize("kind", ["png", "npz"])
def test_the_test_split_does_not_decide_how_training_images_are_scaled(tmp_path: Path, kind: str) -> None:
    values = scale_to(12)
    values[16:] = np.minimum(values[16:], 3000)
    values[20, 3, 3] = 4200
    read = load(save_as(kind, tmp_path / "set", values))
    assert read.splits["train"].images.max() == 255
    assert any("beyond 0 to 4095 were clipped: 1 in test" in note and "4200" in note for note in read.notes)
    values[16:] = scale_to(16)[16:]
    with pytest.raises(DataError, match=r"the test values have another range .*train 0 to 4095.*test 0 to 65535"):
        load(save_as(kind, tmp_path / "other", values))
    forced = load(tmp_path / "other" / ("set.npz" if kind == "npz" else ""), bits=12)
    assert any("were clipped" in note and "in test" in note for note in forced.notes)


@pytest.mark.parametrize("kind", ["png", "npz"])
def test_a_single_value_far_beyond_all_others_is_ambiguous(tmp_path: Path, kind: str) -> None:
    values = scale_to(12)
    values[3, 4, 4] = 60_000
    source = save_as(kind, tmp_path / "set", values)
    with pytest.raises(
        DataError, match=r"values reach 60000, but all except 1 are at most 4095; .*--bits 12.*--bits 16"
    ):
        load(source)
    assert load(source, bits=12).splits["train"].images.max() == 255


def test_a_known_range_is_used_where_all_values_are_in_it(tmp_path: Path) -> None:
    dark = save_as("png", tmp_path / "dark", scale_to(12) // 20)
    known = load(dark, ranges={"16-bit PNG": (0, 4095)})
    assert known.splits["train"].images.max() == round(204 / 4095 * 255)
    assert load(dark).splits["train"].images.max() == 204


@settings(max_examples=100, deadline=None)
@given(high=st.integers(2, 65535), bits=st.sampled_from(DEPTHS))
def test_the_depth_of_whole_numbers_is_the_smallest_that_holds_them(high: int, bits: int) -> None:
    values = Values.of(np.arange(high + 1, dtype=np.uint16))
    found = find_range(values, "files")
    assert found.low == 0
    assert found.high >= high / 1.1
    assert bits >= (found.bits or 0) or high > 2**bits - 1


@settings(max_examples=100, deadline=None)
@given(low=st.floats(-100, 100), width=st.floats(1e-3, 1e4), values=st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_scaling_keeps_the_order_and_covers_0_to_255(low: float, width: float, values: list[float]) -> None:
    chosen = ValueRange(low, low + width)
    scaled = chosen.scale(low + np.sort(values) * width)
    assert scaled.dtype == np.uint8
    assert (np.diff(scaled.astype(int)) >= 0).all()
    assert chosen.scale(np.array([low, low + width])).tolist() == [0, 255]
    assert chosen.count_beyond(np.array([low - 1, low, low + width + 1])) == 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([-1.0, 0.5, 1.0] * 50), "range from -1 to 1; say which .*--value-range LOW HIGH"),
        (np.array([-1000, 0, 3000] * 50), "range from -1000 to 3000"),
        (np.array([0.5, 700.25] * 50), "range from 0.5 to 700.25"),
        (np.array([0, 1_000_000] * 50), "range from 0 to 1e\\+06"),
    ],
)
def test_values_without_a_known_range_are_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_range(Values.of(values), "files")


@pytest.mark.parametrize(
    ("levels", "scaled", "noted"),
    [([0, 1], False, True), ([0, 255], False, False), (range(8), True, True), (range(40), True, False),
     ([0, 80, 160, 255], True, True), ([0, 80, 160, 255], False, False)],
)  # fmt: skip
def test_too_few_grey_levels_are_noted(levels: list[int], scaled: bool, noted: bool) -> None:
    images = np.resize(np.array(levels, np.uint8), (4, 8, 8, 1))
    assert bool(level_notes(images, scaled=scaled)) == noted


@pytest.mark.parametrize(
    "options", [{"bits": 0}, {"bits": 40}, {"value_range": (1, 1)}, {"bits": 12, "value_range": (0, 1)}]
)
def test_impossible_depths_and_ranges_are_an_error(options: dict[str, object]) -> None:
    with pytest.raises(DataError, match=r"not possible|give one of them"):
        load("digits", **options)  # type: ignore[arg-type]


def test_colours_of_16_bits_are_named_and_not_reduced(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    def save(_: np.ndarray, path: Path) -> None:
        rows = b"".join(b"\0" + b"\x01\x02" * 24 for _ in range(8))
        header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
        parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
        Path(f"{path}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)

    with pytest.raises(DataError, match="has colours of 16 bits, of which only 8 could be read"):
        load(save_files(tmp_path, save))
