"""The package layout: import direction, no import cycles, and fast imports."""

from __future__ import annotations

import ast
import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from keras_cnns.lazy import ImportHook

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted([*ROOT.glob("keras_cnns/**/*.py"), *ROOT.glob("tuning/**/*.py")])
# The packages that each package may import. Modules directly in keras_cnns are shared by all.
NETWORKS = ("networks", "shared")
BELOW = {
    "shared": set[str](),
    "display": {"shared"},
    "networks": {"shared"},
    "testing": {"networks", "shared"},
    "data": {"display", "networks", "shared"},
    "tracking": {"networks", "shared"},
    "pretrained": {"data", "tracking", "networks", "shared"},
    "evaluation": {"data", "tracking", "display", "networks", "shared"},
    "training": {"pretrained", "evaluation", "data", "tracking", "display", "networks", "shared"},
    "comparing": {"evaluation", "data", "tracking", "display", "networks", "shared"},
    "writing": {"comparing", "training", "pretrained", "evaluation", "data", "tracking", "display", *NETWORKS},
    "exporting": {"evaluation", "data", "tracking", "display", "networks", "shared"},
    "serving": {"writing", "evaluation", "data", "tracking", "display", "networks", "shared"},
    "tuning": {"comparing", "training", "pretrained", "evaluation", "data", "tracking", "display", *NETWORKS},
    "cli": {"tuning", "serving", "exporting", "writing", "comparing", "training", "pretrained", "evaluation", "data",
            "tracking", "display", *NETWORKS},
}  # fmt: skip
BELOW_IN_TUNING = {
    "candidates": set[str](),
    "running": {"candidates"},
    "searching": {"candidates", "running"},
    "outcome": {"candidates", "running"},
    "finishing": {"candidates", "running"},
}
ONLY_IN = {"mlflow": ("tracking",), "ray": ("tuning",), "rich": ("display", "cli"), "argparse": ("cli",)}
# These import from all packages: the public API, for type checkers, and the entry point of the command line.
ENTRY_POINTS = {"keras_cnns", "keras_cnns.__main__"}
MAX_LINES = 420


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


