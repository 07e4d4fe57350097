"""Explanations of a run's predictions: heatmaps of the image regions that contribute to a class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from keras_cnns.data.dataset import list_examples
from keras_cnns.display.progress import Progress
from keras_cnns.display.showing import shows_progress
from keras_cnns.display.summary import Summarized, Summary
from keras_cnns.errors import DataError, EvaluationError, nearest
from keras_cnns.evaluation.ensemble import find_indices, find_runs, load_ensemble
from keras_cnns.evaluation.grad_cam import check_method, compute_heatmaps, make_grad_cam_model, resize_heatmaps
from keras_cnns.evaluation.plot_style import HEATMAP_COLORMAP, HEATMAP_OPACITY, shorten
from keras_cnns.evaluation.prediction import Predictions, find_images, make_predictions, read_images
from keras_cnns.evaluation.run_network import format_shape
from keras_cnns.evaluation.sanity_check import SanityCheck, check_heatmaps
from keras_cnns.evaluation.validation import choose_operating_point, find_validation
from keras_cnns.plotting import INK, check_output_folder, make_figure, save
from keras_cnns.tracking import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_IMAGES = 500
MAX_IMAGES_IN_OVERVIEW = 60
MAX_IMAGES_IN_SUMMARY = 12
OVERVIEW_FILE = "overview.png"
MAX_STEM_LENGTH = 80
MAX_COLUMNS = 6


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Explanations(Summarized):
    """Heatmaps of the image regions that contribute to a class.

    Attributes:
        run_id: The run whose network is explained; of an ensemble, the first one or the cross-validation.
        files: The image files.
        images: The images as the network reads them, shape (images, height, width, channels), uint8.
        heatmaps: Contribution of each pixel's surroundings to the class, shape (images, height, width), from 0 to 1.
            The maximum of each heatmap is 1, or 0 if nothing contributes to the class. Values can be compared only
            within an image.
        classes: The name of the class that is explained for each image.
        probabilities: The probability of that class, after temperature scaling if the run has a temperature.
        method: "grad-cam" or "grad-cam++".
        layer: The layer whose feature maps are weighted.
        grid: Rows and columns of its feature maps, which are the true resolution of the heatmaps.
        sanity_check: Similarity to the heatmaps of randomised weights; None if it was not requested.
        notes: Caveats.
    """

    run_id: str
    files: tuple[Path, ...]
    images: np.ndarray
    heatmaps: np.ndarray
    classes: tuple[str, ...]
    probabilities: np.ndarray
    method: str
    layer: str
    grid: tuple[int, int]
    sanity_check: SanityCheck | None
    notes: tuple[str, ...]

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Save a plot of each image, numbered in their order, and `overview.png`; return their paths, overview last.

        Raises:
            SettingError: The folder cannot be created or written.
        """
        folder = check_output_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        results = zip(self.files, self.images, self.heatmaps, self.classes, self.probabilities, strict=True)
        for number, (file, image, heatmap, name, probability) in enumerate(results, start=1):
            title = f"{shorten(file.name, 60)}: {shorten(name, 30)}, probability {probability:.3f}"
            heatmap_title = f"{self.method}, {format_shape(self.grid)} grid"
            paths.append(folder / f"{number:03d}-{file.stem[:MAX_STEM_LENGTH]}.png")
            save(draw_explanation(image, heatmap, title=title, heatmap_title=heatmap_title), paths[-1])
        save(self.draw(MAX_IMAGES_IN_OVERVIEW), folder / OVERVIEW_FILE)
        return (*paths, folder / OVERVIEW_FILE)

    def draw(self, images: int) -> Figure:
        """Draw at most this number of images with their heatmaps."""
        results = zip(self.files[:images], self.classes, self.probabilities, strict=False)
        captions = [
            f"{shorten(file.name, 24)}\n{shorten(name)} {probability:.3f}" for file, name, probability in results
        ]
        left_out = f", first {images} of {len(self.files)} images" if len(self.files) > images else ""
        title = f"{self.method}{left_out}"
        return draw_overview(self.images[:images], self.heatmaps[:images], captions, title=title)

    def summary(self) -> Summary:
        """Return the heatmaps of the first images."""
        return Summary(
            title=f"{self.method} of run {self.run_id} for {len(self.files):,} images",
            facts=[("layer", f"{self.layer}, {format_shape(self.grid)} positions")],
            figure=self.draw(MAX_IMAGES_IN_SUMMARY),
            notes=self.notes,
        )


