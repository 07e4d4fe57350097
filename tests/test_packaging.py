"""What is published is complete: the wheel, and what its image is built from."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_the_wheel_has_every_file_of_the_packages_that_is_not_python() -> None:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "keras_cnns", "tuning"]
    files = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    data = {name for name in files if not name.endswith(".py") and (ROOT / name).exists()}
    packaged = {
        str(path.relative_to(ROOT))
        for package, patterns in PROJECT["tool"]["setuptools"]["package-data"].items()
        for pattern in patterns
        for path in (ROOT / package).glob(pattern)
    }
    assert data <= packaged


def test_the_image_is_built_from_all_that_the_wheel_needs() -> None:
    allowed = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text("utf-8"), re.MULTILINE))
    packages = {name.rstrip("*") for name in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]}
    project = PROJECT["project"]
    assert allowed == {*packages, "pyproject.toml", "constraints.txt", project["readme"], *project["license-files"]}


def test_the_tested_versions_include_every_dependency() -> None:
    def name_of(requirement: str) -> str:
        return re.match(r"[\w-]+", requirement)[0].lower().replace("_", "-")

    pinned = {name_of(line) for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if "==" in line}
    assert {name_of(requirement) for requirement in PROJECT["project"]["dependencies"]} <= pinned
