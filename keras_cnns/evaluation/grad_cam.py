"""Heatmaps of the image regions that contribute to the score of a class: Grad-CAM and Grad-CAM++.

Grad-CAM: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", 2017,
arXiv 1610.02391, equations 1 and 2. Grad-CAM++: Chattopadhay et al., "Grad-CAM++: Generalized Gradient-based Visual
Explanations for Deep Convolutional Networks", 2018, arXiv 1710.11063, equation 19. Both weight the feature maps of a
layer by the gradient of the logit of the class.
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
from keras_cnns.networks.graph import Node, graph_nodes, model_inputs, raised_recursion_limit

PASS_THROUGH_LAYERS = ("ZeroPadding2D", "Dropout", "SpatialDropout2D", "Identity")
BATCH_SIZE = 16
MAX_LISTED_LAYERS = 12


@dataclass(frozen=True, kw_only=True, eq=False)
class GradCamModel:
    """A network that also outputs the feature maps of a layer.

    Attributes:
        network: Maps images to the layer's feature maps and the logits of the classes.
        layer: Name of the layer.
        layers: All layers with weights, from the output to the input.
    """

    network: Any
    layer: str
    layers: tuple[Any, ...]


def make_grad_cam_model(model: Any, layer: str | None = None) -> GradCamModel:
    """Prepare a network for Grad-CAM at a layer.

    Args:
        model: A network that ends in a softmax or sigmoid. Its auxiliary classifiers are left out.
        layer: Name of the layer. The default is the last layer that all paths from the input to the output pass
            through and whose feature maps are larger than 1x1.

    Raises:
        EvaluationError: There is no such layer, or the backend of Keras is not TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise EvaluationError(
            f"Grad-CAM needs TensorFlow's gradients, and the backend of Keras is {keras.backend.backend()}: set "
            f"KERAS_BACKEND=tensorflow."
        )
    main = strip_auxiliary(model)
    nodes = list(graph_nodes(main))
    feature_maps = find_feature_maps(nodes)
    if not feature_maps:
        raise EvaluationError("no layer of the network has feature maps larger than 1x1; it cannot be explained.")
    name = find_last_bottleneck(nodes, feature_maps) if layer is None else layer
    if name not in feature_maps:
        last = ", ".join(list(feature_maps)[-MAX_LISTED_LAYERS:])
        raise EvaluationError(
            f"--layer {layer}: no layer with this name has feature maps larger than 1x1."
            f"{nearest(name, feature_maps)} The last layers that do are {last}."
        )
    with raised_recursion_limit():
        network = keras.Model(model_inputs(main), [feature_maps[name], find_logits(nodes)])
    weighted = dict.fromkeys(operation for operation, _, _ in reversed(nodes) if has_variables(operation))
    return GradCamModel(network=network, layer=name, layers=tuple(weighted))


def find_feature_maps(nodes: Sequence[Node]) -> dict[str, Any]:
    """Return the output of each layer, from the first one with weights, whose feature maps are larger than 1x1."""
    first = next((index for index, (operation, _, _) in enumerate(nodes) if has_variables(operation)), len(nodes))
    return {
        operation.name: outputs[0]
        for operation, _, outputs in nodes[first:]
        if len(outputs[0].shape) == 4
        and min(outputs[0].shape[1:3]) > 1
        and type(operation).__name__ not in PASS_THROUGH_LAYERS
    }


def has_variables(operation: Any) -> bool:
    """Return whether an operation is a layer with variables; sums of tensors, for example, are not layers."""
    return bool(getattr(operation, "variables", ()))


def find_last_bottleneck(nodes: Sequence[Node], feature_maps: dict[str, Any]) -> str:
    """Return the last layer with feature maps that no connection bypasses."""
    index_of = {id(tensor): index for index, (_, _, outputs) in enumerate(nodes) for tensor in outputs}
    last_use = [0] * len(nodes)
    for index, (_, inputs, _) in enumerate(nodes):
        for tensor in inputs:
            if id(tensor) in index_of:
                last_use[index_of[id(tensor)]] = index
    bottleneck, bypassed_until = next(iter(feature_maps)), 0
    for index, (operation, _, _) in enumerate(nodes):
        if bypassed_until <= index and operation.name in feature_maps:
            bottleneck = operation.name
        bypassed_until = max(bypassed_until, last_use[index])
    return bottleneck


