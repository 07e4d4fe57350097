"""The contact sheet of a dataset: images of each class, duplicates, and augmented images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from keras_cnns.atomic import atomic_write
from keras_cnns.data.dataset import Dataset
from keras_cnns.data.inspection.report import Duplicates, Inspection, Sample
from keras_cnns.errors import SettingError
from keras_cnns.networks.augmentations import find_augmentation
from keras_cnns.plotting import INK, check_plot_path

WHITE, GREY, RED = "#FFFFFF", "#767676", "#B84300"
MARGIN, GAP, SECTION_GAP = 24, 6, 22
TITLE, HEADING, CAPTION = 22, 14, 11
TILE, LARGE_TILE, MAX_ENLARGED = 112, 160, 64
SAMPLES_PER_ROW = 10
MAX_CLASSES = 120
MAX_DUPLICATES = 30
MAX_AUGMENTED = 24
VIEWS = 6


def check_sheet(path: str | Path | None, augmentation: str | None) -> Path | None:
    """Check the path and the augmentation of a contact sheet before any work is done.

    Raises:
        SettingError: The sheet cannot be written, there is no such preset, or no sheet for the augmented images.
    """
    if augmentation is not None:
        find_augmentation(augmentation)
    if path is None:
        if augmentation is not None:
            raise SettingError("augmented images are shown in the contact sheet; add --sheet FILE.png (sheet).")
        return None
    if Path(path).suffix.lower() != ".png":
        raise SettingError(f"cannot write {path}: the name of a contact sheet must end in .png.")
    return check_plot_path(path)


def save_sheet(sheet: Image.Image, path: Path) -> None:
    """Write a contact sheet atomically, or raise a `SettingError`."""
    try:
        with atomic_write(path) as temporary:
            sheet.save(temporary, format="PNG", optimize=True)
    except OSError as error:
        raise SettingError(f"cannot write {path}: {error.strerror}; choose another path.") from error


def draw_sheet(dataset: Dataset, inspection: Inspection, *, augmentation: str | None, seed: int) -> Image.Image:
    """Draw a contact sheet.

    Args:
        dataset: The images.
        inspection: Their inspection.
        augmentation: The augmentation preset to show, if any.
        seed: Seed of the chosen images and of their augmentation.
    """
    chosen = choose_samples(dataset, seed)
    sections = [draw_text(inspection.name, TITLE), *class_rows(dataset, inspection, chosen)]
    width = max(section.width for section in sections)
    sections += duplicate_rows(dataset, inspection, width)
    if augmentation is not None:
        sections += augmented_rows(dataset, chosen, augmentation, seed)
    return ImageOps.expand(stack(sections, SECTION_GAP), MARGIN, WHITE)


def column_count(classes: int) -> int:
    """Return the number of classes side by side."""
    return 1 if classes <= 12 else 2 if classes <= 40 else 3


def choose_samples(dataset: Dataset, seed: int) -> list[list[Sample]]:
    """Choose a few random images of each class from the first split, the training images if there are any."""
    name, split = next(iter(dataset.splits.items()))
    count = SAMPLES_PER_ROW // column_count(dataset.classes)
    chosen = []
    for label in range(min(dataset.classes, MAX_CLASSES)):
        candidates = np.flatnonzero(split.labels[:, label] if split.labels.ndim == 2 else split.labels == label)
        indices = np.random.default_rng([seed, label]).permutation(candidates)[:count]
        chosen.append([Sample.of(dataset, name, int(index)) for index in indices])
    return chosen


def class_rows(dataset: Dataset, inspection: Inspection, chosen: Sequence[Sequence[Sample]]) -> Iterator[Image.Image]:
    """Yield rows with the name of a class, the number of its images and some of them."""
    side, columns = tile_side(dataset), column_count(dataset.classes)
    width = (SAMPLES_PER_ROW // columns) * (side + GAP)
    cells = []
    for label, samples in enumerate(chosen):
        counts = ", ".join(f"{split.classes[label]:,} {name}" for name, split in inspection.splits.items())
        name = draw_text(dataset.class_names[label], HEADING, width=width // 2, keep_end=False)
        heading = [name, draw_text(counts, CAPTION, GREY, width=width - name.width - GAP)]
        tiles = [draw_tile(dataset, sample, side) for sample in samples]
        rows = [stack(parts, GAP, horizontally=True) for parts in (heading, tiles)]
        cells.append(pad(stack(rows, GAP), width))
    yield from arrange_in_rows(cells, columns)
    if dataset.classes > len(chosen):
        yield draw_text(f"and {dataset.classes - len(chosen):,} more classes", CAPTION, GREY)


def duplicate_rows(dataset: Dataset, inspection: Inspection, width: int) -> Iterator[Image.Image]:
    """Yield rows of duplicate images side by side, the most harmful first."""
    side = tile_side(dataset)
    found = [*inspection.exact_duplicates, *inspection.near_duplicates]
    ranked = sorted(found, key=lambda group: (not group.conflicting, not group.across_splits, not group.exact))
    ranked = ranked[:MAX_DUPLICATES]
    if not ranked:
        return
    total = f", {len(ranked)} of {len(found):,}" if len(found) > len(ranked) else ""
    yield section_title(f"Duplicates{total}")
    pairs = [draw_duplicates(dataset, group, side) for group in ranked]
    yield from arrange_in_rows(pairs, max(1, (width + SECTION_GAP) // (2 * side + GAP + SECTION_GAP)))


def draw_duplicates(dataset: Dataset, group: Duplicates, side: int) -> Image.Image:
    """Draw two images of a group side by side, with different labels or from different splits if possible."""
    first, *others = group.samples
    second = max(others, key=lambda other: (other.label != first.label, other.split != first.split))
    similarity = "identical" if group.exact else f"correlation {group.similarity:.3f}"
    more = f", {len(group.samples)} images" if len(group.samples) > 2 else ""
    colour = RED if group.conflicting or group.across_splits else GREY
    tiles = []
    for sample in (first, second):
        label = draw_text(f"{sample.split}: {sample.label}", CAPTION, colour, width=side, keep_end=False)
        tiles.append(stack([label, draw_tile(dataset, sample, side)], 2))
    heading = draw_text(f"{similarity}{more}", CAPTION)
    return pad(stack([heading, stack(tiles, GAP, horizontally=True)], 2), 2 * side + GAP)


def augmented_rows(
    dataset: Dataset, chosen: Sequence[Sequence[Sample]], preset: str, seed: int
) -> Iterator[Image.Image]:
    """Yield rows with one of the chosen images and six augmented versions of it."""
    from keras_cnns.data.augmentation import augment_views  # noqa: PLC0415 - imports TensorFlow

    side = tile_side(dataset)
    per_class = min(3, max(1, MAX_AUGMENTED // 2 // len(chosen)))
    samples = [sample for of_class in chosen for sample in of_class[:per_class]][:MAX_AUGMENTED]
    images = np.stack([dataset.splits[sample.split].images[sample.index] for sample in samples])
    views = np.rint(augment_views(images, preset, views=VIEWS, seed=seed)).clip(0, 255).astype(np.uint8)
    yield section_title(f"Augmentation {preset}: each image with {VIEWS} augmented versions")
    for index, sample in enumerate(samples):
        label = draw_text(sample.label, CAPTION, GREY, width=side, keep_end=False)
        original = stack([label, draw_tile(dataset, sample, side)], 2)
        versions = [stack([fit_square(view[index], side), draw_text("", CAPTION)], 2) for view in views]
        yield stack([original, Image.new("RGB", (GAP, 1), WHITE), *versions], GAP, horizontally=True)


def tile_side(dataset: Dataset) -> int:
    """Return the side of the tiles: an integer multiple of the side of small images."""
    side = max(dataset.image_shape[:2])
    return side * max(1, round(TILE / side)) if side <= MAX_ENLARGED else LARGE_TILE


def draw_tile(dataset: Dataset, sample: Sample, side: int) -> Image.Image:
    """Draw an image with its name below it."""
    pixels = np.asarray(dataset.splits[sample.split].images[sample.index])
    return stack([fit_square(pixels, side), draw_text(sample.name, CAPTION, GREY, width=side)], 2)


def fit_square(pixels: np.ndarray, side: int) -> Image.Image:
    """Resize an image to a square canvas: small ones without interpolation, large ones with it."""
    image = Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0]).convert("RGB")
    longest = max(image.size)
    width, height = (max(1, round(length * side / longest)) for length in image.size)
    method = Image.Resampling.LANCZOS if longest > MAX_ENLARGED else Image.Resampling.NEAREST
    canvas = Image.new("RGB", (side, side), WHITE)
    canvas.paste(image.resize((width, height), method), (0, 0))
    return canvas


def draw_text(
    text: str, size: int, colour: str = INK, *, width: int | None = None, keep_end: bool = True
) -> Image.Image:
    """Draw a line of text; if it is wider than `width`, its beginning is cut off, or its end."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to import

    # matplotlib's font contains the letters of most alphabets.
    font = ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
    line = " ".join(text.split())
    if width is not None and font.getlength(line) > width:
        while line and font.getlength(f"…{line}") > width:
            line = line[1:] if keep_end else line[:-1]
        line = f"…{line}" if keep_end else f"{line}…"
    ascent, descent = font.getmetrics()
    drawing = Image.new("RGB", (max(1, round(font.getlength(line) + 0.5)), ascent + descent), WHITE)
    ImageDraw.Draw(drawing).text((0, 0), line, font=font, fill=colour)
    return drawing