@shows_progress
def explain(
    run: str | Sequence[str],
    images: Sequence[str | Path],
    *,
    class_name: str | None = None,
    method: str = "grad-cam",
    layer: str | None = None,
    sanity_check: bool = False,
    tracking_uri: str | None = None,
    progress: bool | Progress = True,
) -> Explanations:
    """Compute heatmaps of the image regions that contribute to a class, for the network of a run.

    For an ensemble, they are the mean of the heatmaps of its networks.

    Args:
        run: The id of a run, the beginning of it, or a name that no other run has; the id of a sweep, for its best
            trial; or the id or the name of a cross-validation, for the networks of all its folds. Several are an
            ensemble.
        images: Image files, and folders that are searched for images.
        class_name: The class to explain; by default the predicted class of each image or, in multi-label
            classification, the most probable label.
        method: "grad-cam" (Selvaraju et al. 2017) or "grad-cam++" (Chattopadhay et al. 2018).
        layer: The layer whose feature maps are weighted; see `make_grad_cam_model` for the default.
        sanity_check: Whether to compare the heatmaps with those of randomised weights (Adebayo et al. 2018).
        tracking_uri: The store of the runs; by default that of MLflow's environment variable, or `./mlflow.db`.
        progress: Whether to show progress, or what receives it.

    Raises:
        DataError: An image is missing or cannot be read.
        StoreError: There is no such run, or it has no saved network.
        EvaluationError: There is no such class, layer or method, or the network cannot be loaded.
    """
    progress = cast("Progress", progress)  # as `shows_progress` passes it
    check_method(method)
    files, ignored = find_images(images)
    if len(files) > MAX_IMAGES:
        raise EvaluationError(f"{len(files):,} images are too many to explain; use at most {MAX_IMAGES}.")
    store = Store(tracking_uri, create=False)
    ensemble = load_ensemble(store, *find_runs(store, run), progress=progress)
    network = ensemble.first
    if class_name is not None and class_name not in network.class_names:
        raise EvaluationError(
            f"--class {class_name}: the network of run {network.run.id} does not have this class; its classes are "
            f"{', '.join(network.class_names)}.{nearest(class_name, network.class_names)}"
        )
    models = [make_grad_cam_model(member.model, layer) for member in ensemble.members]
    read = read_images(files, network)
    if read.broken:
        raise DataError(f"{list_examples(read.broken, '; ')}; fix or remove the file.")
    files, pixels = read.files, read.pixels
    outputs = ensemble.predict(pixels, progress=progress)
    validation = None if ensemble.is_single else find_validation(store, ensemble)
    predictions = make_predictions(ensemble, read, outputs, choose_operating_point(ensemble, validation))
    classes = select_classes(predictions, class_name)
    of_members = []
    checks = []
    for member, model in zip(ensemble.members, models, strict=True):
        progress.message(f"{method} at {model.layer}, run {member.run.id[:8]}")
        own_classes = np.array(find_indices(network.class_names, member.class_names))[classes]
        of_members.append(compute_heatmaps(model, pixels, own_classes, method=method))
        if sanity_check:
            progress.message("sanity check with randomised weights")
            checks.append(check_heatmaps(model, pixels, own_classes, method=method))
    check = max(checks, key=lambda found: found.similarity) if checks else None
    return Explanations(
        run_id=ensemble.cross_validation or network.run.id,
        files=files,
        images=pixels,
        heatmaps=average_heatmaps(of_members, *network.image_shape[:2]),
        classes=tuple(network.class_names[index] for index in classes),
        probabilities=predictions.probabilities[np.arange(len(files)), classes],
        method=method,
        layer=", ".join(dict.fromkeys(model.layer for model in models)),
        grid=(of_members[0].shape[1], of_members[0].shape[2]),
        sanity_check=check,
        notes=(*ensemble.notes, *ignored, *read.notes, *find_caveats(of_members, check)),
    )