def find_logits(nodes: Sequence[Node]) -> Any:
    """Return the input of the final softmax or sigmoid."""
    last, inputs, _ = nodes[-1]
    if isinstance(last, keras.layers.Activation | keras.layers.Softmax):
        return inputs[0]
    raise EvaluationError(
        f"the network ends in {last.name}, a {type(last).__name__}; only networks that end in a separate layer for "
        f"softmax or sigmoid, as `train` builds them, have logits that can be explained."
    )


def compute_heatmaps(
    model: GradCamModel, images: np.ndarray, classes: np.ndarray, *, method: str = "grad-cam"
) -> np.ndarray:
    """Compute the heatmap of a class for each image, at the resolution of the layer.

    Args:
        model: The network.
        images: Shape (images, height, width, channels), 0 to 255.
        classes: The class to explain for each image, shape (images,).
        method: "grad-cam" or "grad-cam++".

    Returns:
        Shape (images, rows, columns), from 0 to 1. The maximum of each heatmap is 1, or 0 if nothing contributes to
        the class.
    """
    heatmaps = np.maximum(compute_signed_heatmaps(model, images, classes, method=method), 0)
    maxima = heatmaps.max(axis=(1, 2), keepdims=True)
    return np.asarray(heatmaps / np.where(maxima > 0, maxima, 1))


def compute_signed_heatmaps(model: GradCamModel, images: np.ndarray, classes: np.ndarray, *, method: str) -> np.ndarray:
    """Compute heatmaps before the final ReLU; regions that contribute against the class are negative."""
    check_method(method)
    heatmaps = []
    for begin in range(0, len(images), BATCH_SIZE):
        batch = slice(begin, begin + BATCH_SIZE)
        heatmaps.append(METHODS[method](*compute_gradients(model.network, images[batch], classes[batch])))
    return np.concatenate(heatmaps)


def check_method(method: str) -> None:
    """Raise an `EvaluationError` if there is no such method."""
    if method not in METHODS:
        raise EvaluationError(f"unknown method {method!r}: use {' or '.join(METHODS)}.{nearest(method, METHODS)}")


def compute_gradients(network: Any, images: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the layer's feature maps, and the gradient of the logit of the class by them, in float64."""
    pixels = tf.convert_to_tensor(images, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        feature_maps, logits = network(pixels, training=False)
        score = tf.gather(logits, tf.convert_to_tensor(classes), axis=1, batch_dims=1)
    gradients = tape.gradient(score, feature_maps, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return np.asarray(tf.cast(feature_maps, tf.float64)), np.asarray(tf.cast(gradients, tf.float64))


def grad_cam(feature_maps: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Return the sum over k of alpha_k A^k, with alpha_k the mean gradient by A^k: equation 2 without its ReLU.

    Args:
        feature_maps: A, shape (images, rows, columns, channels).
        gradients: The gradient of the logit of the class by A, of the same shape.

    Returns:
        Shape (images, rows, columns).
    """
    alpha = gradients.mean(axis=(1, 2))
    return np.asarray(np.einsum("nijk,nk->nij", feature_maps, alpha))


def grad_cam_plus_plus(feature_maps: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Return the sum over k of w_k A^k, with w_k the sum of alpha ReLU(gradient) over all positions.

    The score of the class is exp(S), with the logit S linear in the feature maps, so that the higher derivatives are
    powers of the first: alpha = g^2 / (2 g^2 + (sum of A) g^3), equation 19. The factor exp(S), common to all w_k, only
    scales the heatmap and is left out. Arguments and result are those of `grad_cam`.
    """
    squares = gradients**2
    denominator = 2 * squares + feature_maps.sum(axis=(1, 2), keepdims=True) * gradients**3
    alpha = np.divide(squares, denominator, out=np.zeros_like(squares), where=denominator != 0)
    weights = (alpha * np.maximum(gradients, 0)).sum(axis=(1, 2))
    return np.asarray(np.einsum("nijk,nk->nij", feature_maps, weights))


def resize_heatmaps(heatmaps: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize heatmaps to the size of the images by bilinear interpolation."""
    return np.asarray(tf.image.resize(heatmaps[..., np.newaxis], (height, width))[..., 0])


METHODS = {"grad-cam": grad_cam, "grad-cam++": grad_cam_plus_plus}
