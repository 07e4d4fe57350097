"""The commands and the Python code of README and docs run as written."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import keras_cnns
from keras_cnns import Recipe
from keras_cnns.cli import main, make_parser
from keras_cnns.evaluation.metrics import make_weighted_metrics
from keras_cnns.networks.augmentations import Augmentation
from keras_cnns.networks.registry import all_families
from keras_cnns.networks.weights import to_state_dict
from keras_cnns.tracking import Store
from tuning import search
from tuning.finishing.result import SweepResult

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROMPTS = {"sh": "", "console": r"\w*\$ "}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN_IDS = ("3f2a91c0", "e135f2c2", "5803bffb", "RUN_ID")
FASTER = {  # changes only how long a sample takes
    r"sweep densenet": "sweep densenet --set blocks=1,1",
    r"--set growth_rate=8": "--set growth_rate=8 --set blocks=1,1",
    r"--trials \d+": "--trials 1 --seed 2",  # a seed whose first candidate is small
    r', weights="imagenet"': "",
    r"--repeats \d+ --refit": "",
    r"--repeats \d+": "--repeats 2",
    r"--epochs \d+": "--epochs 1",
    r"--recipe modern": "--recipe modern --epochs 1",
    r"--image-size 64": "--image-size 32",
    r"--max-parameters 1M": "--max-parameters 50K --epochs 1",
    r"epochs=\d+": "epochs=1",
    r"folds=\d+": "folds=2",
    r'"growth_rate": 8': '"growth_rate": 8, "blocks": (1, 1)',
    r'"googlenet", classes=10': '"googlenet", classes=10, modules=(1, 1, 1), auxiliary_after=(1, 2)',
}


def make_faster(text: str) -> str:
    for pattern, replacement in FASTER.items():
        text = re.sub(pattern, replacement, text)
    return text


def blocks(page: Path, *kinds: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text("utf-8")) if kind in kinds]


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the arguments of each command on a page, without output redirection."""
    for kind, prompt in PROMPTS.items():
        for block in blocks(page, kind):
            for command in re.findall(rf"^\s*{prompt}keras-cnns (.*)$", block, re.MULTILINE):
                yield shlex.split(re.sub(r" > \S+( +#.*)?$", "", command), comments=True)


@pytest.mark.parametrize(
    "arguments", [pytest.param(each, id=f"{page.stem} {' '.join(each)}") for page in PAGES for each in commands(page)]
)
def test_each_command_can_be_parsed(arguments: list[str]) -> None:
    assert make_parser().parse_args(arguments).command


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with photos of two classes, new photos, and an archive like MNIST's."""
    folder = tmp_path_factory.mktemp("source")
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for shade, name in enumerate(("cat", "dog")):
            class_folder = folder / "photos" / split / name
            class_folder.mkdir(parents=True)
            for number in range(12):
                low = int(generator.integers(0, 60)) + 30 * shade
                pixels = generator.integers(low, low + 100, (40, 40), np.uint8)
                Image.fromarray(pixels).save(class_folder / f"{number}.png")
    (folder / "new").mkdir()
    Image.fromarray(generator.integers(0, 80, (40, 40), np.uint8)).save(folder / "new" / "0.png")
    images, labels = generator.integers(0, 256, (80, 28, 28), np.uint8), np.arange(80) % 10
    np.savez(folder / "mnist.npz", x_train=images[:60], y_train=labels[:60], x_test=images[60:], y_test=labels[60:])
    return folder


@pytest.fixture(scope="module")
def trained(source: Path) -> tuple[keras_cnns.TrainedRun, keras_cnns.Dataset]:
    """Return a run on the photos, in a store in their folder, and its dataset."""
    dataset = keras_cnns.load(str(source / "photos"), image_size=28)
    run = keras_cnns.train(
        "densenet-bc-40", dataset, settings={"blocks": (1, 1), "growth_rate": 4}, recipe=Recipe(epochs=1),
        folder=source / "runs", tracking_uri=f"sqlite:///{source / 'mlflow.db'}",
    )  # fmt: skip
    return run, dataset


