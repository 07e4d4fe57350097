"""Copy the graph of a model onto a tensor of images: layers of nested models too, under names that do not change.

The layers for the preprocessing of images at the start, and the activation at the end, are left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keras_cnns.errors import SettingError
from keras_cnns.lazy import keras
from keras_cnns.networks.graph import LOGITS, graph_nodes, has_graph, run_graph, weights_of
from keras_cnns.networks.preprocessing import CONSTANT, STANDARDIZE, STANDARDIZE_IMAGE

RESERVED = (LOGITS, "images", "pixels", "predictions", "main_output", "with_constant", STANDARDIZE, STANDARDIZE_IMAGE,
    CONSTANT)  # fmt: skip
"""Names of layers that every network can have besides those of its function."""
PREPROCESSING = frozenset({"Rescaling", "Normalization", "TrueDivide", "Divide", "Multiply", "Subtract", "Add"})
"""Operations that, at the start of a network, are the preprocessing of its images."""
LINEAR = "linear"
OUTPUT_ACTIVATIONS = ("softmax", "sigmoid", LINEAR)
ACTIVATION_MODULES = ("keras.src.layers.activations", "keras.src.ops.nn")


@dataclass(frozen=True, kw_only=True, eq=False)
class Leaf:
    """An operation of a model or of one nested in it.

    Attributes:
        operation: The operation.
        name: Its name in the copy.
        source_name: Its name in the model; a name that Keras chose has the number that it has in a new process.
    """

    operation: Any
    name: str
    source_name: str


@dataclass(kw_only=True, eq=False)
class Copy:
    """The copy of a model's graph.

    Attributes:
        leaves: The operations of the model in execution order.
        tail: The operations at the end that were left out: the activation that returns probabilities.
        final: The operation before them.
        logits: The output of the copy, before softmax or sigmoid.
        preprocessing: The operations at the start that were left out, as functions.
        removed: These operations.
        readers: How many operations of the copy use the images.
    """

    leaves: Sequence[Leaf]
    tail: Sequence[Any]
    final: Any
    logits: Any = None
    preprocessing: list[Callable[[Any], Any]] = field(default_factory=list)
    removed: list[Any] = field(default_factory=list)
    readers: int = 0


def copy_graph(model: Any, images: Any, *, with_values: bool) -> Copy:
    """Apply copies of a model's layers to a tensor of images.

    Args:
        model: A functional or sequential model with one input and one output.
        images: A Keras tensor of shape (batch, height, width, channels).
        with_values: Whether the copies have the values of the model's weights; otherwise they have random ones.

    Raises:
        SettingError: A layer cannot be saved, or the model ends in another activation than softmax or sigmoid.
    """
    tail, final = find_tail(model)
    copy = Copy(leaves=name_leaves(model), tail=tail, final=final)
    left_out = {id(operation) for operation in tail}
    names = {id(leaf.operation): leaf.name for leaf in copy.leaves}
    copies: dict[int, Any] = {}

    def call(operation: Any, *arguments: Any, **options: Any) -> Any:
        if has_graph(operation):
            return run_graph(operation, arguments[0], call)
        if any(argument is images for argument in arguments):
            if is_preprocessing(operation, arguments):
                copy.removed.append(operation)
                copy.preprocessing.append(lambda values: operation(values, *arguments[1:], **options))
                return images
            copy.readers += 1
        if id(operation) in left_out:
            return arguments[0]
        if id(operation) not in copies:
            copies[id(operation)] = copy_operation(operation, names[id(operation)], is_final=operation is copy.final)
        return copies[id(operation)](*arguments, **options)

    copy.logits = run_graph(model, images, call)
    if with_values:
        for leaf in copy.leaves:
            made = copies.get(id(leaf.operation))
            if made is not None and made is not leaf.operation and weights_of(made):
                set_values(made, leaf.operation.get_weights())
    return copy


def name_leaves(model: Any) -> list[Leaf]:
    """Return the operations of a model and of nested ones, in execution order, with the names of their copies."""
    operations = list({id(operation): operation for operation in leaf_operations(model)}.values())
    sources = stable_names(operations)
    classifier = next((operation for operation in reversed(operations) if weights_of(operation)), None)
    taken: Counter[str] = Counter(RESERVED)
    leaves = []
    for operation in operations:
        source = sources[id(operation)]
        name = LOGITS if operation is classifier else unique_name(source, taken)
        leaves.append(Leaf(operation=operation, name=name, source_name=source))
    return leaves


def leaf_operations(model: Any) -> Iterator[Any]:
    """Yield the operations of a model, with those of a nested model in its place."""
    for operation, _, _ in graph_nodes(model):
        if has_graph(operation):
            yield from leaf_operations(operation)
        else:
            yield operation


def stable_names(operations: Sequence[Any]) -> dict[int, str]:
    """Return names by the ids of operations, numbered anew where Keras chose them.

    Keras numbers the operations of a class that have no name of their own, such as `conv2d_7`, over all networks of a
    process.
    """
    names = {id(operation): operation.name for operation in operations}
    numbered: dict[str, list[tuple[int, int]]] = {}
    for operation in operations:
        base = snake_case(type(operation).__name__)
        if match := re.fullmatch(rf"{base}(?:_(\d+))?", operation.name):
            numbered.setdefault(base, []).append((int(match[1] or 0), id(operation)))
    for base, members in numbered.items():
        for number, (_, key) in enumerate(sorted(members)):
            names[key] = f"{base}_{number}" if number else base
    return names


def renumber(names: Sequence[str], bases: frozenset[str]) -> dict[str, str]:
    """Return the names of layers in a file by the names there, with those that Keras chose numbered anew."""
    renamed = {name: name for name in names}
    for base in bases:
        matches = [(int(match[1] or 0), name) for name in names if (match := re.fullmatch(rf"{base}(?:_(\d+))?", name))]
        for number, (_, name) in enumerate(sorted(matches)):
            renamed[name] = f"{base}_{number}" if number else base
    return renamed


def snake_case(name: str) -> str:
    """Return the name of a class as Keras writes it in the names of layers: `Conv2D` as `conv2d`."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def unique_name(name: str, taken: Counter[str]) -> str:
    """Return a name without slashes that is not taken, and take it."""
    name = name.replace("/", "_")
    found = name
    while found in taken:
        taken[name] += 1
        found = f"{name}_{taken[name]}"
    taken[found] = 1
    return found


