"""DICOM: pixels as a viewer displays them, patients and columns from the header, and invalid files."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pydicom import Dataset, FileDataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, SecondaryCaptureImageStorage, generate_uid

from keras_cnns.data import load
from keras_cnns.data.conversion import Conversion
from keras_cnns.data.dataset import BrokenFile
from keras_cnns.data.decoding.decoded_image import FULL_DEPTH, PADDED, STRETCHED, DecodedImage, age_in_years
from keras_cnns.data.decoding.image import decode, is_dicom, read_size
from keras_cnns.data.decoding.parallel import ConvertedImage, try_decode
from keras_cnns.data.decoding.window import Window, find_window
from keras_cnns.data.value_range import ValueRange, Values
from keras_cnns.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
RAMP = np.linspace(0, 4095, 30).astype(np.uint16).reshape(6, 5)


def make(pixels: np.ndarray, **header: Any) -> FileDataset:
    """Create a DICOM image; a signed type makes a signed image."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    made = FileDataset("made", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = SecondaryCaptureImageStorage, meta.MediaStorageSOPInstanceUID
    made.Rows, made.Columns = pixels.shape[:2]
    made.SamplesPerPixel = 1 if pixels.ndim == 2 else pixels.shape[2]
    made.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        made.PlanarConfiguration = 0
    made.BitsAllocated = made.BitsStored = 8 * pixels.itemsize
    made.HighBit = made.BitsAllocated - 1
    made.PixelRepresentation = int(np.issubdtype(pixels.dtype, np.signedinteger))
    made.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    for keyword, value in header.items():
        setattr(made, keyword, value)
    return made


def read(tmp_path: Path, pixels: np.ndarray, window: Window | None = None, **header: Any) -> DecodedImage:
    """Save and decode an image; greyscale pixels have shape (height, width) for comparisons."""
    path = tmp_path / "image.dcm"
    make(pixels, **header).save_as(path)
    found = decode(path, window=window)
    assert found.pixels.ndim == 3
    return replace(found, pixels=found.pixels[..., 0]) if found.pixels.shape[-1] == 1 else found


def real(name: str) -> Path:
    found = get_testdata_file(name, download=False)
    assert found is not None
    return Path(str(found))


def folder(root: Path, headers: list[dict[str, Any]], suffix: str = ".dcm") -> Path:
    pixels = np.random.default_rng(0).integers(0, 4096, (len(headers), 6, 5), np.uint16)
    for index, header in enumerate(headers):
        parent = root / ("ill", "well")[index % 2]
        parent.mkdir(parents=True, exist_ok=True)
        make(pixels[index], **header).save_as(parent / f"{index:02}{suffix}")
    return root


# Pixels


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_follow_the_formulas_of_the_standard(tmp_path: Path, function: str | None) -> None:
    header = {} if function is None else {"VOILUTFunction": function}
    found = read(tmp_path, RAMP, BitsStored=12, HighBit=11, WindowCenter=1000, WindowWidth=800, **header)
    values = RAMP.astype(float)
    expected = {
        "LINEAR": ((values - 999.5) / 799 + 0.5) * 255,
        "LINEAR_EXACT": ((values - 1000) / 800 + 0.5) * 255,
        "SIGMOID": 255 / (1 + np.exp(-4 * (values - 1000) / 800)),
    }[function or "LINEAR"]
    assert not found.remarks
    assert np.abs(found.pixels - expected.clip(0, 255)).max() <= 0.51


def test_the_first_of_several_windows_is_used(tmp_path: Path) -> None:
    one = read(tmp_path, RAMP, WindowCenter=1000, WindowWidth=800).pixels
    assert (read(tmp_path, RAMP, WindowCenter=[1000, 30], WindowWidth=[800, 9]).pixels == one).all()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16])
def test_windows_apply_to_rescaled_values(tmp_path: Path, kind: type) -> None:
    hounsfield = np.linspace(-100, 99, 30).astype(int).reshape(6, 5)
    stored = (hounsfield + (0 if kind == np.int16 else 100)).astype(kind)
    rescale = {"RescaleSlope": 1, "RescaleIntercept": 0 if kind == np.int16 else -100}
    found = read(tmp_path, stored, WindowCenter=40, WindowWidth=80, **rescale).pixels
    assert (found == np.rint((((hounsfield - 39.5) / 79 + 0.5) * 255).clip(0, 255))).all()


