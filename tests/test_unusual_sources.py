"""Files, folders and values as devices and other programs leave them: read as they are meant, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset as Header
from pydicom import Sequence as Items
from test_dicom import make

from keras_cnns import inspect
from keras_cnns.data import load
from keras_cnns.data.classes import class_key
from keras_cnns.data.conversion import Conversion
from keras_cnns.data.dataset import BrokenFile
from keras_cnns.data.decoding.image import decode
from keras_cnns.data.decoding.parallel import decode_files, try_decode
from keras_cnns.data.decoding.window import Window
from keras_cnns.data.split_names import find_split
from keras_cnns.data.splits import split_table
from keras_cnns.errors import DataError

RANDOM = np.random.default_rng(0)
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
HOUNSFIELD = np.linspace(0, 2048, 256).astype(np.uint16).reshape(16, 16)
CT = {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"}
WINDOW = {"WindowCenter": 40, "WindowWidth": 400}


def noise() -> np.ndarray:
    return RANDOM.integers(0, 256, (16, 16), np.uint8)


def save(path: Path, pixels: np.ndarray | None = None, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise() if pixels is None else pixels).save(path, **options)


def save_classes(root: Path, *names: str, count: int = 8) -> Path:
    for name in names:
        for number in range(count):
            save(root / name / f"{number}.png")
    return root


def assert_refused(source: Path, *parts: str, **options: Any) -> None:
    with pytest.raises(DataError) as raised:
        load(source, **options)
    (message,) = str(raised.value).splitlines()
    for part in parts:
        assert part in message


# Files


@pytest.mark.parametrize(("suffix", "options"), [("tif", {"compression": "tiff_lzw"}), ("gif", {}), ("tif", {})])
def test_a_truncated_file_of_several_frames_is_broken_wherever_it_ends(
    tmp_path: Path, suffix: str, options: dict[str, str]
) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(noise()).save(path, save_all=True, append_images=[Image.fromarray(noise())], **options)
    whole = path.read_bytes()
    for end in range(len(whole) - 1):
        path.write_bytes(whole[:end])
        found = try_decode(tmp_path, path.name, Conversion(frames="first"))
        assert not isinstance(found, BrokenFile) or len(found.reason.splitlines()) == 1


@pytest.mark.parametrize("number", [0, 3])
def test_a_frame_that_a_file_does_not_have_is_named(tmp_path: Path, number: int) -> None:
    path = tmp_path / "x.tif"
    Image.fromarray(noise()).save(path, save_all=True, append_images=[Image.fromarray(noise())])
    found = try_decode(tmp_path, f"x.tif#{number}", Conversion())
    assert isinstance(found, BrokenFile)
    assert found.reason == f"has 2 frames (pages), not one with number {number}"


@pytest.mark.parametrize("suffix", ["pbm", "tga", "dib", "mpo"])
def test_further_formats_of_pillow_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(RAMP).convert("1" if suffix == "pbm" else "L").save(path)
    assert decode(path).pixels.shape == (16, 16, 1)


@pytest.mark.parametrize("values", [RAMP, RAMP.astype(np.uint16) * 257, RAMP.astype(np.float32)], ids=["8", "16", "32"])
def test_a_tiff_whose_low_values_are_bright_is_inverted_at_every_depth(tmp_path: Path, values: np.ndarray) -> None:
    names = ["dark.tif", "bright.tif"]
    for name in names:
        save(tmp_path / name, values)
    content = (tmp_path / "bright.tif").read_bytes()
    tag = np.array([262, 3], "<u2").tobytes() + np.array([1], "<u4").tobytes()
    assert content.count(tag + b"\1") == 1
    (tmp_path / "bright.tif").write_bytes(content.replace(tag + b"\1", tag + b"\0"))
    dark, bright = decode_files(tmp_path, names, Conversion(), lambda shape: np.empty(shape, np.uint8)).images
    assert (dark[..., 0] == RAMP).all()
    assert (bright[..., 0] == 255 - RAMP).all()


@pytest.mark.parametrize("window", [None, Window(-600, 1500)])
@pytest.mark.parametrize("place", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_the_rescaling_and_window_of_an_enhanced_ct_are_those_of_its_frame(
    tmp_path: Path, place: str, window: Window | None
) -> None:
    def item(values: dict[str, Any]) -> Items:
        header = Header()
        for keyword, value in values.items():
            setattr(header, keyword, value)
        return Items([header])

    groups = item({"PixelValueTransformationSequence": item(CT), "FrameVOILUTSequence": item(WINDOW)})
    make(HOUNSFIELD, Modality="CT", **CT, **WINDOW).save_as(tmp_path / "classic.dcm")
    enhanced = make(HOUNSFIELD, Modality="CT", NumberOfFrames=3)
    enhanced.PixelData = HOUNSFIELD.tobytes() * 3
    setattr(enhanced, place, Items([*groups] * 3))
    enhanced.save_as(tmp_path / "enhanced.dcm")
    classic = decode(tmp_path / "classic.dcm", window=window)
    found = decode(tmp_path / "enhanced.dcm", frames="middle", window=window)
    assert (found.pixels == classic.pixels).all()


def test_padding_that_is_written_as_an_unsigned_value_is_padding(tmp_path: Path) -> None:
    pixels = np.linspace(0, 1000, 256).astype(np.int16).reshape(16, 16)
    pixels[:4] = -2000
    made = make(pixels, Modality="MR")
    made.add_new("PixelPaddingValue", "US", 63536)
    made.save_as(tmp_path / "x.dcm")
    found = decode(tmp_path / "x.dcm").pixels[..., 0]
    assert (found[:4] == 0).all()
    assert found[5, 0] < 100


# Values


@pytest.mark.parametrize(("train", "test"), [((0, 1), (-1, 1)), ((0, 255), (-128, 127))])
def test_negative_values_of_one_split_are_refused(
    tmp_path: Path, train: tuple[float, float], test: tuple[float, float]
) -> None:
    images = {f"{name}_images": np.linspace(*limits, 8 * 256).reshape(8, 16, 16)
              for name, limits in (("train", train), ("val", train), ("test", test))}  # fmt: skip
    labels = {f"{name}_labels": np.arange(8) % 2 for name in ("train", "val", "test")}
    np.savez(tmp_path / "x.npz", **images, **labels)
    assert_refused(tmp_path / "x.npz", "test values have another range")


def test_a_split_of_a_smaller_depth_and_a_nearly_black_one_are_noted(tmp_path: Path) -> None:
    labels = {f"{name}_labels": np.arange(8) % 2 for name in ("train", "val", "test")}
    deep = RANDOM.integers(0, 2**16, (8, 16, 16)).astype(np.uint16)
    np.savez(tmp_path / "depths.npz", train_images=deep, val_images=deep, test_images=deep // 16, **labels)
    assert any("smaller range in test" in note for note in load(tmp_path / "depths.npz", leaks="allow").notes)
    grey = RANDOM.integers(0, 256, (8, 16, 16), np.uint8)
    np.savez(tmp_path / "black.npz", train_images=grey, val_images=255 - grey, test_images=grey // 128, **labels)
    assert any("The test images use only 2 of 256" in note for note in load(tmp_path / "black.npz").notes)


def test_files_of_8_bit_values_among_files_of_more_are_noted(tmp_path: Path) -> None:
    for name, factor in (("ill", 16), ("healthy", 1)):
        for number in range(8):
            save(tmp_path / name / f"{number}.png", noise().astype(np.uint16) * factor)
    assert any("8 of 16 images have no value above 255" in note for note in load(tmp_path).notes)


def test_metal_does_not_change_the_range_of_a_ct(tmp_path: Path) -> None:
    for number in range(12):
        values = RANDOM.integers(-1024, 1024, (16, 16)).astype(np.int16)
        values[0, 0] = 30_000 if number == 5 else 0
        path = tmp_path / ("healthy", "ill")[number % 2] / f"{number}.dcm"
        path.parent.mkdir(exist_ok=True)
        make(values, Modality="CT", RescaleSlope=1, RescaleIntercept=0).save_as(path)
    dataset = load(tmp_path)
    assert dataset.ranges["CT without a window"].high == 3071
    assert any("1 in train (from -1024 to 30000)" in note for note in dataset.notes)


def test_files_whose_range_is_ambiguous_do_not_end_a_prediction(tmp_path: Path) -> None:
    save(tmp_path / "good.png")
    save(tmp_path / "ambiguous.tif", RANDOM.uniform(-1, 1, (16, 16)).astype(np.float32))
    names = ["ambiguous.tif", "good.png"]
    found = decode_files(tmp_path, names, Conversion(), lambda shape: np.empty(shape, np.uint8), skip_ambiguous=True)
    assert found.kept == [1]
    (broken,) = found.broken
    assert (broken.file, "values are ambiguous" in broken.reason) == ("ambiguous.tif", True)


def test_an_ambiguous_range_does_not_stop_inspect(tmp_path: Path) -> None:
    for name in ("ill", "healthy"):
        for number in range(8):
            save(tmp_path / name / f"{number}.tif", RANDOM.uniform(-1, 1, (16, 16)).astype(np.float32))
    assert_refused(tmp_path, "values range from -", "--value-range")
    found = inspect(tmp_path)
    assert any("floating-point TIFF: values range from -" in finding.problem for finding in found.findings)


# Folders


def test_an_empty_split_does_not_stop_inspect(tmp_path: Path) -> None:
    save_classes(tmp_path, "train/ill", "train/healthy")
    (tmp_path / "val" / "ill").mkdir(parents=True)
    assert_refused(tmp_path, "val: contains no images in class folders")
    assert any("val: contains no images" in finding.problem for finding in inspect(tmp_path).findings)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("01_train", "train"),
        ("train_80%", "train"),
        ("train (1)", "train"),
        ("train_224x224", "train"),
        ("훈련", "train"),
        ("eğitim", "train"),
        ("doğrulama", "validation"),
        ("테스트", "test"),
        ("pruebas", "test"),
        ("constrain", None),
        ("2019", None),
    ],
)
def test_splits_are_recognised_with_numbers_and_in_further_languages(name: str, split: str | None) -> None:
    assert find_split(name) == split


@pytest.mark.parametrize("names", [("seg_test", "seg_train"), ("hospitalA", "hospitalB"), ("testA", "trainA")])
def test_folders_that_contain_the_classes_are_not_classes(tmp_path: Path, names: tuple[str, str]) -> None:
    save_classes(tmp_path, *(f"{name}/{kind}" for name in names for kind in ("ill", "healthy")))
    assert_refused(tmp_path, f"{names[0]}, {names[1]} contain the same folders healthy, ill")


def test_a_folder_in_a_folder_is_named(tmp_path: Path) -> None:
    save_classes(tmp_path / "photos", "photos/ill", "photos/healthy")
    assert_refused(tmp_path / "photos", "its only folder is photos, which contains healthy, ill")


def test_a_link_to_a_missing_file_is_a_broken_image(tmp_path: Path) -> None:
    save_classes(tmp_path, "ill", "healthy")
    (tmp_path / "ill" / "gone.png").symlink_to(tmp_path / "ill" / "missing.png")
    assert_refused(tmp_path, "ill/gone.png: does not exist")


def test_a_folder_without_images_names_the_endings_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "ill").mkdir()
    (tmp_path / "ill" / "0.psdx").write_bytes(b"x")
    assert_refused(tmp_path, "contains no images in class folders, only files ending in .psdx")


@pytest.mark.parametrize("name", ["Network Trash Folder", "LOST.DIR", "@tmp", "_gsdata_"])
def test_folders_of_storage_devices_are_not_classes(tmp_path: Path, name: str) -> None:
    assert load(save_classes(tmp_path, "ill", "healthy", name)).class_names == ("healthy", "ill")


def test_patients_are_found_below_a_folder_called_images(tmp_path: Path) -> None:
    save_classes(tmp_path, *(f"{name}/images/P{number}{name[0]}" for name in ("ill", "healthy") for number in range(6)))
    found = load(tmp_path)
    assert found.training.patients is not None
    assert {name for split in found.splits.values() if split.patients is not None for name in split.patients} == {
        f"P{number}{letter}" for number in range(6) for letter in "ih"
    }


def test_images_outside_the_folders_of_patients_are_in_the_table_of_splits(tmp_path: Path) -> None:
    save_classes(tmp_path, *(f"{name}/P{number}{name[0]}" for name in ("ill", "healthy") for number in range(6)))
    save(tmp_path / "ill" / "loose.png")
    dataset = load(tmp_path)
    (tmp_path / "splits.csv").write_text(split_table(dataset))
    assert load(tmp_path / "splits.csv").fingerprint == dataset.fingerprint


# Tables


@pytest.mark.parametrize("text", ["1.234,5", "1,234,567", "1 234", "81%", "81 kg", "7,5 mm"])
def test_a_column_of_numbers_that_are_read_as_text_is_noted(tmp_path: Path, text: str) -> None:
    lines = ["path;label;size"]
    for number in range(16):
        save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png;{('ill', 'healthy')[number % 2]};{text}")
    (tmp_path / "cases.csv").write_text("\n".join(lines))
    (note,) = (note for note in load(tmp_path / "cases.csv").notes if "'size'" in note)
    assert note.startswith(f"Column 'size' is text, because not all cells are numbers: {text!r} in row 2")


@pytest.mark.parametrize("text", ["007", "2A", "T1", "01.02.2020", "2020-03-01"])
def test_a_column_of_other_texts_is_not_noted(tmp_path: Path, text: str) -> None:
    for number in range(16):
        save(tmp_path / f"{number}.png")
    rows = (f"{number}.png,{('ill', 'healthy')[number % 2]},{text}" for number in range(16))
    (tmp_path / "cases.csv").write_text("\n".join(["path,label,size", *rows]))
    assert not any("'size'" in note for note in load(tmp_path / "cases.csv").notes)


# Classes


@pytest.mark.parametrize(
    ("one", "other"),
    [("KIRIK", "k\u0131r\u0131k"), ("İyi", "iyi"), ("non-covid", "non\u2011covid"), ("non-covid", "non\u2013covid"),
     ("Crohn's", "Crohn\u2019s"), ("-1", "\u22121"), ("ill", "ill\ufe0f"), ("ill", "ill\u3164"), ("ill", "ill\x01")],
)  # fmt: skip
def test_characters_that_look_alike_or_cannot_be_seen_do_not_make_two_classes(one: str, other: str) -> None:
    assert class_key(one) == class_key(other)


@pytest.mark.parametrize("names", [("clear cell carcinoma", "papillary carcinoma"), ("well", "poor")])
def test_words_with_other_meanings_do_not_make_a_class_negative(tmp_path: Path, names: tuple[str, str]) -> None:
    assert load(save_classes(tmp_path, *names)).positive is None


def test_dicom_files_of_siemens_are_recognised(tmp_path: Path) -> None:
    for number in range(16):
        path = tmp_path / ("healthy", "ill")[number % 2] / f"{number}.IMA"
        path.parent.mkdir(exist_ok=True)
        make(noise()).save_as(path)
    assert load(tmp_path).image_shape == (16, 16, 1)
