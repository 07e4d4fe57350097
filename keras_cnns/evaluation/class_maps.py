"""Where in an image a network sees a class: Grad-CAM and Grad-CAM++.

Grad-CAM: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", 2017,
arXiv 1610.02391, equations 1 and 2. Grad-CAM++: Chattopadhay et al., "Grad-CAM++: Generalized Gradient-based Visual
Explanations for Deep Convolutional Networks", 2018, arXiv 1710.11063, equation 19. Both weigh the maps of a layer by
the gradient of the class's score before softmax or sigmoid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_cnns.errors import EvaluationError, nearest
from keras_cnns.networks.auxiliary import strip_auxiliary
from keras_cnns.networks.graph import Step, graph_steps, inputs_of, room_for_deep_graphs

METHODS = ("grad-cam", "grad-cam++")
PASSING_ON = ("ZeroPadding2D", "Dropout", "SpatialDropout2D", "Identity")
IMAGES_AT_A_TIME = 16
LISTED = 12


@dataclass(frozen=True, kw_only=True, eq=False)
class Seeing:
    """A network opened at a layer.

    Attributes:
        network: From images to the layer's maps and to the scores of the classes, before softmax or sigmoid.
        layer: The layer.
        layers: All layers with weights, from the output to the input.
    """

    network: Any
    layer: str
    layers: tuple[Any, ...]


def open_at(model: Any, layer: str | None = None) -> Seeing:
    """Open a network at a layer that gives maps.

    Args:
        model: A network that ends in a softmax or sigmoid; its auxiliary classifiers are left out.
        layer: The layer; by default the last one that all paths from image to class go through and whose maps have
            more than one place.

    Raises:
        EvaluationError: There is no such layer, or Keras runs on another backend than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise EvaluationError(
            f"maps need TensorFlow's gradients, and Keras runs on {keras.backend.backend()}: set "
            f"KERAS_BACKEND=tensorflow."
        )
    main = strip_auxiliary(model)
    steps = list(graph_steps(main))
    maps = layers_with_maps(steps)
    if not maps:
        raise EvaluationError("no layer of the network has maps of more than one place: there is nothing to see.")
    name = last_cut(steps, maps) if layer is None else layer
    if name not in maps:
        there = list(maps)[-LISTED:]
        raise EvaluationError(
            f"--layer {layer}: no layer of this name gives maps of more than one place.{nearest(name, maps)} The last "
            f"that do: {', '.join(there)}."
        )
    with room_for_deep_graphs():
        network = keras.Model(inputs_of(main), [maps[name], scores_before(steps)])
    weighted = dict.fromkeys(operation for operation, _, _ in reversed(steps) if operation.variables)
    return Seeing(network=network, layer=name, layers=tuple(weighted))


def layers_with_maps(steps: Sequence[Step]) -> dict[str, Any]:
    """Return the maps of each layer from the first one with weights on, where they have more than one place."""
    first = next((place for place, (operation, _, _) in enumerate(steps) if operation.variables), len(steps))
    return {
        operation.name: outputs[0]
        for operation, _, outputs in steps[first:]
        if len(outputs[0].shape) == 4 and min(outputs[0].shape[1:3]) > 1 and type(operation).__name__ not in PASSING_ON
    }


def last_cut(steps: Sequence[Step], maps: dict[str, Any]) -> str:
    """Return the last layer with maps that no connection goes around."""
    place_of = {id(tensor): place for place, (_, _, outputs) in enumerate(steps) for tensor in outputs}
    used_until = [0] * len(steps)
    for place, (_, inputs, _) in enumerate(steps):
        for tensor in inputs:
            if id(tensor) in place_of:
                used_until[place_of[id(tensor)]] = place
    cut, passed_by = next(iter(maps)), 0
    for place, (operation, _, _) in enumerate(steps):
        if passed_by <= place and operation.name in maps:
            cut = operation.name
        passed_by = max(passed_by, used_until[place])
    return cut


