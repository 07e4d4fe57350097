"""Edge cases of sources: broken files, single splits, streaming, multi-label data."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from keras_cnns.cli import main
from keras_cnns.data import Dataset, Split, load
from keras_cnns.data.conversion import Conversion
from keras_cnns.data.dataset import CHUNK_BYTES, BrokenFile, iterate_chunks
from keras_cnns.data.decoding import parallel
from keras_cnns.data.decoding.image import decode
from keras_cnns.data.decoding.parallel import decode_files, try_decode
from keras_cnns.data.sources.folder import list_folder
from keras_cnns.data.streaming import create_memmap
from keras_cnns.errors import DataError

COUNT = 12
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 6, 5), np.uint8)


def folder(root: Path, count: int = COUNT, splits: tuple[str, ...] = ("",), rgb: bool = False) -> Path:
    for number, split in enumerate(splits):
        for index in range(count):
            parent = root / split / ("cat", "dog")[index % 2]
            parent.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(PIXELS[number * count + index])
            (image.convert("RGB") if rgb else image).save(parent / f"{index:02}.png")
    return root


def assert_error(source: Path | str, *parts: str, **arguments: Any) -> None:
    with pytest.raises(DataError) as raised:
        load(source, **arguments)
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    assert [part for part in parts if part not in message] == [], message


def all_images(dataset: Dataset) -> np.ndarray:
    return np.concatenate([split.images for split in dataset.splits.values()])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERAS_CNNS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


# Folders


def test_files_are_named_relative_to_the_folder(tmp_path: Path) -> None:
    read = load(folder(tmp_path, splits=("train", "val")))
    assert read.splits["validation"].files[:2] == ("val/cat/00.png", "val/cat/02.png")
    assert read.splits["train"].patients is None
    assert read.broken == ()


@pytest.mark.parametrize("split", ["test", "val"])
def test_a_folder_with_only_a_test_or_validation_split(tmp_path: Path, split: str) -> None:
    read = load(folder(tmp_path, splits=(split,)))
    assert {len(part) for part in read.splits.values()} == {COUNT}
    assert set(read.splits) == {"test" if split == "test" else "validation"}
    assert (read.class_names, read.image_shape) == (("cat", "dog"), (6, 5, 1))
    for attribute in ("training", "pixel_mean", "pixel_std"):
        with pytest.raises(DataError, match="no training images"):
            getattr(read, attribute)


def test_a_folder_with_the_name_of_a_split_may_be_a_class(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "dog").rename(tmp_path / "test")
    assert load(tmp_path).class_names == ("cat", "test")


def test_split_folders_without_class_folders_are_an_error(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "cat").rename(tmp_path / "train")
    (tmp_path / "dog").rename(tmp_path / "test")
    assert_error(tmp_path, "contains no images in class folders")


def test_folders_beside_splits_that_are_no_splits_are_an_error(tmp_path: Path) -> None:
    folder(tmp_path, splits=("train", "val", "unlabelled"))
    assert_error(tmp_path, "'unlabelled' is beside train, val", "move it out")


def test_a_class_folder_that_links_outside_is_an_error(tmp_path: Path) -> None:
    outside = folder(tmp_path / "outside")
    root = folder(tmp_path / "set")
    (root / "wolf").symlink_to(outside / "cat")
    assert_error(root, "wolf", "outside")


@pytest.mark.parametrize(("low", "high"), [(0, 65536), (-1, 5)])
def test_32_bit_values_outside_the_range_of_16_bits_need_a_range(tmp_path: Path, low: int, high: int) -> None:
    pixels = np.full((6, 5), low, np.int32)
    pixels[0, 0] = high
    folder(tmp_path)
    Image.fromarray(pixels).save(tmp_path / "cat" / "deep.tif")
    assert_error(tmp_path, "32-bit TIFF", f"from {low} to {high}", "--value-range LOW HIGH")
    assert f"values of {low} to {high} were scaled" in " ".join(load(tmp_path, value_range=(low, high)).notes)


@pytest.mark.parametrize("position", [0, 7, 23])
def test_one_rgb_image_at_any_position_makes_all_rgb(tmp_path: Path, position: int) -> None:
    root = folder(tmp_path, 24)
    file = root / ("cat", "dog")[position % 2] / f"{position:02}.png"
    Image.new("RGB", (5, 6), (200, 100, 50)).save(file)
    names = list_folder(root).samples.files
    found = decode_files(root, names, Conversion(), lambda shape: np.zeros(shape, np.uint8)).images
    assert found.shape == (24, 6, 5, 3)
    for name, image in zip(names, found, strict=True):
        assert (image == np.asarray(Image.open(root / name).convert("RGB"))).all()


@pytest.mark.parametrize("position", [0, 70, 99])
def test_many_jpegs_are_decoded_in_place_even_if_one_makes_all_rgb(tmp_path: Path, position: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (100, 6, 5, 3), np.uint8)
    for index, image in enumerate(pixels):
        grey = index != position
        Image.fromarray(image[..., 0] if grey else image).save(tmp_path / f"{index:02}.jpg", quality=95)
    names = [f"{index:02}.jpg" for index in range(100)]
    found = decode_files(tmp_path, names, Conversion(), lambda shape: np.empty(shape, np.uint8))
    assert found.images.shape == (100, 6, 5, 3)
    for name, image in zip(names, found.images, strict=True):
        assert (image == decode(tmp_path / name).pixels).all(), name


def test_conversion_between_greyscale_and_rgb(tmp_path: Path) -> None:
    greyscale, rgb = folder(tmp_path / "greyscale"), folder(tmp_path / "rgb", rgb=True)
    assert load(rgb, channels=1).fingerprint == load(greyscale).fingerprint
    assert load(greyscale, channels=3).fingerprint == load(rgb).fingerprint


# Broken files


def test_broken_files_are_counted_listed_and_optionally_skipped(tmp_path: Path) -> None:
    root = folder(tmp_path, 20)
    for name in ("cat/00.png", "cat/02.png", "cat/04.png", "dog/01.png"):
        (root / name).write_bytes((root / name).read_bytes()[:50])
    assert_error(root, "4 of 20", "cat/00.png", "cat/02.png", "cat/04.png", "and 1 more", "--skip-broken")
    rest = load(root, skip_broken=True)
    assert [broken.file for broken in rest.broken] == ["cat/00.png", "cat/02.png", "cat/04.png", "dog/01.png"]
    assert all("broken" in broken.reason for broken in rest.broken)
    assert re.search("4 of 20 files: cat/00.png (.*), cat/02.png (.*), and 1 more.", " ".join(rest.notes))
    for split in rest.splits.values():
        for name, image, label in zip(split.files, split.images, split.labels, strict=True):
            assert (image[..., 0] == PIXELS[int(Path(name).stem)]).all()
            assert rest.class_names[label] == Path(name).parent.name


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(max_examples=60, deadline=None)
@given(suffix=st.sampled_from(["png", "jpg", "tif", "gif", "bmp"]), data=st.data())
def test_a_corrupt_file_is_an_image_or_a_one_line_error(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / f"broken.{suffix}"
    Image.fromarray(PIXELS[0]).save(path)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(at, len(content)))])
    found = try_decode(path.parent, path.name, Conversion(channels=1))
    assert len(found.reason.splitlines()) == 1 if isinstance(found, BrokenFile) else found.pixels.shape[-1] == 1


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "YCbCr"])
@settings(max_examples=50, deadline=None)
@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    quality=st.integers(1, 100),
    subsampling=st.integers(0, 2),
    progressive=st.booleans(),
    orientation=st.sampled_from([None, *range(1, 9)]),
    seed=st.integers(0, 9),
)
def test_jpegs_have_the_pixels_that_pillow_decodes(
    mode: str,
    size: tuple[int, int],
    quality: int,
    subsampling: int,
    orientation: int | None,
    seed: int,
    *,
    progressive: bool,
) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (*size, len(Image.new(mode, (1, 1)).getbands())), np.uint8)
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "image.jpg")
        Image.fromarray(noise.squeeze(-1) if mode == "L" else noise, mode).save(
            path, quality=quality, subsampling=subsampling, progressive=progressive, exif=exif
        )
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            expected = np.asarray(upright if mode == "L" else upright.convert("RGB"))
        assert (decode(path).pixels.squeeze(-1) if mode == "L" else decode(path).pixels).tolist() == expected.tolist()


def test_only_broken_files_are_an_error(tmp_path: Path) -> None:
    root = folder(tmp_path)
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    assert_error(root, "12 of 12", "fix or remove", skip_broken=True)


def test_the_command_line_lists_broken_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder(tmp_path) / "cat" / "00.png").write_bytes(b"")
    assert main(["train", "lenet5", "--data", str(tmp_path), "--folder", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"keras-cnns: {tmp_path.name}: 1 of 12 files cannot be read: cat/00.png: ")
    assert len(error.splitlines()) == 1


# Archives


def archive(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


def test_an_archive_with_only_a_test_split(tmp_path: Path) -> None:
    read = load(archive(tmp_path / "a.npz", test_images=PIXELS, test_labels=np.arange(40) % 3))
    assert (set(read.splits), read.class_names, read.task) == ({"test"}, ("0", "1", "2"), "multi-class")
    with pytest.raises(DataError, match="no training images"):
        assert read.training


@pytest.mark.parametrize("kind", [np.uint8, float, bool])
def test_columns_of_0_and_1_are_multi_label_data(tmp_path: Path, kind: type) -> None:
    labels = np.random.default_rng(1).integers(0, 2, (40, 14)).astype(kind)
    labels[0] = 1
    arrays = {"train_images": PIXELS[:30], "train_labels": labels[:30]}
    read = load(archive(tmp_path / "a.npz", **arrays, val_images=PIXELS[30:], val_labels=labels[30:]))
    assert (read.task, read.classes, read.class_names[13]) == ("multi-label", 14, "13")
    assert read.splits["train"].labels.dtype == np.int64
    assert (read.splits["train"].labels == labels[:30]).all()
    assert "exactly one label" not in " ".join(read.notes)


def test_exactly_one_label_per_image_is_noted(tmp_path: Path) -> None:
    labels = np.eye(2)[np.arange(40) % 2]
    assert "exactly one label" in " ".join(load(archive(tmp_path / "a.npz", x_train=PIXELS, y_train=labels)).notes)


def test_splits_with_different_numbers_of_labels_are_an_error(tmp_path: Path) -> None:
    two, three = np.ones((40, 2)), np.ones((40, 3))
    path = archive(tmp_path / "a.npz", x_train=PIXELS, y_train=two, x_test=PIXELS, y_test=three)
    assert_error(path, "train and the test labels")


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_arrays_of_other_channels_than_greyscale_and_rgb_are_an_error(tmp_path: Path, channels: int) -> None:
    images = np.repeat(PIXELS[..., np.newaxis], channels, axis=-1)
    assert_error(
        archive(tmp_path / "a.npz", x_train=images, y_train=np.arange(40) % 2), f"(40, 6, 5, {channels})", "1 or 3"
    )


# Streaming


@pytest.mark.parametrize("arguments", [{}, {"image_size": 4}, {"channels": 3}, {"skip_broken": True}])
def test_streamed_images_equal_those_in_memory(tmp_path: Path, cache: Path, arguments: dict[str, Any]) -> None:
    root = folder(tmp_path / "set")
    if "skip_broken" in arguments:
        (root / "cat" / "04.png").write_bytes(b"")
    plain, streamed = (load(root, stream=stream, **arguments) for stream in (False, True))
    assert streamed.fingerprint == plain.fingerprint
    assert (streamed.notes, streamed.broken) == (plain.notes, plain.broken)
    assert streamed.pixel_mean == plain.pixel_mean
    for name, split in streamed.splits.items():
        assert isinstance(split.images, np.memmap)
        assert split.files == plain.splits[name].files
        assert (split.take(np.array([2, 0])).images == plain.splits[name].images[[2, 0]]).all()
    assert {path.suffix for path in cache.iterdir()} == {".npy", ".json", ".lock"}
    assert cache.stat().st_mode & 0o777 == 0o700, "they are images of patients"


def test_files_are_decoded_once_and_again_after_a_change(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path / "set")
    decoded: list[Path] = []
    real = parallel.decode

    def count_and_decode(path: Path, **options: Any) -> Any:
        decoded.append(path)
        return real(path, **options)

    monkeypatch.setattr(parallel, "decode", count_and_decode)
    first = load(root, stream=True)
    assert len(decoded) == COUNT
    assert load(root, stream=True).fingerprint == first.fingerprint
    assert len(decoded) == COUNT
    Image.new("L", (5, 6), 7).save(root / "cat" / "00.png")
    os.utime(root / "cat" / "00.png", (1, 1))
    assert 7 in all_images(load(root, stream=True))[:, 0, 0, 0]
    load(root, stream=True, image_size=3)
    assert len(decoded) == 3 * COUNT
    next(cache.glob("*.json")).write_text("{")
    load(root, stream=True)
    load(root, stream=True, image_size=3)
    assert len(decoded) in {3 * COUNT, 4 * COUNT}


@pytest.mark.usefixtures("cache")
def test_a_broken_file_is_tried_again(tmp_path: Path) -> None:
    root = folder(tmp_path / "set")
    content = (root / "cat" / "00.png").read_bytes()
    (root / "cat" / "00.png").write_bytes(b"\0" * len(content))
    os.utime(root / "cat" / "00.png", (1, 1))
    assert len(load(root, stream=True, skip_broken=True).broken) == 1
    (root / "cat" / "00.png").write_bytes(content)
    os.utime(root / "cat" / "00.png", (1, 1))
    fixed = load(root, stream=True)
    assert fixed.fingerprint == load(root, stream=False).fingerprint


def test_two_processes_decode_once_and_load_the_same_images(tmp_path: Path, cache: Path) -> None:
    root = folder(tmp_path / "set", 40)
    code = "import sys; from keras_cnns.data import load; print(load(sys.argv[1], stream=True).fingerprint)"
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(root)], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    fingerprints = {process.communicate()[0].strip() for process in running}
    assert fingerprints == {load(root, stream=False).fingerprint}
    assert len(list(cache.glob("*.npy"))) == 1


def test_a_killed_process_does_not_leave_an_incomplete_cache(tmp_path: Path, cache: Path) -> None:
    root = folder(tmp_path / "set", 40)
    code = (
        "import sys, os; from keras_cnns.data import load; from keras_cnns.data.decoding import parallel\n"
        "real = parallel.try_decode\n"
        "def die_at_the_end(root, file, *options):\n"
        "    if file == 'dog/39.png': os.kill(os.getpid(), 9)\n"
        "    return real(root, file, *options)\n"
        "parallel.try_decode = die_at_the_end; load(sys.argv[1], stream=True)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(root)], check=False).returncode == -9
    assert list(cache.glob("*.json")) == []
    assert load(root, stream=True).fingerprint == load(root, stream=False).fingerprint
    assert list(cache.glob("*.part")) == []


def test_datasets_that_do_not_fit_in_memory_are_streamed_and_noted(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path / "set")
    assert not isinstance(load(root).training.images, np.memmap)
    monkeypatch.setattr("keras_cnns.data.streaming.MAX_MEMORY_SHARE", 0.0)
    large = load(root)
    assert isinstance(large.training.images, np.memmap)
    assert "streamed from a file" in " ".join(large.notes)
    assert not isinstance(load(root, stream=False).training.images, np.memmap)
    assert cache.exists()


def test_the_error_for_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KERAS_CNNS_CACHE", str(tmp_path / "file"))
    assert_error(folder(tmp_path / "set"), "cannot be written", "KERAS_CNNS_CACHE", stream=True)


def test_the_error_for_a_disk_that_is_too_small(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"need 3000000.00 GB but .*--image-size .* KERAS_CNNS_CACHE"):
        create_memmap(tmp_path / "a.part", (10**9, 1000, 1000, 3))
    assert list(tmp_path.iterdir()) == []


def test_an_error_while_decoding_leaves_no_files(tmp_path: Path, cache: Path) -> None:
    Image.new("L", (9, 9)).save(folder(tmp_path / "set") / "dog" / "large.png")
    assert_error(tmp_path / "set", "large.png", "9x9", stream=True)
    assert {path.suffix for path in cache.iterdir()} == {".lock"}


def test_statistics_of_images_in_several_chunks_are_exact() -> None:
    images = np.random.default_rng(0).integers(0, 256, (70, 512, 512, 1), np.uint8)
    assert [len(chunk) for chunk in iterate_chunks(images)] == [CHUNK_BYTES // 512**2, 70 - CHUNK_BYTES // 512**2]
    data = Dataset(name="a", source="a", splits={"train": Split(images, np.arange(70) % 2)}, class_names=("a", "b"))
    assert data.pixel_mean == pytest.approx((images.mean(),), rel=1e-12)
    assert data.pixel_std == pytest.approx((images.std(dtype=np.float64),), rel=1e-12)


def test_progress_is_shown_on_a_terminal_after_two_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(parallel.time, "monotonic", lambda: now)
    for terminal, seconds, shown in ((True, 3, True), (True, 1, False), (False, 3, False)):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal, raising=False)
        images = parallel.show_progress(iter(range(2000)), 2000)
        next(images)
        monkeypatch.setattr(parallel.time, "monotonic", lambda seconds=seconds: now + seconds)
        assert list(images) == list(range(1, 2000))
        monkeypatch.setattr(parallel.time, "monotonic", lambda: now)
        assert ("1,008 of 2,000" in capsys.readouterr().err) == shown
