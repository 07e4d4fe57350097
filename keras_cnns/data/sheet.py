"""The contact sheet of a data set: images of each class, those that are there twice, and how they are augmented."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_cnns.atomic import atomic_write
from keras_cnns.data.augmentation import augmented_views
from keras_cnns.data.dataset import Dataset
from keras_cnns.data.inspection import Duplicates, Inspection, Sample, sample
from keras_cnns.errors import DataError, SettingError, nearest
from keras_cnns.networks.recipe import AUGMENTATIONS
from keras_cnns.plotting import INK, check_picture

PAPER, QUIET, ALARM = "#FFFFFF", "#767676", "#B84300"
MARGIN, GAP, ROOM = 24, 6, 22
TITLE, HEADING, CAPTION = 22, 14, 11
CELL, LARGE_CELL, MOST_ENLARGED = 112, 160, 64
SAMPLES_IN_ALL = 10
MOST_CLASSES = 120
MOST_PAIRS = 30
MOST_AUGMENTED = 24
VIEWS = 6


def check_sheet(path: str | Path | None, augmented: str | None) -> Path | None:
    """Return where a sheet is to be written, before any work is done for it.

    Raises:
        DataError: There is no such preset of augmentation.
        SettingError: The sheet cannot be written there, or there is none to show augmented images in.
    """
    if augmented is not None and augmented not in AUGMENTATIONS:
        raise DataError(
            f"no augmentation {augmented!r}; there are {', '.join(AUGMENTATIONS)}.{nearest(augmented, AUGMENTATIONS)}"
        )
    if path is None and augmented is not None:
        raise SettingError("augmented images are drawn into a sheet; name one with --sheet FILE.png (sheet).")
    if path is None:
        return None
    if Path(path).suffix.lower() != ".png":
        raise SettingError(f"cannot draw {path}: the name of a contact sheet has to end in .png.")
    return check_picture(path)


def write_sheet(dataset: Dataset, inspection: Inspection, path: Path, *, augmented: str | None, seed: int) -> None:
    """Draw a contact sheet and write it, whole or not at all.

    Args:
        dataset: The images.
        inspection: What was found in them.
        path: A PNG file, which `check_sheet` returned.
        augmented: The preset of augmentation to show.
        seed: Chooses the images, and how they are augmented.

    Raises:
        SettingError: It cannot be written there.
    """
    sheet = draw_sheet(dataset, inspection, augmented=augmented, seed=seed)
    try:
        with atomic_write(path) as temporary:
            sheet.save(temporary, format="PNG", optimize=True)
    except OSError as error:
        raise SettingError(f"cannot write {path}: {error.strerror}; name a picture elsewhere.") from error


def draw_sheet(dataset: Dataset, inspection: Inspection, *, augmented: str | None, seed: int) -> Image.Image:
    """Return the contact sheet."""
    chosen = choose(dataset, seed)
    sections = [words(inspection.name, TITLE), *class_section(dataset, inspection, chosen)]
    width = max(section.width for section in sections)
    sections += pair_section(dataset, inspection, width)
    if augmented is not None:
        sections += augmented_section(dataset, chosen, augmented, seed)
    return above([above([], 0), beside([above([], 0), above(sections, ROOM), above([], 0)], MARGIN), above([], 0)],
                 MARGIN)  # fmt: skip


def columns_of(classes: int) -> int:
    """Return how many classes stand beside each other."""
    return 1 if classes <= 12 else 2 if classes <= 40 else 3


def choose(dataset: Dataset, seed: int) -> list[list[Sample]]:
    """Draw a few images of each class, of the training images where there are any."""
    name, split = next(iter(dataset.splits.items()))
    wanted = SAMPLES_IN_ALL // columns_of(dataset.classes)
    chosen = []
    for label in range(min(dataset.classes, MOST_CLASSES)):
        places = np.flatnonzero(split.labels[:, label] if split.labels.ndim == 2 else split.labels == label)
        drawn = np.random.default_rng([seed, label]).permutation(places)[:wanted]
        chosen.append([sample(dataset, name, int(place)) for place in drawn])
    return chosen


def class_section(
    dataset: Dataset, inspection: Inspection, chosen: Sequence[Sequence[Sample]]
) -> Iterator[Image.Image]:
    """Yield a row of images for each class, with the class and how many there are above it."""
    cell, columns = cell_of(dataset), columns_of(dataset.classes)
    wide = (SAMPLES_IN_ALL // columns) * (cell + GAP)
    rows = []
    for label, samples in enumerate(chosen):
        counts = ", ".join(f"{contents.classes[label]:,} {name}" for name, contents in inspection.splits.items())
        name = words(dataset.class_names[label], HEADING, width=wide // 2, keep_end=False)
        heading = beside([name, words(counts, CAPTION, QUIET, width=wide - name.width - GAP)], GAP)
        tiles = [tile(dataset, one, Path(one.name).name, cell) for one in samples]
        rows.append(padded(above([heading, beside(tiles, GAP)], GAP), wide))
    for start in range(0, len(rows), columns):
        yield beside(rows[start : start + columns], ROOM)
    if dataset.classes > len(chosen):
        yield words(f"and {dataset.classes - len(chosen):,} more classes", CAPTION, QUIET)


def section_title(text: str) -> Image.Image:
    """Draw a heading with room above it."""
    return above([above([], 0), words(text, TITLE - 4)], ROOM)


def pair_section(dataset: Dataset, inspection: Inspection, width: int) -> Iterator[Image.Image]:
    """Yield images that are there twice, side by side, those that do the most harm first."""
    cell = cell_of(dataset)
    found = [*inspection.exact, *inspection.near]
    ranked = sorted(found, key=lambda group: (not group.conflicting, not group.across, not group.exact))[:MOST_PAIRS]
    if not ranked:
        return
    of_all = f", {len(ranked)} of {len(found):,}" if len(found) > len(ranked) else ""
    yield section_title(f"There twice{of_all}")
    blocks = [pair_block(dataset, group, cell) for group in ranked]
    across = max(1, (width + ROOM) // (2 * cell + GAP + ROOM))
    for start in range(0, len(blocks), across):
        yield beside(blocks[start : start + across], ROOM)


def pair_block(dataset: Dataset, group: Duplicates, cell: int) -> Image.Image:
    """Draw two images of a group beside each other, of different labels or splits if there are such."""
    first, *others = group.samples
    second = max(others, key=lambda other: (other.label != first.label, other.split != first.split))
    kind = f"correlation {group.similarity:.3f}" if not group.exact else "identical"
    more = f", {len(group.samples)} images" if len(group.samples) > 2 else ""
    places = [f"{one.split}: {one.label}" for one in (first, second)]
    tiles = []
    for one, where in zip((first, second), places, strict=True):
        colour = ALARM if group.conflicting or group.across else QUIET
        above_it = words(where, CAPTION, colour, width=cell, keep_end=False)
        tiles.append(above([above_it, tile(dataset, one, one.name, cell)], 2))
    return padded(above([words(f"{kind}{more}", CAPTION), beside(tiles, GAP)], 2), 2 * cell + GAP)


def augmented_section(
    dataset: Dataset, chosen: Sequence[Sequence[Sample]], preset: str, seed: int
) -> Iterator[Image.Image]:
    """Yield a few of the images that are shown above, each with six augmented versions of it."""
    cell = cell_of(dataset)
    each = max(1, MOST_AUGMENTED // 2 // len(chosen))
    samples = [one for of_class in chosen for one in of_class[: min(each, 3)]][:MOST_AUGMENTED]
    pixels = np.stack([dataset.splits[one.split].images[one.place] for one in samples])
    views = np.rint(augmented_views(pixels, preset, views=VIEWS, seed=seed)).clip(0, 255).astype(np.uint8)
    yield section_title(f"Augmentation {preset}: an image and {VIEWS} versions of it")
    for index, one in enumerate(samples):
        label = words(one.label, CAPTION, QUIET, width=cell, keep_end=False)
        original = above([label, tile(dataset, one, Path(one.name).name, cell)], 2)
        versions = [above([square(view[index], cell), words("", CAPTION)], 2) for view in views]
        yield beside([original, padded(above([], 0), GAP), *versions], GAP)


def cell_of(dataset: Dataset) -> int:
    """Return the side of the squares that images are shown in: a multiple of a small image's."""
    side = max(dataset.image_shape[:2])
    return side * max(1, round(CELL / side)) if side <= MOST_ENLARGED else LARGE_CELL


