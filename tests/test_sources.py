"""The registry of sources: each one is listed wherever users look, and a file or a plugin is enough to add one."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from keras_cnns.cli import main
from keras_cnns.data import load, sources
from keras_cnns.data.inspection import inspect
from keras_cnns.data.sources import SourceKind, all_sources, read_source
from keras_cnns.data.sources.files import ImageFiles
from keras_cnns.errors import DataError
from keras_cnns.plugins import PluginWarning

ROOT = Path(__file__).parents[1]
USAGES = [kind.usage for kind in all_sources()]
OURS = ["FILE.npz", "digits", "FOLDER", "FILE.csv/.tsv/.txt/.parquet", "tfds:NAME[/CONFIG]"]
COMMANDS = ("train", "sweep", "evaluate", "inspect")
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 6, 5), np.uint8)
RASTERS = """
from pathlib import Path

import numpy as np

from keras_cnns.data import Dataset, Split
from keras_cnns.data.sources import SourceKind
from keras_cnns.data.sources.files import ImageFiles

PIXELS = np.arange(20 * 6 * 6, dtype=np.uint8).reshape(20, 6, 6)


def read_rasters(source):
    dataset = Dataset(
        name="rasters", source=source, splits={"train": Split(PIXELS, np.arange(20) % 2)}, class_names=("a", "b")
    )
    folder = source.removeprefix("rasters:")
    if not folder:
        return dataset
    files = tuple(sorted(path.name for path in Path(folder).glob("*.png")))
    labels = np.arange(len(files)) % 2
    return ImageFiles(
        name="rasters", source=source, root=Path(folder), samples=Split(np.arange(len(files)), labels, files=files),
        splits=np.full(len(files), "train"), class_names=("a", "b"),
    )


SOURCE = SourceKind(
    usage="rasters:[FOLDER]",
    description="images of which 50% are rasters",
    matches=lambda source: source.startswith("rasters:"),
    read=read_rasters,
)
"""


@pytest.fixture(autouse=True)
def only_installed_sources() -> Iterator[None]:
    """Forget the sources that a test adds."""
    yield
    all_sources.cache_clear()


@contextmanager
def add_source(name: str, text: str, folder: Path) -> Iterator[None]:
    """Add a source the way a developer does, with a file, and remove it afterwards."""
    (folder / f"{name}.py").write_text(text, "utf-8")
    sources.__path__.append(str(folder))
    all_sources.cache_clear()
    try:
        yield
    finally:
        sources.__path__.remove(str(folder))
        sys.modules.pop(f"{sources.__name__}.{name}", None)
        all_sources.cache_clear()


def read_help(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the help of a command without spaces and line breaks, which may be anywhere in a text."""
    with pytest.raises(SystemExit, match="0"):
        main((command, "--help"))
    return squeeze(capsys.readouterr().out)


def squeeze(text: str) -> str:
    return re.sub(r"\s", "", text)


def error_of(source: str) -> str:
    with pytest.raises(DataError) as raised:
        load(source)
    (message,) = str(raised.value).splitlines()
    return message


# The registry


