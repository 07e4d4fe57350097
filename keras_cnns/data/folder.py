"""Images in a folder: `SPLIT/CLASS/image`, or `CLASS/image`."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from keras_cnns.data.dataset import Split
from keras_cnns.data.raw import SPLIT_NAMES, Raw, resize
from keras_cnns.errors import DataError

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif"})
GREY = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L"})
DECODERS = 4


def read_folder(root: Path, image_size: int | tuple[int, int] | None) -> Raw:
    """Read a folder of images; those of mixed sizes need an `image_size`.

    Raises:
        DataError: There are no images, one is broken, or they are of mixed sizes.
    """
    try:
        places = subfolders(root)
        by_split: dict[str, Path] = {}
        for place in places:
            split = SPLIT_NAMES.get(place.name.lower())
            if split in by_split:
                raise DataError(
                    f"{root}: {by_split[split].name} and {place.name} are both the {split} split; keep one."
                )
            if split is not None:
                by_split[split] = place
        if "train" not in by_split:
            by_split = {"train": root}
        files = {
            split: [(file, place.name) for place in subfolders(top) for file in images_in(place, root)]
            for split, top in by_split.items()
        }
    except PermissionError as error:
        raise DataError(f"{error.filename}: may not be read; check its permissions.") from None
    class_names = tuple(sorted({place.name for top in by_split.values() for place in subfolders(top)}))
    for split, listed in files.items():
        if not listed:
            raise DataError(f"{by_split[split]}: no images in folders of classes; put them in CLASS/image.png.")
    with ThreadPoolExecutor(DECODERS) as pool:
        decoded = {
            split: list(pool.map(lambda file: decode(file, image_size), [file for file, _ in listed]))
            for split, listed in files.items()
        }
    colour = any(image.ndim == 3 for images in decoded.values() for image in images)
    splits = {}
    for split, listed in files.items():
        names = [file for file, _ in listed]
        images = [with_channels(image, colour=colour) for image in decoded[split]]
        labels = np.array([class_names.index(name) for _, name in listed], np.int64)
        splits[split] = Split(stack(names, images), labels)
    return Raw(name=root.resolve().name, splits=splits, class_names=class_names)


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, hidden ones left out."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def images_in(folder: Path, root: Path) -> Iterable[Path]:
    """Yield the images of a class's folder, in order.

    Raises:
        DataError: A link points outside the root.
    """
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in ENDINGS and not hidden and path.is_file():
            if not path.resolve().is_relative_to(root.resolve()):
                raise DataError(f"{path}: links to a file outside {root}; copy it into the folder.")
            yield path


def decode(path: Path, image_size: int | tuple[int, int] | None) -> np.ndarray:
    """Decode an image to uint8, resized if a size is given; (height, width) if it is grey, else (height, width, 3)."""
    image = decode_whole(path)
    if image_size is None:
        return image
    resized = resize(image.reshape(1, *image.shape[:2], -1), image_size)
    return np.asarray(resized[0, ..., 0] if image.ndim == 2 else resized[0])


def decode_whole(path: Path) -> np.ndarray:
    """Decode an image at its own size."""
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode != "F":
                return to_bytes(upright)
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: is broken or no image ({reason}); mend or remove the file.") from None
    raise DataError(f"{path}: its pixels are floating-point numbers of no known range; save it with 8 or 16 bits.")


def to_bytes(image: Image.Image) -> np.ndarray:
    """Return a decoded image's pixels as uint8: of 16 bits the upper 8, of a palette its colours."""
    if image.mode.startswith("I"):
        return (np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)
    return np.asarray(image.convert("L" if image.mode in GREY else "RGB"))


def with_channels(image: np.ndarray, *, colour: bool) -> np.ndarray:
    """Give a grey image the channels that all images of the source have."""
    if image.ndim == 3:
        return image
    return image[..., np.newaxis].repeat(3 if colour else 1, axis=-1)


def stack(files: list[Path], images: list[np.ndarray]) -> np.ndarray:
    """Put images of one size into one array."""
    for file, image in zip(files, images, strict=True):
        if image.shape != images[0].shape:
            raise DataError(
                f"{file} has {image.shape[1]}x{image.shape[0]} pixels and {files[0]} has {images[0].shape[1]}x"
                f"{images[0].shape[0]}; give all one size with --image-size 64 (image_size=64)."
            )
    return np.stack(images)
