"""Nodes of a functional model's graph."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from keras_cnns.lazy import keras

RECURSION_LIMIT = 50_000
LOGITS, AUXILIARY = "logits", "auxiliary"
"""The name of the classifier, and what the names of the layers of auxiliary classifiers begin with."""
Node: TypeAlias = tuple[Any, list[Any], list[Any]]
"""An operation with its input and output tensors."""


def has_graph(operation: Any) -> bool:
    """Return whether an operation is a model whose layers are known: a functional model, or a sequential one."""
    return isinstance(operation, keras.Model) and hasattr(functional(operation), "_nodes_by_depth")


def functional(model: Any) -> Any:
    """Return a model, or the functional model of a sequential one."""
    # Keras has no public access to a sequential model's graph.
    return model._functional if isinstance(model, keras.Sequential) else model  # noqa: SLF001


def run_graph(model: Any, tensor: Any, call: Callable[..., Any]) -> Any:
    """Return the output of a functional or sequential model for a tensor.

    Args:
        model: The model.
        tensor: Its input.
        call: Called for each operation with the operation and its arguments; returns its output.
    """
    # `keras.models.clone_model` cannot leave layers out.
    outputs = functional(model)._run_through_graph(tensor, call_fn=call)  # noqa: SLF001
    return outputs[0] if isinstance(outputs, list) and len(outputs) == 1 else outputs


def graph_nodes(model: Any) -> Iterator[Node]:
    """Yield each operation of a functional or sequential model with its inputs and outputs, in execution order."""
    # Keras has no public access to the order of execution.
    for _, nodes in sorted(functional(model)._nodes_by_depth.items(), reverse=True):  # noqa: SLF001
        for node in nodes:
            if not node.is_input:
                yield node.operation, node.input_tensors, node.output_tensors


def weights_of(operation: Any) -> list[Any]:
    """Return the weights of a layer; other operations have none."""
    return list(getattr(operation, "weights", ()))


def model_inputs(model: Any) -> Any:
    """Return a model's input tensor, or a list of them if it has several, to build another model from."""
    return model.inputs if len(model.inputs) > 1 else model.inputs[0]


def block_name(layer: str) -> str:
    """Return the block that a layer belongs to: the layer's name up to the first underscore."""
    return layer.split("_", 1)[0]


@contextmanager
def raised_recursion_limit() -> Iterator[None]:
    """Raise Python's recursion limit, because Keras traverses graphs recursively, also those of 1,000 layers."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, RECURSION_LIMIT))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