def test_the_sources_of_this_package_are_tried_in_the_order_of_their_modules() -> None:
    assert [usage for usage in USAGES if usage in OURS] == OURS


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_that_reads_images_describes_all_sources(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = read_help(command, capsys)
    assert all(squeeze(f"{kind.usage} ({kind.description})") in text for kind in all_sources())


def test_the_error_for_an_unknown_source_lists_all_sources(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("")
    for name, problem in {"notes.md": "is not a supported source", "gone.npz": "does not exist"}.items():
        message = error_of(str(tmp_path / name))
        assert message.startswith(f"{tmp_path / name}: {problem}; use ")
        assert all(usage in message for usage in USAGES)


def test_the_docs_describe_all_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs" / "hooks")
    page = SimpleNamespace(file=SimpleNamespace(src_uri="images.md"))
    text = import_module("pages").on_page_markdown((ROOT / "docs" / "images.md").read_text("utf-8"), page)
    assert "SOURCES" not in text
    assert all(f"| `{kind.usage}` | {kind.description} |" in text for kind in all_sources())


def test_listing_the_sources_and_reading_a_folder_load_no_library_of_another_source(tmp_path: Path) -> None:
    write_folder(tmp_path)
    code = (
        "import sys; from keras_cnns.data import sources; sources.read_source(sys.argv[1])\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "numpy" in loaded
    assert not loaded & {"pandas", "pyarrow", "sklearn", "tensorflow", "tensorflow_datasets", "keras"}


# What a source is


def write_folder(root: Path) -> Path:
    for index, image in enumerate(IMAGES):
        (root / "ab"[index % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / "ab"[index % 2] / f"{index}.png")
    return root


def write_sources(root: Path) -> dict[str, str]:
    """Write a source of each kind, and of other names, and return its module."""
    np.savez(root / "images.npz", x_train=IMAGES, y_train=np.arange(12) % 2)
    write_folder(root / "photos").rename(root / "photos.npz")
    for name in ("photos", "photos.csv", "why?a=b"):
        write_folder(root / name)
    table = pd.DataFrame({"path": [f"photos/{'ab'[index % 2]}/{index}.png" for index in range(12)]})
    table = table.assign(label=[index % 2 for index in range(12)], finding=[index // 6 for index in range(12)])
    for name in ("cases.csv", "CASES.CSV", "why?.csv"):
        table.to_csv(root / name, index=False)
    table.to_csv(root / "cases.tsv", index=False, sep="\t")
    table.to_parquet(root / "cases.parquet")
    folders = ("photos", "photos.npz", "photos.csv", "why?a=b")
    tables = ("cases.csv", "CASES.CSV", "cases.tsv", "cases.parquet", "cases.csv?label=finding", "why?.csv")
    return {
        "images.npz": "archive",
        "digits": "digits",
        "tfds:mnist": "tfds",
        **dict.fromkeys(folders, "folder"),
        **dict.fromkeys(tables, "table"),
    }


def test_each_source_is_of_exactly_one_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_sources(tmp_path)
    monkeypatch.chdir(tmp_path)
    for source, module in written.items():
        kinds = [kind for kind in all_sources() if kind.matches(source)]
        assert kinds == [import_module(f"{sources.__name__}.{module}").SOURCE], source


def test_a_folder_that_is_called_digits_is_read_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "digits")
    monkeypatch.chdir(tmp_path)
    assert (load("digits").classes, load("./digits").classes) == (10, 2)


@pytest.mark.parametrize("source", ["gone.csv?label=finding", "images.npz?label=finding", "photos?label=finding"])
def test_only_tables_that_exist_have_a_query(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sources(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert [kind for kind in all_sources() if kind.matches(source)] == []


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sources(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for source, expected in {"~/photos": "photos", "~/cases.csv?label=finding": "cases.csv"}.items():
        found = read_source(source)
        assert isinstance(found, ImageFiles)
        assert found.name == expected
    assert error_of("~/gone.csv").startswith("~/gone.csv: does not exist")
    assert error_of("~nobody-has-this-name/photos").startswith("~nobody-has-this-name/photos: does not exist")


# Sources of others


def test_a_source_that_is_added_as_a_file_is_read_and_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with add_source("rasters", RASTERS, tmp_path):
        usages = [kind.usage for kind in all_sources()]
        assert usages.index("FOLDER") < usages.index("rasters:[FOLDER]") < usages.index("tfds:NAME[/CONFIG]")
        dataset = load("rasters:")
        assert (dataset.name, dataset.image_shape, len(dataset.splits["train"])) == ("rasters", (6, 6, 1), 16)
        assert squeeze("rasters:[FOLDER] (images of which 50% are rasters)") in read_help("train", capsys)
        assert "rasters:[FOLDER]" in error_of("gone.npz")
        assert main(("inspect", "rasters:")) == 0
        assert "rasters, fingerprint" in capsys.readouterr().out


def test_image_files_of_an_added_source_are_found_in_its_folder(tmp_path: Path) -> None:
    for index, image in enumerate(IMAGES):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    with add_source("rasters", RASTERS, tmp_path):
        assert load(f"rasters:{tmp_path}").root == tmp_path
        found = inspect(f"rasters:{tmp_path}", image_size=4)
    assert found.file_sizes == {(5, 6): 12}


@pytest.fixture
def rastered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make a package with a source importable."""
    (tmp_path / "rastered.py").write_text(RASTERS, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    all_sources.cache_clear()
    yield
    sys.modules.pop("rastered", None)


@pytest.mark.usefixtures("rastered")
def test_the_sources_of_other_packages_are_tried_last(
    provide: list[EntryPoint], capsys: pytest.CaptureFixture[str]
) -> None:
    provide.append(EntryPoint("rasters", "rastered:SOURCE", "keras_cnns.sources"))
    assert [kind.usage for kind in all_sources()] == [*USAGES, "rasters:[FOLDER]"]
    assert load("rasters:").name == "rasters"
    assert "rasters:[FOLDER]" in read_help("train", capsys)


@pytest.mark.usefixtures("rastered")
@pytest.mark.parametrize("value", ["rastered:read_rasters", "no_such_module:SOURCE"])
def test_a_source_that_cannot_be_imported_does_not_break_the_others(provide: list[EntryPoint], value: str) -> None:
    provide.append(EntryPoint("rasters", value, "keras_cnns.sources"))
    with pytest.warns(PluginWarning, match="is skipped"):
        assert [kind.usage for kind in all_sources()] == USAGES
    assert all(isinstance(kind, SourceKind) for kind in all_sources())
