"""The graph of a functional model, read step by step."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from keras_cnns.lazy import keras

DEEPEST_RECURSION = 50_000
Step: TypeAlias = tuple[Any, list[Any], list[Any]]  # an operation, its inputs, its outputs


def graph_steps(model: Any) -> Iterator[Step]:
    """Yield each operation of the graph with its input and output tensors, in the order of execution."""
    if isinstance(model, keras.Sequential):
        model = model._functional  # noqa: SLF001 - Keras has no public view of a sequential model's graph
    for _, nodes in sorted(model._nodes_by_depth.items(), reverse=True):  # noqa: SLF001 - nor of the order
        for node in nodes:
            if not node.is_input:
                yield node.operation, node.input_tensors, node.output_tensors


def inputs_of(model: Any) -> Any:
    """Return a model's inputs as a new one is to take them: a list of one tensor would want lists of one."""
    return model.inputs if len(model.inputs) > 1 else model.inputs[0]


def block_of(name: str) -> str:
    """Return the block of a layer: its name up to the first underscore."""
    return name.split("_", 1)[0]


@contextmanager
def room_for_deep_graphs() -> Iterator[None]:
    """Let Keras, which walks graphs recursively, walk those of more than a thousand layers."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, DEEPEST_RECURSION))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
