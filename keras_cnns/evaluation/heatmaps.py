"""Pictures of explanations: the image, the map, and the map laid over the image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.colours import LIGHT
from keras_cnns.plotting import make_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from keras_cnns.evaluation.explaining import Explanations

OVERVIEW = "overview.png"
COLOURS = "viridis"  # perceptually uniform: equal steps of the map look equal
STRENGTH = 0.6
COLUMNS, MOST_IN_OVERVIEW = 6, 60
LONGEST_TITLE = 60
LONGEST_CAPTION = 24
LONGEST_STEM = 80
UNWRITABLE = "cannot write pictures to {}: name a folder that can be written."


def check_folder(folder: Path) -> None:
    """Say why pictures cannot be written to a folder, there or still to be made, before any work is done for them.

    Raises:
        EvaluationError: It cannot be made or written.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise EvaluationError(UNWRITABLE.format(folder))


def write_pictures(explanations: Explanations, folder: Path) -> tuple[Path, ...]:
    """Write a picture of each image, numbered as they come, and the overview; each whole or not at all."""
    check_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvaluationError(UNWRITABLE.format(folder)) from error
    pictures = []
    for place, file in enumerate(explanations.files):
        pictures.append(folder / f"{place + 1:03d}-{file.stem[:LONGEST_STEM]}.png")
        save(draw(explanations, place), pictures[-1])
    save(draw_overview(explanations), folder / OVERVIEW)
    return (*pictures, folder / OVERVIEW)


def draw(explanations: Explanations, place: int) -> Figure:
    """Return the picture of one image: itself, the map, and both."""
    height, width = explanations.images.shape[1:3]
    side = 3.3
    figure = make_figure(3 * side + 0.9, side * min(2.0, max(0.5, height / width)) + 0.9, dpi=110)
    panels = figure.subplots(1, 3)
    titles = ("image", f"{explanations.method}, {'x'.join(map(str, explanations.grid))} places", "both")
    for panel, title in zip(panels, titles, strict=True):
        panel.set_title(title, fontsize=9, color=LIGHT.ink, loc="left")
        bare(panel)
    show_image(panels[0], explanations.images[place])
    shown = panels[1].imshow(explanations.maps[place], cmap=COLOURS, vmin=0, vmax=1)
    show_both(panels[2], explanations.images[place], explanations.maps[place])
    bar = figure.colorbar(shown, ax=list(panels), fraction=0.03, pad=0.015)
    bar.set_label("speaks for the class", fontsize=9, color=LIGHT.ink)
    bar.ax.tick_params(labelsize=8, colors=LIGHT.ink)
    class_name, probability = explanations.classes[place], explanations.probabilities[place]
    title = f"{cut(class_name, LONGEST_TITLE // 2)}, probability {probability:.3f}"
    figure.suptitle(f"{cut(explanations.files[place].name, LONGEST_TITLE)}: {title}", fontsize=11, color=LIGHT.ink,
                    x=0.01, ha="left")  # fmt: skip
    return figure


def draw_overview(explanations: Explanations) -> Figure:
    """Return the picture of all images, or of the first sixty, each under its map."""
    count = min(len(explanations.files), MOST_IN_OVERVIEW)
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    height, width = explanations.images.shape[1:3]
    figure = make_figure(
        max(4.5, 1.9 * columns), rows * (1.9 * min(2.0, max(0.5, height / width)) + 0.45) + 0.4, dpi=110
    )
    panels = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for panel in panels:
        bare(panel)
    for place, panel in zip(range(count), panels, strict=False):
        show_both(panel, explanations.images[place], explanations.maps[place])
        name = cut(explanations.files[place].name, LONGEST_CAPTION)
        class_name = cut(explanations.classes[place], LONGEST_CAPTION - 6)
        panel.set_title(f"{name}\n{class_name} {explanations.probabilities[place]:.3f}", fontsize=8, color=LIGHT.ink)
    which = "" if count == len(explanations.files) else f", the first {count} of {len(explanations.files)} images"
    figure.suptitle(f"{explanations.method}{which}", fontsize=11, color=LIGHT.ink, x=0.01, ha="left")
    return figure


def bare(panel: Axes) -> None:
    """Take away what a picture of an image needs not."""
    panel.set_xticks([])
    panel.set_yticks([])
    panel.spines[:].set_visible(False)


def show_image(panel: Axes, image: np.ndarray) -> None:
    """Show an image, grey or in colour."""
    panel.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)


def show_both(panel: Axes, image: np.ndarray, seen: np.ndarray) -> None:
    """Show an image with a map over it, the stronger the more it says."""
    show_image(panel, image)
    panel.imshow(seen, cmap=COLOURS, vmin=0, vmax=1, alpha=STRENGTH * seen)


def cut(text: str, letters: int) -> str:
    """Return a text as it fits, its dollars not taken for mathematics."""
    fitting = text if len(text) <= letters else f"{text[: letters - 1]}…"
    return fitting.replace("$", r"\$")
