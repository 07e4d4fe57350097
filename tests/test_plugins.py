"""Families, sources and metrics of other packages are found, and one that cannot be used does not break the rest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from keras_cnns.cli import main
from keras_cnns.networks.registry import all_families, all_variants
from keras_cnns.plugins import PluginWarning
from keras_cnns.tracking import Store
from tests.examples import rename_examples
from tests.processes import start

PLUGIN = Path(__file__).parent / "plugin"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the example package, with names that nobody adds to the project."""
    source = Path(shutil.copytree(PLUGIN, tmp_path_factory.mktemp("package") / "source"))
    for path in source.rglob("*.py"):
        path.write_text(rename_examples(path.read_text("utf-8")), "utf-8")
    return source


@pytest.fixture(scope="module")
def installed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Install the example package into a folder and return the variables with which Python finds it."""
    target = tmp_path_factory.mktemp("installed")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
         "--disable-pip-version-check", "--target", str(target), str(source)],
        check=True,
    )  # fmt: skip
    return {"PYTHONPATH": os.pathsep.join([str(target), str(PLUGIN.parents[1])])}


@pytest.mark.exhaustive
@pytest.mark.xdist_group("plugin")
def test_the_family_of_an_installed_package_passes_the_tests_of_families(
    source: Path, installed: dict[str, str]
) -> None:
    """The slowest tests of families are left out: test_extending runs them for the same family."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", "not new_process and not any_legal", "tests"],
        capture_output=True, text=True, check=False, env={**os.environ, **installed}, cwd=source,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.exhaustive  # the registries find entry points in other tests
@pytest.mark.xdist_group("plugin")
def test_the_commands_find_the_family_source_and_metric_of_an_installed_package(
    installed: dict[str, str], tmp_path: Path
) -> None:
    process = start(tmp_path, run_commands, environment=installed)
    process.join()
    assert process.exitcode == 0, (tmp_path / "err").read_text("utf-8")[-3000:]
    output = (tmp_path / "out").read_text("utf-8")
    assert output.splitlines()[:3] == ["example-squeezenet", "example-squeezenet-1.1", "example-squeezenet-small"]
    assert '"example_youden"' in output


def run_commands() -> None:
    assert main(("models", "example-squeezenet*")) == 0
    small = ("--trials", "1", "--epochs", "1", "--cores", "1")
    assert main(("sweep", "example-squeezenet", "--data", "example-stripes", *small)) == 0
    (run,) = Store("sqlite:///mlflow.db", create=False).runs(experiment="sweep")
    assert main(("evaluate", run.id, "--data", "example-stripes", "--json")) == 0


@pytest.fixture
def only_installed_families() -> Iterator[None]:
    """Find the families again, before and after a test."""
    all_families.cache_clear()
    all_variants.cache_clear()
    yield
    all_families.cache_clear()
    all_variants.cache_clear()


@pytest.mark.usefixtures("only_installed_families")
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("no_such_package:FAMILY", "No module named 'no_such_package'"),
        ("keras_cnns.networks.families.vgg:NOTHING", "has no attribute 'NOTHING'"),
        ("keras_cnns.networks.families.vgg:imagenet", "it is not a Family"),
        ("keras_cnns.networks.families.vgg:FAMILY", "the name vgg is taken"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_skipped_with_a_warning(
    provide: list[EntryPoint], value: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    known = [*all_families()]
    all_families.cache_clear()
    provide.append(EntryPoint("example", value, "keras_cnns.families"))
    with pytest.warns(PluginWarning, match=reason):
        assert [*all_families()] == known
    all_families.cache_clear()
    assert main(("models", "vgg11")) == 0
    printed = capsys.readouterr()
    assert printed.out == "vgg11\n"
    (line,) = printed.err.splitlines()
    assert line.startswith("keras-cnns: warning: the plugin ")
    assert reason in line
