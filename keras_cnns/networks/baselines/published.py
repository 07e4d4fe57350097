"""The weights that Keras publishes for the networks of `keras.applications`: where they are, and their loading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from keras_cnns.errors import WeightsError
from keras_cnns.lazy import keras
from keras_cnns.networks.baselines.code import describe_error
from keras_cnns.networks.baselines.families import find_baseline
from keras_cnns.networks.baselines.functions import NetworkFunction, without_values

IMAGENET = "imagenet"


class FileRequest(Exception):  # noqa: N818 - it is not an error
    """Keras wants to download a file of weights."""

    def __init__(self, url: str, checksum: str) -> None:
        super().__init__(url)
        self.url = url
        self.checksum = checksum


def find_published_file(name: str, settings: Mapping[str, Any]) -> tuple[str, str]:
    """Return the address and the checksum of the weights that Keras publishes for a network; "" without checksum.

    Args:
        name: The name of a baseline.
        settings: Its settings that differ from the defaults.

    Raises:
        WeightsError: There are none.
    """
    family = find_baseline(name)
    if family.function is None or not family.function.of_keras:
        raise WeightsError(f"{name}: only networks of Keras have published weights; name a file of weights.")

    def request(_: str, origin: str, *, file_hash: str | None = None, **others: Any) -> NoReturn:
        raise FileRequest(origin, file_hash or others.get("md5_hash") or "")

    try:
        with without_values(), replaced_download(request):
            call(family.function, family.variants[name].settings.replace(settings).as_dict())
    except FileRequest as found:
        return found.url, found.checksum
    raise WeightsError(f"{name} has no published weights.")


def load_published(function: NetworkFunction, settings: Mapping[str, Any], path: Path) -> Any:
    """Return a network of `keras.applications` for 1,000 classes with its published weights, which Keras loads itself.

    Args:
        function: The function.
        settings: All of its settings.
        path: The downloaded file.

    Raises:
        WeightsError: There are no weights for these settings, or they cannot be loaded.
    """
    with replaced_download(lambda *_, **__: str(path)):
        return call(function, settings)


def call(function: NetworkFunction, settings: Mapping[str, Any]) -> Any:
    """Build a network with the weights that Keras publishes."""
    try:
        return function.build(settings, None, None, weights=IMAGENET)
    except FileRequest:
        raise
    except Exception as error:  # noqa: BLE001 - Keras raises several
        raise WeightsError(
            f"{function.name} has no published weights for these settings: {describe_error(error)}."
        ) from None


@contextmanager
def replaced_download(get_file: Callable[..., Any]) -> Iterator[None]:
    """Replace Keras's function that downloads a file."""
    utilities = keras.src.utils.file_utils
    before = utilities.get_file
    utilities.get_file = get_file
    try:
        yield
    finally:
        utilities.get_file = before