def find_tail(model: Any) -> tuple[list[Any], Any]:
    """Return the operations at the end of a model that turn logits into probabilities, and the one before them.

    Raises:
        SettingError: The model ends in an activation other than softmax and sigmoid, or in two of them.
    """
    producers = {id(output): (operation, inputs) for operation, inputs, outputs in graph_nodes(model)
                 for output in outputs}  # fmt: skip
    uses = Counter(id(operation) for operation, _, _ in graph_nodes(model))
    tail: list[Any] = []
    tensor = model.outputs[0]
    while True:
        operation, inputs = producers[id(tensor)]
        if has_graph(operation):
            nested, final = find_tail(operation)
            tail += nested
            break
        if uses[id(operation)] > 1 or not is_output_activation(operation):
            final = operation
            break
        tail.append(operation)
        (tensor,) = inputs
    last = [operation for operation in (*tail, final) if activation_of(operation) != LINEAR]
    if len(last) > 1:
        raise SettingError("the network must end in logits, or in one softmax or sigmoid, not in two activations.")
    return tail, final


def activation_of(operation: Any) -> str:
    """Return the name of an operation's activation.

    Raises:
        SettingError: The operation is an activation other than softmax and sigmoid.
    """
    if type(operation).__name__ in {"Softmax", "Sigmoid"}:
        return type(operation).__name__.lower()
    module = type(operation).__module__
    if module.startswith(ACTIVATION_MODULES) and not isinstance(operation, keras.layers.Activation):
        raise SettingError(f"the network must end in logits, softmax or sigmoid, not in {type(operation).__name__}.")
    if getattr(operation, "activation", None) is None:
        return LINEAR
    check_activation(operation)
    return str(keras.activations.serialize(operation.activation))