def average_heatmaps(of_members: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """Return the mean of the heatmaps of several networks at the size of the images, scaled to a maximum of 1."""
    if len(of_members) == 1:
        return resize_heatmaps(of_members[0], height, width)
    mean = np.mean([resize_heatmaps(heatmaps, height, width) for heatmaps in of_members], axis=0)
    maxima = mean.max(axis=(1, 2), keepdims=True)
    return np.asarray(mean / np.where(maxima > 0, maxima, 1))


def select_classes(predictions: Predictions, class_name: str | None) -> np.ndarray:
    """Return the class to explain for each image."""
    if class_name is not None:
        return np.full(len(predictions.files), predictions.class_names.index(class_name))
    if predictions.classes.ndim == 2:
        return np.asarray(predictions.probabilities.argmax(axis=1))
    return predictions.classes


def find_caveats(of_members: Sequence[np.ndarray], check: SanityCheck | None) -> Iterator[str]:
    """Yield notes on heatmaps that are empty, coarse or fail the sanity check."""
    heatmaps = of_members[0]
    empty = int(np.all([found.max(axis=(1, 2)) == 0 for found in of_members], axis=0).sum())
    if len(of_members) > 1:
        yield f"The heatmaps are the mean of those of {len(of_members)} networks, each with a maximum of 1."
        if check is not None:
            yield "The sanity check is that of the network whose heatmaps change least."
    if empty:
        yield (
            f"The heatmaps of {empty:,} of {len(heatmaps):,} images are 0 everywhere: nothing at this layer "
            f"contributes to the class. Try another --layer, or --method grad-cam++."
        )
    if heatmaps.shape[1] * heatmaps.shape[2] <= 16:
        yield f"The layer has a resolution of {format_shape(heatmaps.shape[1:])}; finer detail is interpolation."
    if check is not None and check.warning:
        yield check.warning


def draw_explanation(image: np.ndarray, heatmap: np.ndarray, *, title: str, heatmap_title: str) -> Figure:
    """Draw an image (height, width, channels), its heatmap (height, width) and their overlay side by side."""
    side = 3.3
    figure = make_figure(3 * side + 0.9, side * aspect_ratio(image) + 0.9, dpi=110)
    panels = figure.subplots(1, 3)
    for axes, panel_title in zip(panels, ("image", heatmap_title, "overlay"), strict=True):
        axes.set_title(panel_title, fontsize=9, color=INK, loc="left")
        axes.set_axis_off()
    show_image(panels[0], image)
    shown = panels[1].imshow(heatmap, cmap=HEATMAP_COLORMAP, vmin=0, vmax=1)
    show_overlay(panels[2], image, heatmap)
    bar = figure.colorbar(shown, ax=list(panels), fraction=0.03, pad=0.015)
    bar.set_label("contribution to the class", fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8, colors=INK)
    figure.suptitle(title, fontsize=11, color=INK, x=0.01, ha="left")
    return figure


def draw_overview(images: np.ndarray, heatmaps: np.ndarray, captions: Sequence[str], *, title: str) -> Figure:
    """Draw the overlays of several images, each with a caption."""
    columns = min(MAX_COLUMNS, len(images))
    rows = -(-len(images) // columns)
    figure = make_figure(max(4.5, 1.9 * columns), rows * (1.9 * aspect_ratio(images[0]) + 0.45) + 0.4, dpi=110)
    panels = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for axes in panels:
        axes.set_axis_off()
    for axes, image, heatmap, caption in zip(panels, images, heatmaps, captions, strict=False):
        show_overlay(axes, image, heatmap)
        axes.set_title(caption, fontsize=8, color=INK)
    figure.suptitle(title, fontsize=11, color=INK, x=0.01, ha="left")
    return figure


def aspect_ratio(image: np.ndarray) -> float:
    """Return height / width of an image, limited to 0.5 to 2."""
    return float(np.clip(image.shape[0] / image.shape[1], 0.5, 2))


def show_image(axes: Axes, image: np.ndarray) -> None:
    """Show a greyscale or colour image."""
    axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)


def show_overlay(axes: Axes, image: np.ndarray, heatmap: np.ndarray) -> None:
    """Show an image with a heatmap over it, more opaque where the heatmap is higher."""
    show_image(axes, image)
    axes.imshow(heatmap, cmap=HEATMAP_COLORMAP, vmin=0, vmax=1, alpha=HEATMAP_OPACITY * heatmap)