@settings(max_examples=30, deadline=None)
@given(
    pixels=arrays(np.int16, (4, 3), elements=st.integers(-2000, 4000)),
    window=st.none() | st.tuples(st.integers(-1000, 2000), st.integers(2, 3000)),
)
def test_monochrome1_is_inverted_and_the_order_of_values_is_kept(
    tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray, window: tuple[int, int] | None
) -> None:
    header = {} if window is None else {"WindowCenter": window[0], "WindowWidth": window[1]}
    root = tmp_path_factory.getbasetemp()
    light = read(root, pixels, **header)
    dark = read(root, pixels, PhotometricInterpretation="MONOCHROME1", **header)
    assert np.abs(255 - light.pixels.astype(int) - dark.pixels).max() <= 1
    order = pixels.ravel().argsort(kind="stable")
    assert (np.diff(light.pixels.ravel()[order].astype(int)) >= 0).all()
    assert light.remarks == (() if window is not None else (STRETCHED,))


def test_without_a_window_unsigned_values_are_scaled_by_their_bits(tmp_path: Path) -> None:
    pixels = np.arange(50, 80, dtype=np.uint8).reshape(6, 5)
    assert (read(tmp_path, pixels).pixels == pixels).all()
    stored = read(tmp_path, RAMP, BitsStored=12, HighBit=11)
    assert (stored.pixels == np.rint(RAMP * (255 / 4095))).all()
    assert (stored.kind, stored.remarks) == ("", (FULL_DEPTH,))
    unknown = read(tmp_path, RAMP)
    assert (unknown.pixels == RAMP).all()
    assert unknown.kind == "16-bit DICOM without a window"


@pytest.mark.parametrize("modality", ["MR", "PT", "NM", "US"])
def test_without_a_window_values_that_mean_something_within_an_image_are_stretched(
    tmp_path: Path, modality: str
) -> None:
    wide = read(tmp_path, np.arange(50, 80, dtype=np.uint16).reshape(6, 5), Modality=modality)
    assert (wide.pixels.min(), wide.pixels.max(), wide.remarks) == (0, 255, (STRETCHED,))
    assert (read(tmp_path, np.full((6, 5), 700, np.uint16), Modality=modality).pixels == 0).all()


CT = {"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": 0}
HOUNSFIELD_UNITS = np.linspace(-1000, 1000, 30).astype(np.int16).reshape(6, 5)


@pytest.mark.parametrize("padding", [-2000, -3024, -1025])
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("window", [None, Window(0, 2000)])
def test_padding_of_ct_is_black_whatever_the_other_values_are(
    tmp_path: Path, padding: int, named: bool, window: Window | None
) -> None:
    values = HOUNSFIELD_UNITS.copy()
    values[0] = padding
    header = CT | ({"PixelPaddingValue": padding} if named else {})
    for interpretation in ("MONOCHROME1", "MONOCHROME2"):
        found = read(tmp_path, values, window, PhotometricInterpretation=interpretation, **header)
        pixels = found.to_uint8(ValueRange(-1000, 1000)) if found.kind else found.pixels
        assert found.values == Values.of(values[1:]) if found.kind else True
        assert (pixels[0] == 0).all()
        ends = [int(pixels[1].min()), int(pixels[5].max())]
        assert (ends[0] > 100) == (interpretation == "MONOCHROME1")
        assert found.remarks == (PADDED,)


def test_ct_without_a_window_has_the_range_of_the_training_and_validation_images(tmp_path: Path) -> None:
    for split, high in (("train", 800), ("val", 1000), ("test", 3000)):
        for index in range(12):
            parent = tmp_path / split / ("ill", "well")[index % 2]
            parent.mkdir(parents=True, exist_ok=True)
            values = np.linspace(-1000 + index, high, 30).astype(np.int16).reshape(6, 5)
            make(values, **CT, PatientID=f"{split}{index}").save_as(parent / f"{index:02}.dcm")
    read_set = load(tmp_path)
    assert "CT without a window (36 images): values of -1000 to 1000 were scaled to 0 to 255." in read_set.notes
    assert any("beyond -1000 to 1000 were clipped" in note and "in test" in note for note in read_set.notes)
    assert read_set.splits["test"].images.max() == 255
    with_window = load(tmp_path, window="lung")
    assert "DICOM images are shown with the window center -600, width 1500." in with_window.notes
    assert load(tmp_path, window=(-600, 1500)).fingerprint == with_window.fingerprint != read_set.fingerprint


@pytest.mark.parametrize("text", ["lungs", "5", "5,0", "a,b", "nan,5"])
def test_windows_that_do_not_exist_are_an_error(text: str) -> None:
    with pytest.raises(DataError, match=f"window '{text}' is not possible; use lung, "):
        find_window(text)