@pytest.fixture
def folder(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a copy of the folder."""
    shutil.copytree(source, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.usefixtures("own_ray")
def test_the_commands_of_the_readme_lead_from_a_folder_of_images_to_an_evaluation(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (script,) = (block for block in blocks(ROOT / "README.md", "sh") if "keras-cnns inspect" in block)
    for line in make_faster(script).splitlines():
        if any(text in line for text in ("sweep densenet", "--weights", "serve")):  # as in the tests of these
            continue
        arguments = shlex.split(line, comments=True)[1:]
        if "RUN" in arguments:
            runs = Store(f"sqlite:///{folder / 'mlflow.db'}", create=False).runs(experiment="train")
            arguments = [runs[0].id if argument == "RUN" else argument for argument in arguments]
        assert main(arguments) == 0, (line, capsys.readouterr().err)
    assert (folder / "sheet.png").exists()
    assert "<svg" in (folder / "comparison.html").read_text("utf-8")
    assert "sensitivity" in (folder / "result.html").read_text("utf-8").lower()
    assert list((folder / "heatmaps").glob("*.png"))


PAGES_WITH_PYTHON = [page for page in PAGES if blocks(page, "python") and page.name != "adding.md"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.stem, marks=[pytest.mark.exhaustive] if page.stem == "from-other-libraries" else [])
        for page in PAGES_WITH_PYTHON
    ],
)
def test_the_python_code_of_a_page_runs(
    page: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Everything but the trials of a sweep, which the commands of the README run."""
    samples = blocks(page, "python")
    names: dict[str, Any] = {"keras_cnns": keras_cnns, "labels": np.array([0, 1])}
    if any(name in text for text in samples for name in ("trained.", *RUN_IDS)):
        trained, dataset = request.getfixturevalue("trained")
        names |= {"trained": trained, "dataset": dataset, "patients": np.arange(len(dataset.splits["test"]))}
        samples = [re.sub("|".join(RUN_IDS), trained.run_id, text) for text in samples]
    request.getfixturevalue("folder")
    shape = (2, 28, 28, 1) if "runs:/" in "".join(samples) else (2, 224, 224, 3)
    names["images"] = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    result = create_autospec(SweepResult, instance=True)
    monkeypatch.setattr(search, "run_sweep", create_autospec(search.run_sweep, return_value=result))
    monkeypatch.setattr(search, "check_cluster", create_autospec(search.check_cluster))
    if page.name == "from-other-libraries.md":  # use weights of the same layout instead of PyTorch's
        samples = [text.replace("ResNet50()", "ResNet50(weights=None)") for text in samples if "torch" not in text]
        save_file(to_state_dict(keras_cnns.build("resnet50-v1.5")), "resnet50.safetensors")
    exec(compile(make_faster("\n".join(samples)), str(page), "exec"), names)  # noqa: S102 - our own code


def test_the_source_the_augmentation_and_the_metrics_of_the_docs_can_be_added(tmp_path: Path) -> None:
    source, augmentation, metrics = blocks(ROOT / "docs" / "adding.md", "python")
    names: dict[str, Any] = {}
    for text in (source, metrics):
        exec(compile(text, "adding.md", "exec"), names)  # noqa: S102 - our own code
    for name in ("cat.0001", "dog.0001"):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / f"{name}.jpg")
    assert names["SOURCE"].matches(f"names:{tmp_path}")
    assert names["SOURCE"].read(f"names:{tmp_path}").class_names == ("cat", "dog")
    (preset,) = eval(f"{{{augmentation}}}", {"Augmentation": Augmentation}).values()  # noqa: S307 - our own code
    assert preset.unchanged_share == 0.1
    labels, probabilities = np.array([0, 1, 1]), np.array([[0.4, 0.6], [0.25, 0.75], [0.75, 0.25]])
    compute = make_weighted_metrics(labels, probabilities, metrics=[names["LOG_LOSS"], names["PRECISION"]])
    values = compute(np.ones((3, 1)))
    assert values["log_loss"] == pytest.approx(-np.log([0.4 * 0.75 * 0.25]) / 3)
    assert values["precision"] == pytest.approx([0.5])


@pytest.mark.parametrize("name", all_families())
def test_the_examples_on_the_page_of_a_family_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs" / "hooks")
    blocks_by_kind = dict(BLOCK.findall(import_module("pages").examples(all_families()[name])))
    exec(compile(blocks_by_kind["python"], name, "exec"), {})  # noqa: S102 - our own code
    for line in blocks_by_kind["sh"].splitlines():
        assert make_parser().parse_args(shlex.split(line)[1:]).command
