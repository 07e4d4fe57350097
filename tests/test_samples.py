"""The commands and the Python code of README and docs run as written."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import keras_cnns
import tuning
from keras_cnns import Recipe
from keras_cnns.cli import main, make_parser
from keras_cnns.evaluation.metrics import make_weighted_metrics
from keras_cnns.networks.augmentations import Augmentation
from keras_cnns.networks.registry import all_families
from keras_cnns.networks.weights import to_state_dict
from keras_cnns.tracking import Store

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROMPTS = {"sh": "", "console": r"\w*\$ "}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = ("cluster.md", "README.md")
"""Pages of which only the arguments of `sweep` are checked: one needs a cluster, the other runs it as a command."""
RUN_IDS = ("e135f2c2", "5dd49674", "RUN_ID")
FASTER = {  # changes only how long a sample takes
    r"--trials \d+": "--trials 1",
    r"--repeats \d+": "--repeats 2",
    r"--epochs \d+": "--epochs 1",
    r"--recipe modern": "--recipe modern --epochs 1",
    r"--image-size 64": "--image-size 32",
    r"--max-parameters 1M": "--max-parameters 50K --epochs 1",
}


def blocks(page: Path, *kinds: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text("utf-8")) if kind in kinds]


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the arguments of each command on a page, without output redirection."""
    for kind, prompt in PROMPTS.items():
        for block in blocks(page, kind):
            for command in re.findall(rf"^\s*{prompt}keras-cnns (.*)$", block, re.MULTILINE):
                yield shlex.split(re.sub(r" > \S+$", "", command), comments=True)


@pytest.mark.parametrize(
    "arguments", [pytest.param(each, id=f"{page.stem} {' '.join(each)}") for page in PAGES for each in commands(page)]
)
def test_each_command_can_be_parsed(arguments: list[str]) -> None:
    assert make_parser().parse_args(arguments).command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with photos of two classes, new photos, and an archive like MNIST's."""
    source = np.random.default_rng(0)
    for split in ("train", "test"):
        for shade, name in enumerate(("cat", "dog")):
            class_folder = tmp_path / "photos" / split / name
            class_folder.mkdir(parents=True)
            for number in range(12):
                low = int(source.integers(0, 60)) + 30 * shade
                pixels = source.integers(low, low + 100, (40, 40), np.uint8)
                Image.fromarray(pixels).save(class_folder / f"{number}.png")
    (tmp_path / "new").mkdir()
    Image.fromarray(source.integers(0, 80, (40, 40), np.uint8)).save(tmp_path / "new" / "0.png")
    images, labels = source.integers(0, 256, (80, 28, 28), np.uint8), np.arange(80) % 10
    np.savez(
        tmp_path / "mnist.npz", x_train=images[:60], y_train=labels[:60], x_test=images[60:], y_test=labels[60:]
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
@pytest.mark.usefixtures("own_ray")
def test_the_commands_of_the_readme_lead_from_a_folder_of_images_to_an_evaluation(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (script,) = (block for block in blocks(ROOT / "README.md", "sh") if "keras-cnns inspect" in block)
    for pattern, replacement in FASTER.items():
        script = re.sub(pattern, replacement, script)
    for line in script.splitlines():
        arguments = shlex.split(line, comments=True)[1:]
        if "RUN" in arguments:
            runs = Store(f"sqlite:///{folder / 'mlflow.db'}", create=False).runs(experiment="train")
            arguments = [runs[0].id if argument == "RUN" else argument for argument in arguments]
        assert main(arguments) == 0, (line, capsys.readouterr().err)
    assert (folder / "sheet.png").exists()
    assert "<svg" in (folder / "comparison.html").read_text("utf-8")
    assert "sensitivity" in (folder / "result.html").read_text("utf-8").lower()
    assert list((folder / "heatmaps").glob("*.png"))


def shorten(sweep: Callable[..., Any]) -> Callable[..., Any]:
    """Return a sweep that runs one trial for one epoch, whatever its arguments."""
    return lambda *arguments, **options: sweep(*arguments, **{**options, "trials": 1, "recipe": Recipe(epochs=1)})


def pages_with_python() -> Iterator[Any]:
    for page in PAGES:
        text = "\n".join(blocks(page, "python"))
        if text:
            sweeps = "sweep(" in text and page.name not in NOT_RUN
            yield pytest.param(page, text, marks=[pytest.mark.xdist_group("ray")] * sweeps, id=page.stem)


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("page", "text"), list(pages_with_python()))
def test_the_python_code_of_a_page_runs(
    page: Path, text: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if page.name == "adding.md":
        pytest.skip("has parts of modules, which the test below adds")
    if page.name in NOT_RUN:
        monkeypatch.setattr(tuning, "sweep", inspect.signature(tuning.sweep).bind)
    elif "sweep(" in text:
        request.getfixturevalue("own_ray")
        monkeypatch.setattr(tuning, "sweep", shorten(tuning.sweep))
    if page.name == "from-other-libraries.md":  # use weights of the same layout instead of PyTorch's
        text = "\n".join(block for block in blocks(page, "python") if "import torch" not in block)
        text = text.replace("ResNet50()", "ResNet50(weights=None)")
        save_file(to_state_dict(keras_cnns.build("resnet50-v1.5")), "resnet50.safetensors")
    shape = (2, 28, 28, 1) if "RUN_ID" in text else (2, 224, 224, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    names: dict[str, Any] = {"keras_cnns": keras_cnns, "images": images, "labels": np.array([0, 1])}
    if any(name in text for name in ("trained.", *RUN_IDS)):
        dataset = keras_cnns.load("photos", image_size=28)
        small = {"blocks": (2, 2), "growth_rate": 4}
        trained = keras_cnns.train("densenet-bc-40", dataset, settings=small, recipe=Recipe(epochs=1))
        names |= {"trained": trained, "dataset": dataset, "patients": np.arange(len(dataset.splits["test"]))}
        text = re.sub("|".join(RUN_IDS), trained.run_id, text)
    exec(compile(text.replace("epochs=15", "epochs=1"), str(page), "exec"), names)  # noqa: S102 - our own code


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
