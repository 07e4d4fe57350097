"""The arguments of `keras.applications` for a network without its classifier, and on a tensor of the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from keras_cnns.errors import SettingError
from keras_cnns.lazy import keras
from keras_cnns.networks.feature_maps import AXES, last_feature_maps
from keras_cnns.networks.graph import raised_recursion_limit
from keras_cnns.networks.operations import LeftOut

ImageShape: TypeAlias = tuple[int | None, int | None, int]
"""Height, width and channels of images; height and width are None for any size."""
POOLINGS = {"avg": "GlobalAveragePooling2D", "max": "GlobalMaxPooling2D"}


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a network ends in.

    Attributes:
        activation: The activation of the classifier; None returns logits.
        include_top: Whether the network has its classifier.
        pooling: Without its classifier: "avg" or "max" pools its feature maps globally; None returns them as they are.

    Raises:
        SettingError: `pooling` is another value, or the network has its classifier.
    """

    activation: str | None = "softmax"
    include_top: bool = True
    pooling: str | None = None

    def __post_init__(self) -> None:
        if self.pooling not in (None, *POOLINGS):
            raise SettingError(f"pooling must be 'avg', 'max' or None, not {self.pooling!r}.")
        if self.pooling is not None and self.include_top:
            raise SettingError(f"pooling={self.pooling!r} is for networks without a classifier; add include_top=False.")

    def select_features(self, name: str, inputs: Any, outputs: Any) -> Any:
        """Return the features before the classifier, from the outputs of a network that was built without it.

        Args:
            name: The name of the network.
            inputs: The inputs of the network.
            outputs: `LeftOut`, or logits whose classifier is still in the graph.

        Raises:
            SettingError: There are no feature maps before the classifier.
        """
        is_left_out = isinstance(outputs, LeftOut)
        with raised_recursion_limit():
            built = keras.Model(inputs, outputs.inputs if is_left_out else outputs)
        features = last_feature_maps(built, classifier=not is_left_out)
        if features is None:
            raise SettingError(f"{name} has no feature maps before its classifier; build it with include_top=True.")
        if self.pooling is None:
            return features
        layer = getattr(keras.layers, POOLINGS[self.pooling])
        return layer(data_format="channels_last", name=f"{self.pooling}_pool")(features)


def read_image_shape(name: str, input_shape: ImageShape | None, input_tensor: Any) -> ImageShape | None:
    """Return the shape of the images: that of `input_tensor` if it is given, and else `input_shape`.

    Raises:
        SettingError: `input_tensor` is not a Keras tensor of images, or has another shape than `input_shape`.
    """
    if input_tensor is None:
        return input_shape
    if not isinstance(input_tensor, keras.KerasTensor) or len(input_tensor.shape) != AXES:
        raise SettingError(
            f"{name}: input_tensor must be a Keras tensor of images, such as keras.Input((224, 224, 3)), "
            f"not {describe_tensor(input_tensor)}."
        )
    if not keras.backend.is_float_dtype(input_tensor.dtype):
        raise SettingError(f"{name}: input_tensor must have floating-point values, not {input_tensor.dtype}.")
    height, width, channels = input_tensor.shape[1:]
    if input_shape is not None and tuple(input_shape) != (height, width, channels):
        raise SettingError(
            f"{name}: input_shape is {input_shape}, but input_tensor has {(height, width, channels)}; give one of them."
        )
    return height, width, channels


def describe_tensor(value: Any) -> str:
    """Return the shape of a Keras tensor, or the type of another value."""
    return f"shape {value.shape}" if isinstance(value, keras.KerasTensor) else type(value).__name__