def test_a_lookup_table_has_priority_over_a_window(tmp_path: Path) -> None:
    table = Dataset()
    table.LUTDescriptor = [4, 10, 16]
    table["LUTDescriptor"].VR = "US"
    table.add_new("LUTData", "US", [0, 30000, 40000, 65535])
    pixels = np.array([[0, 10, 11], [12, 13, 900]], np.uint16)
    found = read(tmp_path, pixels, VOILUTSequence=[table], WindowCenter=500, WindowWidth=100)
    assert found.pixels.tolist() == [[0, 0, 117], [156, 255, 255]]


def test_rgb_pixels_are_unchanged_and_16_bits_are_reduced(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (6, 4, 3), np.uint8)
    assert (read(tmp_path, colours).pixels == colours).all()
    deep = read(tmp_path, colours.astype(np.uint16) * 256).pixels
    assert (deep == colours).all()


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("MR_small_bigendian.dcm", "MR_small.dcm"),
        ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_rle.dcm"),
        ("SC_rgb_rle_16bit.dcm", "SC_rgb_rle.dcm"),
    ],
)
def test_real_compressed_files_equal_uncompressed_ones(name: str, plain: str) -> None:
    assert (decode(real(name)).pixels == decode(real(plain)).pixels).all()


@pytest.mark.parametrize(
    "name", ["SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_ybr_full_422_uncompressed.dcm"]
)
def test_real_ybr_files_become_rgb(name: str) -> None:
    found, expected = decode(real(name)).pixels.astype(int), decode(real("SC_rgb_rle.dcm")).pixels
    assert np.median(np.abs(found - expected)) <= 2


def test_a_real_palette_becomes_rgb() -> None:
    found = decode(real("examples_palette.dcm")).pixels
    assert found.shape == (350, 800, 3)
    assert found[0, 0].tolist() != [found[0, 0, 0]] * 3


# Datasets


def test_headers_of_a_folder_give_patients_and_columns(tmp_path: Path) -> None:
    headers = [
        {"PatientID": f"p{index // 2}", "PatientSex": "FM"[index % 2], "PatientAge": f"{index:03}Y", "Modality": "DX"}
        for index in range(24)
    ]
    del headers[3]["PatientAge"], headers[5]["PatientSex"]
    lungs = load(folder(tmp_path / "set", headers))
    assert (lungs.image_shape, lungs.class_names) == ((6, 5, 1), ("well", "ill"))
    by_file = {}
    for split in lungs.splits.values():
        assert set(split.columns) == {"PatientSex", "PatientAge", "Modality"}
        assert split.patients is not None
        rows = zip(split.files, split.patients, split.columns["PatientAge"], split.columns["PatientSex"], strict=True)
        by_file |= {file: rest for file, *rest in rows}
    assert by_file["ill/06.dcm"] == ["p3", 6.0, "F"]
    assert np.isnan(by_file["well/03.dcm"][1])
    assert by_file["well/05.dcm"][2] == ""
    train, validation = (set(lungs.splits[name].patients) for name in ("train", "validation"))
    assert not train & validation
    assert "24" in " ".join(note for note in lungs.notes if "without a window" in note)


def test_a_patient_id_that_all_files_share_is_ignored_and_missing_ids_are_separate_patients(tmp_path: Path) -> None:
    anonymous = load(folder(tmp_path / "same", [{"PatientID": "ANON"}] * 12))
    assert anonymous.splits["train"].patients is None
    assert "'ANON'" in " ".join(anonymous.notes)
    assert load(folder(tmp_path / "none", [{}] * 12)).splits["train"].patients is None
    some = load(folder(tmp_path / "some", [{"PatientID": "a"}, {"PatientID": "b"}, *[{}] * 18]))
    names = np.concatenate([split.patients for split in some.splits.values() if split.patients is not None])
    assert len(set(names)) == 20
    assert "18 images have no PatientID" in " ".join(some.notes)


@pytest.mark.parametrize("suffix", ["", ".DICOM", ".1.2.840"])
def test_dicom_files_without_a_suffix_are_detected_by_their_content(tmp_path: Path, suffix: str) -> None:
    root = folder(tmp_path / "set", [{}] * 12, suffix=suffix)
    (root / "ill" / "README").write_text("not an image")
    shutil.copy(real("dicomdirtests/DICOMDIR"), root / "ill" / "DICOMDIR")
    assert sum(map(len, load(root).splits.values())) == 12
    assert not is_dicom(root / "ill" / "README")


def test_columns_of_a_table_have_priority_over_dicom_headers(tmp_path: Path) -> None:
    root = folder(tmp_path, [{"PatientID": f"p{index}", "PatientSex": "F"} for index in range(12)])
    rows = [f"{('ill', 'well')[index % 2]}/{index:02}.dcm,{'ab'[index % 2]},mine{index},X" for index in range(12)]
    (root / "cases.csv").write_text("\n".join(["path,label,patient,PatientSex", *rows]))
    train = load(root / "cases.csv").splits["train"]
    assert train.patients is not None
    assert all(patient.startswith("mine") for patient in train.patients)
    assert set(train.columns["PatientSex"]) == {"X"}