@functools.cache
def imports_of(module: str) -> frozenset[str]:
    """Return all imports of a module, including those in functions and for type checkers."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in MODULES else node.module for name in imported}
    return frozenset(names)


def project_imports_of(module: str) -> set[str]:
    return {name for name in imports_of(module) if name in MODULES and name != module}


def package_of(module: str) -> str:
    first, *rest = module.split(".")
    if first == "tuning":
        return "tuning"
    return rest[0] if rest and rest[0] in BELOW else "shared"


def find_cycles() -> Iterator[list[str]]:
    """Yield the groups of modules that import each other, directly or through others (Tarjan 1972)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []

    def visit(module: str) -> Iterator[list[str]]:
        order[module] = lowest[module] = len(order)
        stack.append(module)
        for other in sorted(project_imports_of(module)):
            if other not in order:
                yield from visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in stack:
                lowest[module] = min(lowest[module], order[other])
        if lowest[module] == order[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1:
                yield group

    for module in MODULES:
        if module not in order:
            yield from visit(module)


def test_there_are_no_import_cycles() -> None:
    assert list(find_cycles()) == []


@pytest.mark.parametrize("module", sorted(MODULES.keys() - ENTRY_POINTS))
def test_a_package_imports_only_packages_below_it(module: str) -> None:
    package = package_of(module)
    assert {package_of(name) for name in project_imports_of(module)} <= {package, *BELOW[package]}
    parts = module.split(".")
    if package == "tuning" and len(parts) > 1 and parts[1] in BELOW_IN_TUNING:
        others = {name.split(".")[1] for name in project_imports_of(module) if name.startswith("tuning.")}
        assert others <= {parts[1], *BELOW_IN_TUNING[parts[1]]}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_library_is_imported_only_by_the_package_that_wraps_it(module: str) -> None:
    libraries = {name.split(".")[0] for name in imports_of(module)}
    for library, packages in ONLY_IN.items():
        assert library not in libraries or package_of(module) in packages, f"import {library} only in {packages}"
    assert package_of(module) != "networks" or "tensorflow" not in libraries, "networks must run on every backend"


def test_families_do_not_import_each_other() -> None:
    families = "keras_cnns.networks.families."
    for module in MODULES:
        if module.startswith(families):
            assert not any(name.startswith(families) for name in project_imports_of(module))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_too_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def packages_loaded_by(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize(
    "code",
    [
        "import keras_cnns",
        "import keras_cnns; keras_cnns.list_models('*', max_parameters=1_000_000)",
        "import keras_cnns; keras_cnns.describe('densenet121')",
        "from keras_cnns import cli; cli.main(('describe', 'googlenet'))",
        "from keras_cnns import cli; cli.main(('models',))",
        "from keras_cnns import cli; parser = cli.make_parser()",
    ],
)
def test_light_commands_and_help_load_no_backend(code: str) -> None:
    assert not packages_loaded_by(code) & {"tensorflow", "keras", "ray", "mlflow", "numpy", "argcomplete"}


def test_no_command_loads_the_backend_on_import() -> None:
    modules = [module_name(path) for path in sorted(ROOT.glob("keras_cnns/cli/*.py"))]
    assert not packages_loaded_by(f"import {', '.join(modules)}") & {"tensorflow", "keras"}


def test_help_lists_every_command() -> None:
    done = subprocess.run([sys.executable, "-m", "keras_cnns", "--help"], capture_output=True, text=True, check=True)
    commands = (
        "train",
        "sweep",
        "compare",
        "evaluate",
        "predict",
        "explain",
        "serve",
        "report",
        "reproduce",
        "config",
        "inspect",
        "models",
        "describe",
        "profile",
        "completion",
    )
    assert all(command in done.stdout for command in commands)


def test_layers_are_registered_once_keras_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "awaited.py").write_text("steps = ['awaited']", "utf-8")
    (tmp_path / "following.py").write_text("import awaited\nawaited.steps.append('following')", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [ImportHook("awaited", "following"), *sys.meta_path])
    import awaited

    assert awaited.steps == ["awaited", "following"]
    assert awaited.__spec__.loader is awaited.__loader__
    assert not isinstance(awaited.__loader__, ImportHook)


ALONE = """
import sys
from importlib import metadata
from importlib.abc import MetaPathFinder

import numpy

def packages_of(name, found):
    if name not in found:
        found.add(name)
        for line in metadata.requires(name) or ():
            if "extra ==" not in line:
                needed = re.match(r"[\\w.-]+", line)[0].lower().replace("_", "-")
                if needed in installed:
                    packages_of(needed, found)
    return found

import re
names = metadata.packages_distributions()
installed = {name.lower().replace("_", "-") for found in names.values() for name in found}
allowed = set()
for name in ("keras", "numpy", sys.argv[1]):
    packages_of(name, allowed)
blocked = {module for module, found in names.items()
           if not {name.lower().replace("_", "-") for name in found} & {*allowed, "keras-cnns", "setuptools"}}
assert {"mlflow", "ray", "psutil", "sklearn"} <= blocked

class Unblocked(MetaPathFinder):
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in blocked else self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Unblocked, sys.meta_path)
import keras_cnns
from keras_cnns.cli import main

assert keras_cnns.count("resnet50").macs > 3e9
assert keras_cnns.describe("densenet121").family == "densenet"
model = keras_cnns.build("lenet5-32", classes=2)
assert keras_cnns.profile(model).total_parameters == model.count_params()
keras_cnns.weights.to_state_dict(keras_cnns.build("resnet-cifar-20", units=(1, 1, 1)))
assert model.predict(numpy.zeros((1, 32, 32, 1)), verbose=0).shape == (1, 2)
any_size = keras_cnns.build("lenet5", include_top=False, pooling="avg", input_shape=(None, None, 1))
assert keras_cnns.features(any_size, strides=(2, 4))(numpy.zeros((1, 28, 32, 1)))["stride4"].shape == (1, 1, 2, 120)
assert keras_cnns.decode_predictions([[0.2, 0.8]], class_names=["cat", "dog"])[0][0][1] == "dog"
assert main(("models", "lenet*")) == main(("describe", "lenet5")) == main(("profile", "lenet5")) == 0
import tuning
for module, name in ((tuning, "sweep"), (keras_cnns, "evaluate"), (keras_cnns, "train")):
    try:
        getattr(module, name)
    except keras_cnns.KerasCnnsError as error:
        print(error)
assert main(("profile", "lenet5", "--plot", "lenet5.png")) == 2, "plots need matplotlib"
print(main(("train", "lenet5", "--data", "digits")))
"""


@pytest.mark.parametrize(
    "backend",
    [
        "jax",
        pytest.param("tensorflow", marks=pytest.mark.exhaustive),
        pytest.param(
            "torch",
            marks=[
                pytest.mark.exhaustive,
                pytest.mark.skipif(not find_spec("torch"), reason="PyTorch is not installed"),
            ],
        ),
    ],
)
def test_networks_need_only_keras_a_backend_and_numpy(backend: str) -> None:
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, backend], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    *_, of_sweep, of_evaluate, of_train, code = done.stdout.splitlines()
    assert code == "2", "the command train needs more"
    for message in (of_sweep, of_evaluate, of_train):
        assert re.search(r" needs the package \w+, which is not installed; install keras-cnns with its dep", message)
