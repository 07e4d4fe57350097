"""Published weights of networks: where they are, how images are standardized for them, and their licence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keras_cnns.networks.preprocessing import Preprocessing

TORCHVISION_URL = "https://download.pytorch.org/models/"
KERAS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/"
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

TORCH = Preprocessing.from_mean([255 * value for value in IMAGENET_MEAN], [255 * value for value in IMAGENET_DEVIATION])
"""By the mean and the standard deviation of ImageNet, as torchvision and timm do."""
SYMMETRIC = Preprocessing.from_mean((127.5,) * 3, (127.5,) * 3)
"""To values from -1 to 1, called "tf" in Keras."""
CAFFE = Preprocessing.from_mean((123.68, 116.779, 103.939), (1.0,) * 3)
"""Without scaling, by the mean of ImageNet, called "caffe" in Keras; the weights there are for blue first."""
PREPROCESSINGS: Mapping[str, Preprocessing] = {"torch": TORCH, "symmetric": SYMMETRIC, "caffe": CAFFE}


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """Published weights of a variant, trained on the 1,000 classes of ImageNet.

    Attributes:
        variant: The variant.
        name: The library and its name of the weights, such as "torchvision:IMAGENET1K_V1".
        url: The address of the file.
        checksum: The SHA-256 of the file or its first digits, or its MD5, as the library publishes it.
        megabytes: The size of the file.
        accuracy: The published top-1 accuracy on ImageNet, in percent.
        licence: The licence under which the library publishes the weights.
        preprocessing: How images are standardized.
    """

    variant: str
    name: str
    url: str
    checksum: str
    megabytes: float
    accuracy: float
    licence: str
    preprocessing: Preprocessing


def of_torchvision(
    rows: Mapping[str, tuple[str, float, float]],
    name: str = "IMAGENET1K_V1",
    preprocessing: Preprocessing = TORCH,
) -> tuple[Pretrained, ...]:
    """Return weights of torchvision, given file name, top-1 accuracy and size in MB by variant.

    Source: the tables of torchvision 0.29.1 (`torchvision/models/*.py`). File names end in the first eight digits of
    the SHA-256.
    """
    return tuple(
        Pretrained(
            variant=variant,
            name=f"torchvision:{name}",
            url=TORCHVISION_URL + file,
            checksum=file.rpartition("-")[2].removesuffix(".pth"),
            megabytes=megabytes,
            accuracy=accuracy,
            licence="BSD-3-Clause (torchvision)",
            preprocessing=preprocessing,
        )
        for variant, (file, accuracy, megabytes) in rows.items()
    )


def of_keras(
    rows: Mapping[str, tuple[str, str, float, float]], licence: str, preprocessing: Preprocessing
) -> tuple[Pretrained, ...]:
    """Return weights of `keras.applications`, given path, MD5, top-1 accuracy and size in MB by variant.

    Source: Keras 3.15.1 (`keras/src/applications/*.py`) and the table on keras.io/api/applications.
    """
    return tuple(
        Pretrained(
            variant=variant,
            name="keras:imagenet",
            url=f"{KERAS_URL}{path}_weights_tf_dim_ordering_tf_kernels.h5",
            checksum=checksum,
            megabytes=megabytes,
            accuracy=accuracy,
            licence=licence,
            preprocessing=preprocessing,
        )
        for variant, (path, checksum, accuracy, megabytes) in rows.items()
    )