def test_dicom_and_other_images_in_one_folder(tmp_path: Path) -> None:
    root = folder(tmp_path, [{"PatientID": f"p{index}"} for index in range(12)])
    Image.new("L", (5, 6), 7).save(root / "ill" / "picture.png")
    everything = load(root)
    assert sum(map(len, everything.splits.values())) == 13
    assert "1 images have no PatientID" in " ".join(everything.notes)


def test_width_and_height_are_read_from_the_header(tmp_path: Path) -> None:
    make(RAMP).save_as(tmp_path / "image.dcm")
    assert read_size(tmp_path / "image.dcm") == (5, 6)
    Image.fromarray(RAMP).save(tmp_path / "image.png")
    assert read_size(tmp_path / "image.png") == (5, 6)


@pytest.mark.parametrize(("text", "expected"), [("063Y", 63), ("018M", 1.5), ("365D", 0.9993), ("052W", 0.9966)])
def test_ages_are_converted_to_years(text: str, expected: float) -> None:
    assert age_in_years(text) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("text", ["", "Y", "063", "-01Y", "oldY"])
def test_invalid_ages_are_nan(text: str) -> None:
    assert np.isnan(age_in_years(text))


# Errors


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("SC_rgb_rle_2frame.dcm", ["2 frames"]),
        ("JPEG-lossy.dcm", ["JPEG Extended", "12-bit"]),
        ("MR_truncated.dcm", ["Explicit VR Little Endian", "8130"]),
        ("rtplan.dcm", ["without pixels"]),
        ("badVR.dcm", ["broken"]),
        ("no_meta.dcm", ["not a DICOM"]),
    ],
)
def test_real_files_that_are_not_single_images_have_one_line_errors(name: str, parts: list[str]) -> None:
    broken = try_decode(real(name).parent, name, Conversion())
    assert isinstance(broken, BrokenFile)
    message = str(broken)
    assert len(message.splitlines()) == 1
    assert [part for part in [name, *parts] if part not in message] == []


def test_unsupported_transfer_syntaxes_are_named(tmp_path: Path) -> None:
    made = make(RAMP)
    made.compress(RLELossless)
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
    made.save_as(tmp_path / "film.dcm")
    with pytest.raises(DataError, match="MPEG2"):
        decode(tmp_path / "film.dcm")


@settings(max_examples=60, deadline=None)
@given(at=st.integers(132, 9000), by=st.integers(1, 255), cut=st.booleans())
def test_a_corrupt_file_is_an_image_or_a_one_line_error(
    tmp_path_factory: pytest.TempPathFactory, at: int, by: int, cut: bool
) -> None:
    content = bytearray(real("MR_small.dcm").read_bytes())
    content[at] ^= by
    path = tmp_path_factory.getbasetemp() / "broken.dcm"
    path.write_bytes(content[:at] if cut else content)
    found = try_decode(path.parent, path.name, Conversion())
    if isinstance(found, ConvertedImage):
        assert found.shape[-1] == 1
        assert found.source.kind or found.pixels is not None
    else:
        assert len(found.reason.splitlines()) == 1


def test_broken_files_are_listed_and_can_be_skipped(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", [{"PatientID": f"p{index}"} for index in range(20)])
    for name in ("ill/00.dcm", "well/01.dcm"):
        (root / name).write_bytes(b"not DICOM")
    with pytest.raises(DataError, match=r"2 of 20 files cannot be read: ill/00.dcm: .*; well/01.dcm: .*--skip-broken"):
        load(root)
    rest = load(root, skip_broken=True)
    assert [broken.file for broken in rest.broken] == ["ill/00.dcm", "well/01.dcm"]
    assert "2 of 20 files: ill/00.dcm (is not a DICOM file), well/01.dcm" in " ".join(rest.notes)
    assert sum(map(len, rest.splits.values())) == 18


def test_headers_are_cached_with_streamed_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_CNNS_CACHE", str(tmp_path / "cache"))
    root = folder(tmp_path / "set", [{"PatientID": f"p{index}", "PatientAge": "040Y"} for index in range(12)])
    fresh, again, plain = load(root, stream=True), load(root, stream=True), load(root, stream=False)
    for name, split in plain.splits.items():
        for streamed in (fresh.splits[name], again.splits[name]):
            assert streamed.fingerprint == split.fingerprint
            assert (streamed.patients == split.patients).all()
            assert (streamed.columns["PatientAge"] == 40).all()
    assert fresh.notes == again.notes == plain.notes
    assert dcmread(root / "ill" / "00.dcm").PatientID == "p0"
