"""DICOM: pixels as a screen shows them, patients and their facts from the header, and files that are refused."""

from __future__ import annotations

import shutil
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
from keras_cnns.data.decoding import Picture, decode, is_dicom, read_picture, read_size
from keras_cnns.data.dicom import years
from keras_cnns.data.reading import Wanted, attempt
from keras_cnns.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
RAMP = np.linspace(0, 4095, 30).astype(np.uint16).reshape(6, 5)


def make(pixels: np.ndarray, **header: Any) -> FileDataset:
    """Return a DICOM image; a signed type is a signed image."""
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


def read(tmp_path: Path, pixels: np.ndarray, **header: Any) -> Picture:
    path = tmp_path / "image.dcm"
    make(pixels, **header).save_as(path)
    return read_picture(path)


def real(name: str) -> Path:
    found = get_testdata_file(name, download=False)
    assert found is not None
    return Path(str(found))


def folder(root: Path, headers: list[dict[str, Any]], ending: str = ".dcm") -> Path:
    pixels = np.random.default_rng(0).integers(0, 4096, (len(headers), 6, 5), np.uint16)
    for index, header in enumerate(headers):
        place = root / ("ill", "well")[index % 2]
        place.mkdir(parents=True, exist_ok=True)
        make(pixels[index], **header).save_as(place / f"{index:02}{ending}")
    return root


# Pixels


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_window_is_applied_as_the_standard_writes_it(tmp_path: Path, function: str | None) -> None:
    header = {} if function is None else {"VOILUTFunction": function}
    shown = read(tmp_path, RAMP, BitsStored=12, HighBit=11, WindowCenter=1000, WindowWidth=800, **header)
    values = RAMP.astype(float)
    expected = {
        "LINEAR": ((values - 999.5) / 799 + 0.5) * 255,
        "LINEAR_EXACT": ((values - 1000) / 800 + 0.5) * 255,
        "SIGMOID": 255 / (1 + np.exp(-4 * (values - 1000) / 800)),
    }[function or "LINEAR"]
    assert not shown.stretched
    assert np.abs(shown.pixels - expected.clip(0, 255)).max() <= 0.51


def test_the_first_of_several_windows_counts(tmp_path: Path) -> None:
    one = read(tmp_path, RAMP, WindowCenter=1000, WindowWidth=800).pixels
    assert (read(tmp_path, RAMP, WindowCenter=[1000, 30], WindowWidth=[800, 9]).pixels == one).all()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16])
def test_windows_are_in_units_after_rescaling(tmp_path: Path, kind: type) -> None:
    hounsfield = np.linspace(-100, 99, 30).astype(int).reshape(6, 5)
    stored = (hounsfield + (0 if kind == np.int16 else 100)).astype(kind)
    rescale = {"RescaleSlope": 1, "RescaleIntercept": 0 if kind == np.int16 else -100}
    shown = read(tmp_path, stored, WindowCenter=40, WindowWidth=80, **rescale).pixels
    assert (shown == np.rint((((hounsfield - 39.5) / 79 + 0.5) * 255).clip(0, 255))).all()


@settings(max_examples=30, deadline=None)
@given(
    pixels=arrays(np.int16, (4, 3), elements=st.integers(-2000, 4000)),
    window=st.none() | st.tuples(st.integers(-1000, 2000), st.integers(2, 3000)),
)
def test_monochrome1_is_the_negative_and_order_is_kept(
    tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray, window: tuple[int, int] | None
) -> None:
    header = {} if window is None else {"WindowCenter": window[0], "WindowWidth": window[1]}
    root = tmp_path_factory.getbasetemp()
    light = read(root, pixels, **header)
    dark = read(root, pixels, PhotometricInterpretation="MONOCHROME1", **header)
    assert np.abs(255 - light.pixels.astype(int) - dark.pixels).max() <= 1
    order = pixels.ravel().argsort(kind="stable")
    assert (np.diff(light.pixels.ravel()[order].astype(int)) >= 0).all()
    assert light.stretched == (window is None)