def is_preprocessing(operation: Any, arguments: Sequence[Any]) -> bool:
    """Return whether an operation on images is part of their preprocessing."""
    alone = not any(isinstance(argument, keras.KerasTensor) for argument in arguments[1:])
    return type(operation).__name__ in PREPROCESSING and alone


def is_output_activation(operation: Any) -> bool:
    """Return whether an operation does no more than to turn logits into probabilities, or to change their type."""
    return isinstance(operation, keras.layers.Activation | keras.layers.Identity) or (
        type(operation).__name__ in {"Softmax", "Sigmoid"}
    )


def check_activation(operation: Any) -> None:
    """Raise a `SettingError` if the activation of a model's last layer is not softmax, sigmoid or linear."""
    activation = keras.activations.serialize(operation.activation)
    if activation not in OUTPUT_ACTIVATIONS:
        raise SettingError(f"the network must end in logits, softmax or sigmoid, not in {activation}.")


def copy_operation(operation: Any, name: str, *, is_final: bool) -> Any:
    """Return a new operation of the same configuration under another name; the same one if it cannot be copied.

    Raises:
        SettingError: It is a `Lambda` layer.
    """
    if isinstance(operation, keras.layers.Lambda):
        raise SettingError(
            f"the layer {operation.name} is a Lambda layer, which cannot be loaded safely from a saved network; use "
            f"keras.ops or a class of layers."
        )
    has_activation = is_final and getattr(operation, "activation", None) is not None
    try:
        configuration = operation.get_config()
        if "name" in configuration:
            configuration["name"] = name
        if has_activation:
            configuration["activation"] = LINEAR
        copied = type(operation).from_config(configuration)
    except (NotImplementedError, TypeError, ValueError, KeyError):
        copied = operation
    copied.name = name
    return copied


def set_values(layer: Any, values: Sequence[Any]) -> None:
    """Set the weights of a layer."""
    layer.set_weights(values)
    if hasattr(layer, "finalize_state"):
        layer.finalize_state()


def name_by_leaves(model: Any, leaves: Sequence[Leaf], arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arrays of a file by the source names of leaves: "layer/0", "layer/1", ...

    Older `.h5` files have the weights of a nested model under its name, first those that are trained.

    Args:
        model: The model that the arrays belong to.
        leaves: Its operations.
        arrays: Arrays by the names of the file's layers.
    """
    layers = list(dict.fromkeys(name.rpartition("/")[0] for name in arrays))
    outer = list({id(operation): operation for operation, _, _ in graph_nodes(model)}.values())
    bases = frozenset(snake_case(type(operation).__name__) for operation in outer)
    own = renumber([operation.name for operation in outer], bases)
    theirs = {renamed: layer for layer, renamed in renumber(layers, bases).items()}
    nested = [operation for operation in outer if has_graph(operation) and operation.weights]
    names: dict[str, str] = {}
    if nested and all(own[operation.name] in theirs for operation in nested):
        sources = {id(leaf.operation): leaf.source_name for leaf in leaves}
        for operation in outer:
            stored = theirs.get(own[operation.name])
            parts = list(leaf_operations(operation)) if has_graph(operation) else [operation]
            variables = [
                (not variable.trainable and len(parts) > 1, f"{sources[id(part)]}/{position}")
                for part in parts
                for position, variable in enumerate(weights_of(part))
            ]
            for index, (_, name) in enumerate(sorted(variables, key=lambda variable: variable[0])):
                names[f"{stored}/{index}"] = name
    else:
        renamed = renumber(layers, frozenset(snake_case(type(leaf.operation).__name__) for leaf in leaves))
        for name in arrays:
            layer, _, position = name.rpartition("/")
            names[name] = f"{renamed[layer]}/{position}"
    return {names.get(name, name): values for name, values in arrays.items()}
