"""Lazy imports of Keras, so that names, settings and counts of networks are available without loading a backend."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from keras_cnns.errors import MissingPackageError

LAYERS = "keras_cnns.networks.layers"
STANDARD_OUTPUT, STANDARD_ERROR = 1, 2
"""The descriptors of the outputs of a process."""


def import_needed(name: str) -> ModuleType:
    """Import a module.

    Raises:
        MissingPackageError: A package that the module needs is not installed.
    """
    with missing_packages_in_one_line(name):
        return importlib.import_module(name)


@contextmanager
def missing_packages_in_one_line(user: str) -> Iterator[None]:
    """Raise a `ModuleNotFoundError` of a package as a `MissingPackageError` that says what needs the package."""
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "keras_cnns", "tuning"):
            raise
        need = f"{user} needs the package {missing}" if user != missing else f"this needs the package {missing}"
        message = f"{need}, which is not installed; install keras-cnns with its dependencies."
        raise MissingPackageError(message) from None


class LazyModule:
    """A module that is imported when one of its attributes is first read.

    Args:
        name: Full name of the module.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(import_needed(self._name), attribute)
        setattr(self, attribute, value)
        return value


def prepare_keras() -> None:
    """Make the import of Keras quiet, and register our layers with Keras once it is imported, or now if it is.

    What the user has set in the environment or in the logger of TensorFlow stays.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", "IProgress not found")  # tqdm, imported by others, in notebooks
    if "keras" in sys.modules:
        importlib.import_module(LAYERS)
    else:
        sys.meta_path.insert(0, ImportHook("keras", LAYERS))


@contextmanager
def without_native_messages(descriptor: int = STANDARD_ERROR) -> Iterator[None]:
    """Discard what is written to an output of the process, by default standard error, where native libraries print."""
    stream = sys.stderr if descriptor == STANDARD_ERROR else sys.stdout
    if stream is not None:
        stream.flush()
    try:
        kept = os.dup(descriptor)
    except OSError:  # the process does not have it
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    try:
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)
        os.close(null)


class ImportHook(Loader, MetaPathFinder):
    """Imports a module without messages of its native libraries, and as soon as it is imported another module.

    Args:
        first: Name of the module that is waited for.
        then: Name of the module that is imported.
    """

    def __init__(self, first: str, then: str) -> None:
        self._first = first
        self._then = then
        self._loader: Any = None
        self._spec = ModuleSpec(first, None)

    def find_spec(self, name: str, *_: Any) -> ModuleSpec | None:
        """Return the specification of the module that is waited for, with this object as its loader."""
        if name != self._first:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None:
            self._loader, spec.loader = spec.loader, self
            self._spec = spec
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module as its own loader does; hooks such as MLflow's only know Python's old protocol."""
        is_new = hasattr(self._loader, "exec_module")
        created: ModuleType | None = self._loader.create_module(spec) if is_new else self._loader.load_module(spec.name)
        return created

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module, and import the other one."""
        if hasattr(self._loader, "exec_module"):
            self._spec.loader = module.__loader__ = self._loader
            with without_native_messages():
                self._loader.exec_module(module)
        logger = logging.getLogger("tensorflow")
        if logger.level in (logging.NOTSET, logging.INFO):  # INFO is set by TensorFlow itself in a notebook
            logger.setLevel(logging.ERROR)  # no warnings that functions are retraced for each network
        importlib.import_module(self._then)

    def load_module(self, name: str) -> ModuleType:
        """Load the module for importers of the old protocol."""
        module = importlib.util.module_from_spec(self._spec)
        sys.modules[name] = module
        try:
            self.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module


if TYPE_CHECKING:
    import keras
else:
    keras = LazyModule("keras")

__all__ = ["LazyModule", "import_needed", "keras", "missing_packages_in_one_line", "prepare_keras"]
