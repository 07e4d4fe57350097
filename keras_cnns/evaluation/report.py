"""The report of an evaluation: one HTML file that asks no other host for anything, and its picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined

from keras_cnns.atomic import atomic_write
from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.colours import DARK, LIGHT
from keras_cnns.evaluation.forest import draw_forest
from keras_cnns.evaluation.plots import draw
from keras_cnns.evaluation.wording import all_notes, facts, looks_in_words, part_table, rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from keras_cnns.evaluation.run import Evaluation

REPORT = "report.html"


def write_report(evaluation: Evaluation, page: Path) -> tuple[Path, Path]:
    """Write the report, and its picture beside it under the same name; each whole or not at all.

    Raises:
        EvaluationError: They cannot be written there.
    """
    picture = page.with_suffix(".png")
    light = png(draw(evaluation, LIGHT))
    write_whole(page, render(evaluation, light, png(draw(evaluation, DARK))).encode())
    write_whole(picture, light)
    return page, picture


def png(figure: Figure) -> bytes:
    """Return a picture's PNG."""
    memory = io.BytesIO()
    figure.savefig(memory, format="png", facecolor=figure.get_facecolor())
    return memory.getvalue()


def write_whole(path: Path, content: bytes) -> None:
    """Write a whole file or none."""
    try:
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise EvaluationError(
            f"cannot write the report {path}: {error.strerror}; name a file in a folder that can be written."
        ) from error


def render(evaluation: Evaluation, light: bytes, dark: bytes) -> str:
    """Return the page."""
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = files("keras_cnns.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        title=title(evaluation),
        subtitle=f"run{'s' if evaluation.key else ''} {', '.join(member.run_id for member in evaluation.members)}",
        looks=looks_in_words(evaluation),
        rows=list(rows(evaluation)),
        facts=list(facts(evaluation)),
        notes=list(all_notes(evaluation)),
        parts=list(parts(evaluation)),
        light=in_page(light),
        dark=in_page(dark),
    )


def title(evaluation: Evaluation) -> str:
    """Return what stands above the report."""
    first, *others = evaluation.members
    who = first.name or first.model
    together = f" and {len(others)} more" if others else ""
    images = "all images" if evaluation.split == "all" else f"{evaluation.split} split"
    return f"{who}{together} on {evaluation.data_name}, {images}"


def parts(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """Yield a table, and the same as a picture, of the labels and of each column's values."""
    tables = {"By label": evaluation.by_label} if evaluation.by_label else {}
    for heading, measured in {**tables, **{f"By {name}": values for name, values in evaluation.by.items()}}.items():
        pictures = [png(draw_forest(evaluation, measured, colours)) for colours in (LIGHT, DARK)]
        light, dark = map(in_page, pictures)
        yield {"heading": heading, "table": part_table(evaluation, measured), "light": light, "dark": dark}


def in_page(picture: bytes) -> str:
    """Return a picture as it stands in the page itself."""
    return base64.b64encode(picture).decode()