def test_8_bits_without_a_window_stay_as_they_are_and_16_are_stretched(tmp_path: Path) -> None:
    pixels = np.arange(50, 80, dtype=np.uint8).reshape(6, 5)
    plain = read(tmp_path, pixels)
    assert (plain.pixels == pixels).all()
    assert not plain.stretched
    wide = read(tmp_path, pixels.astype(np.uint16))
    assert (wide.pixels.min(), wide.pixels.max(), wide.stretched) == (0, 255, True)
    assert (read(tmp_path, np.full((6, 5), 700, np.uint16)).pixels == 0).all()


def test_a_look_up_table_comes_before_a_window(tmp_path: Path) -> None:
    table = Dataset()
    table.LUTDescriptor = [4, 10, 16]
    table["LUTDescriptor"].VR = "US"
    table.add_new("LUTData", "US", [0, 30000, 40000, 65535])
    pixels = np.array([[0, 10, 11], [12, 13, 900]], np.uint16)
    shown = read(tmp_path, pixels, VOILUTSequence=[table], WindowCenter=500, WindowWidth=100)
    assert shown.pixels.tolist() == [[0, 0, 117], [156, 255, 255]]


def test_colour_is_colour(tmp_path: Path) -> None:
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
def test_real_compressed_files_are_as_uncompressed_ones(name: str, plain: str) -> None:
    assert (decode(real(name), None) == decode(real(plain), None)).all()


@pytest.mark.parametrize(
    "name", ["SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_ybr_full_422_uncompressed.dcm"]
)
def test_real_luminance_and_chrominance_become_red_green_and_blue(name: str) -> None:
    found, expected = decode(real(name), None).astype(int), decode(real("SC_rgb_rle.dcm"), None)
    assert np.median(np.abs(found - expected)) <= 2


def test_a_real_palette_becomes_its_colours() -> None:
    found = decode(real("examples_palette.dcm"), None)
    assert found.shape == (350, 800, 3)
    assert found[0, 0].tolist() != [found[0, 0, 0]] * 3


# Sets


def test_a_folder_gives_patients_and_what_is_known_of_them(tmp_path: Path) -> None:
    headers = [
        {"PatientID": f"p{index // 2}", "PatientSex": "FM"[index % 2], "PatientAge": f"{index:03}Y", "Modality": "DX"}
        for index in range(24)
    ]
    del headers[3]["PatientAge"], headers[5]["PatientSex"]
    lungs = load(folder(tmp_path / "set", headers))
    assert (lungs.image_shape, lungs.class_names) == ((6, 5, 1), ("ill", "well"))
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


def test_a_patient_of_one_name_for_all_is_none_and_missing_ones_are_each_their_own(tmp_path: Path) -> None:
    anonymous = load(folder(tmp_path / "same", [{"PatientID": "ANON"}] * 12))
    assert anonymous.splits["train"].patients is None
    assert "'ANON'" in " ".join(anonymous.notes)
    assert load(folder(tmp_path / "none", [{}] * 12)).splits["train"].patients is None
    some = load(folder(tmp_path / "some", [{"PatientID": "a"}, {"PatientID": "b"}, *[{}] * 18]))
    names = np.concatenate([split.patients for split in some.splits.values() if split.patients is not None])
    assert len(set(names)) == 20
    assert "18 images have no PatientID" in " ".join(some.notes)


@pytest.mark.parametrize("ending", ["", ".DICOM", ".1.2.840"])
def test_dicom_is_known_by_its_beginning_where_it_has_no_ending(tmp_path: Path, ending: str) -> None:
    root = folder(tmp_path / "set", [{}] * 12, ending=ending)
    (root / "ill" / "README").write_text("no image")
    shutil.copy(real("dicomdirtests/DICOMDIR"), root / "ill" / "DICOMDIR")
    assert sum(map(len, load(root).splits.values())) == 12
    assert not is_dicom(root / "ill" / "README")


def test_a_table_names_dicom_files_and_its_columns_come_first(tmp_path: Path) -> None:
    root = folder(tmp_path, [{"PatientID": f"p{index}", "PatientSex": "F"} for index in range(12)])
    rows = [f"{('ill', 'well')[index % 2]}/{index:02}.dcm,{'ab'[index % 2]},mine{index},X" for index in range(12)]
    (root / "cases.csv").write_text("\n".join(["path,label,patient,PatientSex", *rows]))
    train = load(root / "cases.csv").splits["train"]
    assert train.patients is not None
    assert all(patient.startswith("mine") for patient in train.patients)
    assert set(train.columns["PatientSex"]) == {"X"}