def section_title(text: str) -> Image.Image:
    """Draw the title of a section with space above it."""
    return ImageOps.expand(draw_text(text, TITLE - 4), (0, SECTION_GAP, 0, 0), WHITE)


def arrange_in_rows(cells: Sequence[Image.Image], columns: int) -> Iterator[Image.Image]:
    """Yield rows of `columns` cells."""
    for start in range(0, len(cells), columns):
        yield stack(cells[start : start + columns], SECTION_GAP, horizontally=True)


def stack(parts: Sequence[Image.Image], gap: int, *, horizontally: bool = False) -> Image.Image:
    """Combine images from top to bottom, aligned left, or from left to right, aligned at the bottom."""
    widths, heights = [part.width for part in parts], [part.height for part in parts]
    gaps = gap * max(0, len(parts) - 1)
    size = (sum(widths) + gaps, max(heights, default=0)) if horizontally else (max(widths), sum(heights) + gaps)
    canvas, start = Image.new("RGB", size, WHITE), 0
    for part in parts:
        canvas.paste(part, (start, canvas.height - part.height) if horizontally else (0, start))
        start += gap + (part.width if horizontally else part.height)
    return canvas


def pad(image: Image.Image, width: int) -> Image.Image:
    """Pad an image on the right to a minimum width."""
    return ImageOps.expand(image, (0, 0, max(0, width - image.width), 0), WHITE)
