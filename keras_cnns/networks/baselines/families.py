"""Baselines as families of one variant, so that all commands treat them like other networks."""

from __future__ import annotations

import functools
import inspect
import math
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from keras_cnns.errors import ModelNameError, SettingError, first_line
from keras_cnns.lazy import keras
from keras_cnns.networks.baselines.arguments import make_settings_class, read_arguments
from keras_cnns.networks.baselines.code import Code
from keras_cnns.networks.baselines.functions import (
    NetworkFunction,
    find_code,
    find_function,
    is_code_of,
    without_values,
)
from keras_cnns.networks.baselines.graph_copy import Copy, copy_graph
from keras_cnns.networks.baselines.names import BASELINE
from keras_cnns.networks.counting import CostCounter, SymbolicTensor, TooSmallError
from keras_cnns.networks.family import Family, SearchSpace, Variant
from keras_cnns.networks.graph import graph_nodes, raised_recursion_limit
from keras_cnns.networks.operations import VariableSizeError
from keras_cnns.networks.profiling import multiply_accumulates
from keras_cnns.networks.settings import Settings

IMAGES, CLASSES = (224, 224, 3), 1000
"""The images and classes of a function that has no defaults."""
NO_RECIPE = "there is no paper"


def find_baseline(name: str) -> Family:
    """Return a baseline as a family whose only variant has its name.

    Raises:
        ModelNameError: There is no such network, or its code cannot be executed.
        SettingError: Its function cannot be used.
    """
    return make_family(name, find_code(name))


@functools.cache
def make_family(name: str, code: Code | None) -> Family:
    """Return the family of a baseline."""
    function = find_function(name, code)
    arguments = read_arguments(name, function.function)

    def reduce(settings: Settings) -> tuple[Any, ...]:
        return restore_settings, (name, function.code, settings.as_dict())

    settings = make_settings_class(function.function, arguments, reduce)()
    network = BaselineNetwork(function, settings)
    images, classes = function.default("input_shape", IMAGES), function.default("classes", CLASSES)
    if not (isinstance(images, list | tuple) and len(images) == 3 and all(isinstance(size, int) for size in images)):
        images = IMAGES
    if not isinstance(classes, int):
        classes = CLASSES
    return Family(
        name=BASELINE,
        about=f"Idea: {summarize(function)}",
        papers=(),
        network=network,
        variants={name: Variant(settings, tuple(images), classes)},
        results=(),
        paper_recipe=NO_RECIPE,
        search=SearchSpace(base=name, domains={}),
        function=function,
    )


def summarize(function: NetworkFunction) -> str:
    """Return the first paragraph of a function's docstring in one line."""
    paragraph = (inspect.getdoc(function.function) or "A function without a docstring.").split("\n\n")[0]
    return " ".join(paragraph.split())


def restore_settings(name: str, code: Code | None, values: Mapping[str, Any]) -> Settings:
    """Return settings that another process pickled.

    Raises:
        ModelNameError: The file of the network has changed since.
    """
    if code is not None and not is_code_of(name, code):
        raise ModelNameError(f"{code.path}: the file has changed since the training was started; restore it.")
    return find_baseline(name).variants[name].settings.replace(values)


@contextmanager
def same_random_numbers() -> Iterator[None]:
    """Let what follows draw the same seeds of layers, whether this is executed or its result is known already."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


class BaselineNetwork:
    """Builds a baseline on a tensor of images, as `Family.network`.

    Args:
        function: The function of the baseline.
        settings: Its default settings.
    """

    def __init__(self, function: NetworkFunction, settings: Settings) -> None:
        self.function = function
        self.settings = settings
        self.counts: dict[tuple[Settings, tuple[int, int, int], int], CostCounter] = {}

    def __call__(self, images: Any, settings: Settings, classes: int) -> Any:
        """Return the logits of a network, or its cost if `images` is a `SymbolicTensor`.

        Raises:
            VariableSizeError: The size of the images is not fixed, and the function fails.
        """
        if isinstance(images, SymbolicTensor):
            cost = self.count(settings, (images.height, images.width, images.channels), classes)
            images.counter.layers |= cost.layers
            return images.layer_output(1, 1, classes, trainable=cost.trainable, fixed=cost.fixed, macs=cost.macs)
        try:
            return self.apply(images, settings, classes).logits
        except SettingError as error:
            if None in images.shape[1:]:
                reason = first_line(error).removeprefix(f"{self.function.name}: ").rstrip(".")
                raise VariableSizeError(f"{reason}; give a height and a width") from None
            raise

    def apply(self, images: Any, settings: Settings, classes: int) -> Copy:
        """Apply the network to a tensor of images."""
        shape, arguments = tuple(images.shape[1:]), settings.as_dict()
        if not self.function.of_keras:  # the function may set values of weights
            return self.copy(self.function.build(arguments, shape, classes), images, with_values=True)
        with without_values():
            model = self.function.build(arguments, shape, classes)
        return self.copy(model, images, with_values=False)

    def copy(self, model: Any, images: Any, *, with_values: bool) -> Copy:
        """Copy the graph of the function's model, and name the baseline in error messages."""
        try:
            with raised_recursion_limit():
                return copy_graph(model, images, with_values=with_values)
        except SettingError as error:
            raise SettingError(f"{self.function.name}: {error}") from None

    def count(self, settings: Settings, shape: tuple[int, int, int], classes: int) -> CostCounter:
        """Return the cost of a network, by building it without values of weights.

        Raises:
            TooSmallError: The function fails for these images, but not for larger ones.
            SettingError: The function fails.
        """
        key = (settings, shape, classes)
        if key not in self.counts:
            try:
                self.counts[key] = self.measure(settings, shape, classes)
            except SettingError as error:
                if error.__cause__ is not None and self.accepts_larger(settings, shape, classes):
                    raise TooSmallError(first_line(error)) from None
                raise
        return self.counts[key]

    def accepts_larger(self, settings: Settings, shape: tuple[int, int, int], classes: int) -> bool:
        """Return whether the function builds a network for images of the default size, and these are smaller."""
        height, width = max(shape[0], IMAGES[0]), max(shape[1], IMAGES[1])
        if (height, width) == shape[:2]:
            return False
        try:
            self.count(settings, (height, width, shape[2]), classes)
        except SettingError:
            return False
        return True

    def measure(self, settings: Settings, shape: tuple[int, int, int], classes: int) -> CostCounter:
        """Build a network and count it, and list its layers."""
        with without_values(), raised_recursion_limit(), same_random_numbers():
            images = keras.Input(shape)
            model = self.function.build(settings.as_dict(), shape, classes)
            network = keras.Model(images, self.copy(model, images, with_values=False).logits)
        layers = {layer.name: layer for layer, _, _ in graph_nodes(network) if getattr(layer, "trainable_weights", ())}
        return CostCounter(
            trainable=sum(math.prod(weight.shape) for weight in network.trainable_weights),
            fixed=sum(math.prod(weight.shape) for weight in network.non_trainable_weights),
            macs=sum(multiply_accumulates(*node) for node in graph_nodes(network)),
            layers={name: hasattr(layer, "kernel") for name, layer in layers.items()},
        )