def scores_before(steps: Sequence[Step]) -> Any:
    """Return the scores that the last layer makes probabilities of."""
    last, inputs, _ = steps[-1]
    if isinstance(last, keras.layers.Activation | keras.layers.Softmax):
        return inputs[0]
    raise EvaluationError(
        f"the network ends in {last.name}, a {type(last).__name__}; only networks that end in a layer of their own for "
        f"softmax or sigmoid, as `train` makes them, have scores to explain."
    )


def class_maps(seeing: Seeing, images: np.ndarray, classes: np.ndarray, *, method: str = "grad-cam") -> np.ndarray:
    """Return where the network sees a class in each image, at the layer's own size.

    Args:
        seeing: The network.
        images: Shape (images, height, width, channels), 0 to 255.
        classes: The class that each is explained for.
        method: "grad-cam" or "grad-cam++".

    Returns:
        Shape (images, rows, columns), 0 to 1: 1 where most speaks for the class, all 0 where nothing does.
    """
    found = np.maximum(signed_maps(seeing, images, classes, method=method), 0)
    highest = found.max(axis=(1, 2), keepdims=True)
    return np.asarray(found / np.where(highest > 0, highest, 1))


def signed_maps(seeing: Seeing, images: np.ndarray, classes: np.ndarray, *, method: str) -> np.ndarray:
    """Return the maps before the ReLU: what speaks against the class is below 0."""
    check_method(method)
    weigh = grad_cam if method == "grad-cam" else grad_cam_plus_plus
    parts = [
        weigh(*maps_and_gradients(seeing.network, images[begin : begin + IMAGES_AT_A_TIME], part))
        for begin in range(0, len(images), IMAGES_AT_A_TIME)
        for part in [classes[begin : begin + IMAGES_AT_A_TIME]]
    ]
    return np.concatenate(parts)


def check_method(method: str) -> None:
    """Raise an `EvaluationError` where there is no such method."""
    if method not in METHODS:
        raise EvaluationError(
            f"method {method!r} is not known: choose {' or '.join(METHODS)}.{nearest(method, METHODS)}"
        )


def maps_and_gradients(network: Any, images: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the layer's maps, and the gradient of the class's score by each of their values, in float64."""
    pixels = tf.convert_to_tensor(images, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        maps, scores = network(pixels, training=False)
        score = tf.gather(scores, tf.convert_to_tensor(classes), axis=1, batch_dims=1)
    gradients = tape.gradient(score, maps, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return np.asarray(tf.cast(maps, tf.float64)), np.asarray(tf.cast(gradients, tf.float64))


def grad_cam(maps: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Return the sum over k of alpha_k A^k, alpha_k the mean of the gradient by A^k: equation 2 without its ReLU.

    Args:
        maps: A, shape (images, rows, columns, maps).
        gradients: Those of the class's score by A, of the same shape.

    Returns:
        Shape (images, rows, columns).
    """
    alpha = gradients.mean(axis=(1, 2))
    return np.asarray(np.einsum("nijk,nk->nij", maps, alpha))


def grad_cam_plus_plus(maps: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Return the sum over k of w_k A^k, w_k the sum of alpha ReLU(gradient) over all places.

    The class's score S is taken as exp(S), of which S is linear in the maps, so that the higher derivatives are powers
    of the first: alpha = g^2 / (2 g^2 + (sum of A) g^3), equation 19. The factor exp(S) of every w_k scales the whole
    map and is left out. Shapes as in `grad_cam`.
    """
    squares = gradients**2
    below = 2 * squares + maps.sum(axis=(1, 2), keepdims=True) * gradients**3
    alpha = np.divide(squares, below, out=np.zeros_like(squares), where=below != 0)
    weights = (alpha * np.maximum(gradients, 0)).sum(axis=(1, 2))
    return np.asarray(np.einsum("nijk,nk->nij", maps, weights))


def enlarged(maps: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return maps at the size of the images, smoothly."""
    return np.asarray(tf.image.resize(maps[..., np.newaxis], (height, width))[..., 0])