def test_dicom_and_pictures_side_by_side(tmp_path: Path) -> None:
    root = folder(tmp_path, [{"PatientID": f"p{index}"} for index in range(12)])
    Image.new("L", (5, 6), 7).save(root / "ill" / "picture.png")
    everything = load(root)
    assert sum(map(len, everything.splits.values())) == 13
    assert "1 images have no PatientID" in " ".join(everything.notes)


def test_width_and_height_are_in_the_header(tmp_path: Path) -> None:
    make(RAMP).save_as(tmp_path / "image.dcm")
    assert read_size(tmp_path / "image.dcm") == (5, 6)
    Image.fromarray(RAMP).save(tmp_path / "image.png")
    assert read_size(tmp_path / "image.png") == (5, 6)


@pytest.mark.parametrize(("text", "expected"), [("063Y", 63), ("018M", 1.5), ("365D", 0.9993), ("052W", 0.9966)])
def test_ages_are_in_years(text: str, expected: float) -> None:
    assert years(text) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("text", ["", "Y", "063", "-01Y", "oldY"])
def test_ages_that_are_none(text: str) -> None:
    assert np.isnan(years(text))


# Refusals


@pytest.mark.parametrize(
    ("name", "culprits"),
    [
        ("SC_rgb_rle_2frame.dcm", ["2 frames"]),
        ("JPEG-lossy.dcm", ["JPEG Extended", "12-bit"]),
        ("MR_truncated.dcm", ["Explicit VR Little Endian", "8130"]),
        ("rtplan.dcm", ["without pixels"]),
        ("badVR.dcm", ["broken"]),
        ("no_meta.dcm", ["no DICOM"]),
    ],
)
def test_real_files_that_are_no_single_image_are_refused_in_a_line(name: str, culprits: list[str]) -> None:
    with pytest.raises(DataError) as raised:
        decode(real(name), None)
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    assert [culprit for culprit in [name, *culprits] if culprit not in message] == []


def test_syntaxes_that_nothing_decodes_are_named(tmp_path: Path) -> None:
    made = make(RAMP)
    made.compress(RLELossless)
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
    made.save_as(tmp_path / "film.dcm")
    with pytest.raises(DataError, match="MPEG2"):
        read_picture(tmp_path / "film.dcm")


@settings(max_examples=60, deadline=None)
@given(at=st.integers(132, 9000), by=st.integers(1, 255), cut=st.booleans())
def test_whatever_is_broken_is_an_image_or_a_line(
    tmp_path_factory: pytest.TempPathFactory, at: int, by: int, cut: bool
) -> None:
    content = bytearray(real("MR_small.dcm").read_bytes())
    content[at] ^= by
    path = tmp_path_factory.getbasetemp() / "broken.dcm"
    path.write_bytes(content[:at] if cut else content)
    found = attempt(path.parent, path.name, Wanted())
    if isinstance(found, Picture):
        assert (found.pixels.dtype, found.pixels.ndim) == (np.uint8, 2)
    else:
        assert len(found.reason.splitlines()) == 1


def test_unreadable_files_are_listed_and_can_be_left_out(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", [{"PatientID": f"p{index}"} for index in range(20)])
    for name in ("ill/00.dcm", "well/01.dcm"):
        (root / name).write_bytes(b"no DICOM at all")
    with pytest.raises(DataError, match=r"2 of 20 files cannot be read: ill/00.dcm: .*; well/01.dcm: .*--skip-broken"):
        load(root)
    rest = load(root, skip_broken=True)
    assert [broken.file for broken in rest.broken] == ["ill/00.dcm", "well/01.dcm"]
    assert "2 of 20 files: ill/00.dcm, well/01.dcm" in " ".join(rest.notes)
    assert sum(map(len, rest.splits.values())) == 18


def test_headers_are_kept_with_streamed_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
