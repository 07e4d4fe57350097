"""The arrows of the house: which room may import which, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted([*ROOT.glob("keras_cnns/**/*.py"), *ROOT.glob("tuning/**/*.py")])
ALONE = {
    "mlflow": "keras_cnns/tracking",
    "ray": "tuning",
    "rich": "keras_cnns/cli",
    "argparse": "keras_cnns/cli",
}
NETWORKS = (
    "families",
    "weights",
    "drawing",
    "layers",
    "operations",
    "counting",
    "auxiliary",
    "settings",
    "family",
    "registry",
    "profiling",
    "receptive",
    "description",
    "feature_maps",
    "block_pictures",
    "pictures",
    "units",
    "whole",
    "lazy",
    "errors",
)
ABOVE_NETWORKS = ("data", "training", "evaluation", "tracking", "cli")

ROOMS_OF_TUNING = {
    "candidates": (),
    "running": ("candidates",),
    "searching": ("candidates", "running"),
    "comparing": (),
    "outcome": ("candidates", "running", "comparing"),
    "finishing": ("candidates", "running", "comparing"),
    "page": ("comparing", "outcome"),
}
"""Each room of `tuning`, and the others that it may import."""


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_import_only_what_stands_below_them(path: Path) -> None:
    place = str(path.relative_to(ROOT))
    names = imported(path)
    for package, room in ALONE.items():
        if any(name.split(".")[0] == package for name in names):
            assert place.startswith(room), f"{package} is imported in {room} alone"
    if not place.startswith(("keras_cnns/cli", "tuning")):
        assert not any(name.split(".")[0] == "tuning" for name in names)
    if place.split("/")[1].removesuffix(".py") in NETWORKS:
        above = {f"keras_cnns.{room}" for room in ABOVE_NETWORKS}
        assert not {name for name in names if ".".join(name.split(".")[:2]) in above}
        assert "tensorflow" not in {name.split(".")[0] for name in names}
    room = place.split("/")[1]
    if place.startswith("tuning/") and room in ROOMS_OF_TUNING:
        allowed = {room, *ROOMS_OF_TUNING[room]}
        assert {name.split(".")[1] for name in names if name.startswith("tuning.")} <= allowed
    if place.startswith("keras_cnns/families/"):
        assert not any(name.startswith("keras_cnns.families.") for name in names), "families stand side by side"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_too_long_to_read(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 420


def loaded_by(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    "code",
    [
        "import keras_cnns",
        "import keras_cnns; keras_cnns.list_models('*', max_parameters=1_000_000)",
        "import keras_cnns; keras_cnns.describe('densenet121')",
        "from keras_cnns import cli; cli.main(('describe', 'googlenet'))",
        "from keras_cnns import cli; parser = cli.make_parser()",
    ],
)
def test_names_and_help_need_no_backend(code: str) -> None:
    assert not loaded_by(code) & {"tensorflow", "keras", "ray", "mlflow", "numpy"}


def test_help_names_every_command() -> None:
    done = subprocess.run([sys.executable, "-m", "keras_cnns", "--help"], capture_output=True, text=True, check=True)
    commands = (
        "train",
        "sweep",
        "compare",
        "evaluate",
        "predict",
        "explain",
        "inspect",
        "models",
        "describe",
        "profile",
    )
    assert all(command in done.stdout for command in commands)