def tile(dataset: Dataset, one: Sample, caption: str, cell: int) -> Image.Image:
    """Draw an image with its name below it."""
    pixels = np.asarray(dataset.splits[one.split].images[one.place])
    return above([square(pixels, cell), words(caption, CAPTION, QUIET, width=cell)], 2)


def square(pixels: np.ndarray, cell: int) -> Image.Image:
    """Draw an image into a square: small ones with whole pixels, large ones smoothly."""
    colour = pixels.shape[-1] >= 3
    image = Image.fromarray(pixels[..., :3] if colour else pixels[..., 0]).convert("RGB")
    largest = max(image.size)
    width, height = (max(1, round(side * cell / largest)) for side in image.size)
    smooth = Image.Resampling.LANCZOS if largest > MOST_ENLARGED else Image.Resampling.NEAREST
    shown = image.resize((width, height), smooth)
    whole = Image.new("RGB", (cell, cell), PAPER)
    whole.paste(shown, (0, 0))
    return whole


def words(text: str, size: int, colour: str = INK, *, width: int | None = None, keep_end: bool = True) -> Image.Image:
    """Draw a line of text; where it is wider than `width`, its beginning is left out, or else its end."""
    font = ImageFont.truetype(font_file(), size)
    line = " ".join(text.split())
    if width is not None and font.getlength(line) > width:
        while line and font.getlength(f"…{line}") > width:
            line = line[1:] if keep_end else line[:-1]
        line = f"…{line}" if keep_end else f"{line}…"
    ascent, descent = font.getmetrics()
    drawn = Image.new("RGB", (max(1, round(font.getlength(line) + 0.5)), ascent + descent), PAPER)
    ImageDraw.Draw(drawn).text((0, 0), line, font=font, fill=colour)
    return drawn


def font_file() -> str:
    """Return the font that matplotlib brings, which has the letters of most alphabets."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to import

    return str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")


def above(parts: Sequence[Image.Image], gap: int) -> Image.Image:
    """Put pictures below one another."""
    height = sum(part.height for part in parts) + gap * max(0, len(parts) - 1)
    whole = Image.new("RGB", (max((part.width for part in parts), default=0), height), PAPER)
    top = 0
    for part in parts:
        whole.paste(part, (0, top))
        top += part.height + gap
    return whole


def beside(parts: Sequence[Image.Image], gap: int) -> Image.Image:
    """Put pictures beside one another, on one lower edge."""
    width = sum(part.width for part in parts) + gap * max(0, len(parts) - 1)
    whole = Image.new("RGB", (width, max((part.height for part in parts), default=0)), PAPER)
    left = 0
    for part in parts:
        whole.paste(part, (left, whole.height - part.height))
        left += part.width + gap
    return whole


def padded(part: Image.Image, width: int) -> Image.Image:
    """Make a picture at least as wide as others in its column."""
    whole = Image.new("RGB", (max(width, part.width), part.height), PAPER)
    whole.paste(part, (0, 0))
    return whole
