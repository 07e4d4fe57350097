"""The formats of exports: each is one module of this package."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from keras_cnns.errors import ExportError, nearest_or_all
from keras_cnns.plugins import import_modules
from keras_cnns.tracking.runs import installed_version

Runtime: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""Returns the probabilities of a batch, shape (images, classes), for float32 pixels from 0 to 255."""
Batches: TypeAlias = Callable[[], Iterator[np.ndarray]]
"""Returns batches of training images, float32, on which the ranges of values are calibrated."""


@dataclass(frozen=True, kw_only=True)
class ExportFormat:
    """A format of exports.

    Attributes:
        name: The name on the command line.
        title: The name that its users know.
        suffix: The end of the file's name; "" for a folder.
        extra: The extra of this package that installs what is needed; "" if nothing is.
        packages: The modules that are needed.
        runtime_package: The package that executes the file.
        write: Writes a network, given its description, to a path.
        load: Returns a function that executes the file, given the network that was written.
        quantize: Writes a network with weights and activations of 8 bits; None if the format has none.
        folds: Whether batch normalization may be folded.
        splits_groups: Whether the format has no grouped convolutions as Keras writes them.
    """

    name: str
    title: str
    suffix: str
    extra: str = ""
    packages: tuple[str, ...] = ()
    runtime_package: str
    write: Callable[[Any, Mapping[str, Any], Path], None]
    load: Callable[[Path, Any], Runtime]
    quantize: Callable[[Any, Mapping[str, Any], Path, Batches], None] | None = None
    folds: bool = True
    splits_groups: bool = False

    @property
    def runtime(self) -> str:
        """The runtime with its version."""
        return f"{self.runtime_package} {installed_version(self.runtime_package)}"

    @property
    def missing(self) -> list[str]:
        """The modules that are needed and not installed."""
        return [name for name in self.packages if find_spec(name) is None]


@functools.cache
def all_formats() -> Mapping[str, ExportFormat]:
    """Return all formats by name."""
    found = (module.FORMAT for module in import_modules(__name__, __path__) if hasattr(module, "FORMAT"))
    return {each.name: each for each in found}


def find_format(name: str) -> ExportFormat:
    """Return a format.

    Raises:
        ExportError: It does not exist, or packages are missing.
    """
    formats = all_formats()
    if name not in formats:
        raise ExportError(f"unknown format {name!r}.{nearest_or_all(name, list(formats))}")
    found = formats[name]
    if found.missing:
        raise ExportError(
            f"format {name} needs {', '.join(found.missing)}; install it with pip install 'keras-cnns[{found.extra}]'."
        )
    return found
