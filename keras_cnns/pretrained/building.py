"""Build a network, with random or with pretrained weights."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from keras_cnns.errors import WeightsError
from keras_cnns.lazy import LazyModule
from keras_cnns.networks import registry
from keras_cnns.networks.heads import Head, ImageShape, read_image_shape
from keras_cnns.networks.registry import build_for_pixels, choose_fixed_shape, make_plan
from keras_cnns.networks.weights.loading import copy_weights

if TYPE_CHECKING:
    from keras import KerasTensor, Model

    from keras_cnns.pretrained import references, runs, starting_weights
else:  # random weights need no more packages than the network
    references = LazyModule("keras_cnns.pretrained.references")
    runs = LazyModule("keras_cnns.pretrained.runs")
    starting_weights = LazyModule("keras_cnns.pretrained.starting_weights")

LOGGER = logging.getLogger("keras_cnns")


def build(
    name: str,
    *,
    input_shape: ImageShape | None = None,
    classes: int | None = None,
    classifier_activation: str | None = "softmax",
    include_top: bool = True,
    pooling: str | None = None,
    input_tensor: KerasTensor | None = None,
    weights: str | os.PathLike[str] | None = None,
    tracking_uri: str | None = None,
    **settings: object,
) -> Model:
    """Build a network.

    Args:
        name: A variant, one of `list_models()`, or a baseline: "keras:NAME" for a network of `keras.applications`, or
            "FILE.py:FUNCTION" or "MODULE:FUNCTION" for a function that takes `input_shape` and `classes` and returns a
            Keras model. A file is executed.
        input_shape: Height, width and channels of the images; by default those of the variant. Height and width can be
            None, for images of any size, if the network ends in global pooling or `include_top` is False.
        classes: Number of classes; by default that of the variant.
        classifier_activation: Activation of the classifier, as in `keras.applications`: `"softmax"` for probabilities,
            None for logits.
        include_top: As in `keras.applications`, False leaves out the classifier, and dense layers and global pooling
            before it. The network then returns its last feature maps.
        pooling: Without a classifier, "avg" or "max" pools the feature maps globally.
        input_tensor: A Keras tensor of images that the network is built on, instead of an input of its own.
        weights: Where the weights come from; None: random weights. "imagenet" stands for the first published weights of
            the variant in the table of weights, "keras:imagenet" and "torchvision:IMAGENET1K_V2" for those of a
            library, "timm:NAME" and "hf://ORGANISATION/NAME" for a repository of Hugging Face (extra `hub`). Otherwise
            the path of a `.safetensors`, `.pth`, `.npz`, `.h5` or `.keras` file, the ID or the name of a run, or
            "models:/NAME@champion". The network then takes pixel values from 0 to 255: the standardization of images
            that the weights were trained with becomes its first layer. The classifier and dense layers before it keep
            their initial values where the weights do not fit, for example for other classes; a message names them.
            Images can have any number of channels: grey images give what they give as RGB images.
        tracking_uri: The store of a run or a registered model; by default MLflow's environment variable, else
            `./mlflow.db`.
        **settings: Settings of the variant's family that differ from the variant's.

    Returns:
        A functional `keras.Model` from (batch, height, width, channels) to (batch, classes); with `include_top=False`
        to feature maps of (batch, height, width, channels), or (batch, channels) if they are pooled.

    Raises:
        ModelNameError: There is no such variant.
        SettingError: A setting is unknown or not legal.
        ImageSizeError: The images are too small for the network, or their size must be fixed.
        WeightsError: There are no such weights, they cannot be read or downloaded, or they do not fit the network.

    Example:
        >>> import keras_cnns
        >>> keras_cnns.build("densenet121", classes=2).output_shape
        (None, 2)
        >>> keras_cnns.build("resnet50", include_top=False, input_shape=(None, None, 3)).output_shape
        (None, None, None, 2048)
    """
    if weights is None:
        return registry.build(
            name,
            input_shape=input_shape,
            classes=classes,
            classifier_activation=classifier_activation,
            include_top=include_top,
            pooling=pooling,
            input_tensor=input_tensor,
            **settings,
        )
    if not isinstance(weights, str | os.PathLike):
        raise WeightsError(f"weights must be text or a path, not {type(weights).__name__}; give {references.WAYS}.")
    head = Head(activation=classifier_activation, include_top=include_top, pooling=pooling)
    image_shape = read_image_shape(name, input_shape, input_tensor)
    plan = make_plan(name, input_shape=choose_fixed_shape(name, image_shape), classes=classes, settings=settings)
    shape = plan.input_shape
    file = runs.find_any_weights(weights, name, tracking_uri, settings)
    source = starting_weights.load_source(file, name, shape, classes, settings)
    kernel, preprocessing = source.adapt(shape[2])
    model = build_for_pixels(
        name, preprocessing, image_shape or shape, classes=classes, head=head, settings=settings, pixels=input_tensor
    )
    copy_weights(source.network, model, kernel)
    layers = {layer.name for layer in model.layers}
    starting = starting_weights.StartingWeights(
        file=file,
        preprocessing=preprocessing,
        initial=tuple(name for name in source.initial if name in layers),
        library=source.library,
    )
    LOGGER.warning("%s: %s", name, starting.note())
    return model
