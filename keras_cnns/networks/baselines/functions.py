"""Functions that build a network: those of `keras.applications`, of a file of the user, and of an installed module."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from keras_cnns.errors import KerasCnnsError, ModelNameError, SettingError, nearest, nearest_or_all
from keras_cnns.lazy import keras
from keras_cnns.networks.baselines.arguments import ACTIVATION
from keras_cnns.networks.baselines.code import (
    Code,
    check_executed_before,
    describe_error,
    execute,
    find_module_file,
    import_installed,
    note_as_executed,
    read_code,
)
from keras_cnns.networks.baselines.names import WAYS, is_baseline, is_of_keras, list_keras_networks, split_name, to_path
from keras_cnns.networks.graph import has_graph

PENDING = "uninitialized_variables"
FILES: dict[str, Path] = {}
"""The files of networks in another process's working folder, by the names of the networks, see `find_code`."""
IMPORTED: dict[str, Code | None] = {}
"""The files of modules when they were imported."""


@dataclass(frozen=True)
class NetworkFunction:
    """A function that builds a network.

    Attributes:
        name: The name of the baseline.
        function: Takes `input_shape`, `classes` and further arguments, and returns a Keras model.
        code: The file of the function; None for networks of Keras.
    """

    name: str
    function: Callable[..., Any]
    code: Code | None

    @property
    def of_keras(self) -> bool:
        """Whether it is a function of `keras.applications`."""
        return is_of_keras(self.name)

    @property
    def module(self) -> ModuleType | None:
        """The module of the function."""
        return sys.modules.get(getattr(self.function, "__module__", ""))

    def default(self, argument: str, otherwise: Any) -> Any:
        """Return the default value of an argument, or another value if it has none."""
        found = inspect.signature(self.function).parameters[argument].default
        return otherwise if found is inspect.Parameter.empty or found is None else found

    def build(
        self, settings: Mapping[str, Any], shape: tuple[int, int, int] | None, classes: int | None, **more: Any
    ) -> Any:
        """Call the function and return its model.

        Args:
            settings: The arguments that are settings.
            shape: Height, width and channels of the images; None for the function's default.
            classes: The number of classes; None for the function's default.
            **more: Further arguments.

        Raises:
            SettingError: The function fails, or does not return a model with layers that are known.
        """
        arguments: dict[str, Any] = {"input_shape": shape, "classes": classes}
        if self.of_keras and shape is not None and None in shape:
            # Keras accepts images of any size only without the classifier, or as a tensor.
            arguments = {"input_tensor": keras.Input(shape), "classes": classes}
        given = {name: value for name, value in arguments.items() if value is not None}
        fixed = {ACTIVATION: None} if ACTIVATION in inspect.signature(self.function).parameters else {}
        if self.of_keras:
            fixed["weights"] = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Keras warns of sizes and channels that it accepts
                model = self.function(**settings, **given, **{**fixed, **more})
                if shape is not None and isinstance(model, keras.Sequential) and not model.built:
                    model.build((None, *shape))
        except KerasCnnsError:
            raise
        except (Exception, SystemExit) as error:
            if more:
                raise
            raise SettingError(f"{self.name}: the function fails: {describe_error(error)}.") from error
        self.check(model, classes)
        return model

    def check(self, model: Any, classes: int | None) -> None:
        """Raise a `SettingError` unless a model has a known graph from images to one value of each class."""
        if not isinstance(model, keras.Model):
            raise SettingError(f"{self.name}: the function must return a Keras model, not {type(model).__name__}.")
        if not has_graph(model):
            raise SettingError(
                f"{self.name}: the layers of {type(model).__name__}, a subclass of keras.Model, are not known; return "
                f"a functional model: keras.Model(inputs, outputs)."
            )
        if len(model.inputs) != 1 or len(model.outputs) != 1:
            raise SettingError(
                f"{self.name}: the model must have one input and one output, not {len(model.inputs)} and "
                f"{len(model.outputs)}."
            )
        shape = tuple(model.outputs[0].shape)
        if classes is not None and shape[1:] != (classes,):
            raise SettingError(
                f"{self.name}: the output of the model must have shape (None, {classes}), one value for each of the "
                f"{classes} classes, and not {shape}."
            )


def find_code(name: str) -> Code | None:
    """Return the file that defines a baseline; None for networks of Keras, and for modules without a file.

    A worker process of a sweep has another working folder. It finds the file where `is_code_of` remembers it.

    Raises:
        ModelNameError: The file cannot be read.
    """
    source, _ = split_name(name)
    if is_of_keras(name):
        return None
    if not source.endswith(".py"):
        path = find_module_file(source)
        return None if path is None else read_code(path)
    path = to_path(source)
    return read_code(path if path.exists() else FILES.get(name, path))


def is_code_of(name: str, code: Code) -> bool:
    """Return whether a baseline is defined by this code, wherever the file is found.

    The path of the code is remembered, for a process with another working folder than the user's.
    """
    FILES[name] = code.path
    found = find_code(name)
    return found is not None and found.sha256 == code.sha256


def find_function(name: str, code: Code | None) -> NetworkFunction:
    """Return the function of a baseline, and execute its file if that has not happened.

    Raises:
        ModelNameError: There is no such network, module or function, or its code fails.
    """
    source, function = split_name(name)
    if is_of_keras(name):
        return NetworkFunction(name, find_keras_function(name), None)
    if not source or not function.isidentifier():
        raise ModelNameError(f"{name!r} is not the name of a network; baselines are {WAYS}.")
    module = execute(code) if code is not None and source.endswith(".py") else import_installed(source)
    if IMPORTED.setdefault(source, code) != code and not source.endswith(".py"):
        raise ModelNameError(f"{source} has changed since it was imported; start Python again.")
    found = getattr(module, function, None)
    if not callable(found):
        functions = [known for known, value in vars(module).items() if inspect.isfunction(value)]
        hint = nearest_or_all(function, functions) if functions else ""
        raise ModelNameError(f"{name}: {source} has no function {function!r}.{hint}")
    if code is not None:
        note_as_executed(code)
    return NetworkFunction(name, found, code)


def check_recorded(name: str, recorded: Code | None) -> None:
    """Check that the network that a run or a lock file names is the recorded one, and may be executed.

    Raises:
        ModelNameError: Its file is missing or another one, or the user has not executed it before.
    """
    if not is_baseline(name) or is_of_keras(name):
        return
    code = check_executed_before(recorded)
    if not is_code_of(name, code):
        raise ModelNameError(
            f"{code.path}: the file has changed, or is not the one that {name} names here; restore the recorded "
            f"version, and work in the folder that it was named in."
        )


def find_keras_function(name: str) -> Callable[..., Any]:
    """Return a function of `keras.applications`, or raise a `ModelNameError`."""
    if name not in list_keras_networks():
        hint = nearest(name, list_keras_networks()) or " `keras-cnns models 'keras:*'` lists them."
        raise ModelNameError(f"unknown network {name!r}.{hint}")
    found: Callable[..., Any] = getattr(keras.applications, split_name(name)[1])
    return found


@contextmanager
def without_values() -> Iterator[None]:
    """Create variables that have a shape, but no values, so that even large networks are built in little memory."""
    state = keras.src.backend.common.global_state
    before = state.get_global_attribute(PENDING)
    state.set_global_attribute(PENDING, [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        state.set_global_attribute(PENDING, before)
