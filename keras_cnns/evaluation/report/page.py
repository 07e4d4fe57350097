"""The HTML report of an evaluation: one file that loads nothing else, and its plots as a PNG file."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from keras_cnns.atomic import atomic_write
from keras_cnns.errors import EvaluationError
from keras_cnns.evaluation.report.answers import draw_risk_coverage, format_answers
from keras_cnns.evaluation.report.formatting import (
    describe_setup,
    describe_test_set_evaluations,
    describe_training,
    format_table,
    metric_rows,
    result_tables,
)
from keras_cnns.evaluation.report.plots import draw_evaluation, draw_forest_plot
from keras_cnns.evaluation.report.summary import summarize
from keras_cnns.evaluation.results import Evaluation
from keras_cnns.plotting import prefix_ids, to_png, to_svg
from keras_cnns.version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_report(evaluation: Evaluation, *paths: Path) -> None:
    """Write the HTML report to each path, and its plots next to it as .png.

    Raises:
        EvaluationError: A file cannot be written.
    """
    figure = draw_evaluation(evaluation)
    plots = to_png(figure)
    figure.set_layout_engine("none")  # the layout is that of the first drawing
    page = render(evaluation, to_svg(figure)).encode()
    for path in paths:
        try:
            for file, content in ((path, page), (path.with_suffix(".png"), plots)):
                with atomic_write(file) as temporary:
                    temporary.write_bytes(content)
        except OSError as error:
            message = f"cannot write the report {path}: {error.strerror}; use a file name in a writable folder."
            raise EvaluationError(message) from error


def render(evaluation: Evaluation, plots: str) -> str:
    """Return the HTML of the report, given its plots as SVG."""
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode()
    template = files("keras_cnns.evaluation.report").joinpath("report.html").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        title=make_title(evaluation),
        subtitle=f"run{'s' if evaluation.ensemble_key else ''} {', '.join(run.id for run in evaluation.runs)}",
        test_set_evaluations=describe_test_set_evaluations(evaluation),
        rows=list(metric_rows(evaluation)),
        summary=list(summarize(evaluation)),
        mistakes=evaluation.mistakes,
        mistake_count=evaluation.mistake_count,
        prediction_count=evaluation.labels.size,
        setup=[*describe_setup(evaluation), *describe_training(evaluation)],
        warnings=evaluation.notes[: evaluation.warning_count],
        notes=evaluation.notes[evaluation.warning_count :],
        version=__version__,
        sections=list(make_sections(evaluation)),
        plots=Markup(plots),  # noqa: S704 - drawn by Matplotlib, which escapes texts
    )


def make_title(evaluation: Evaluation) -> str:
    """Return the title of the report."""
    first, *others = evaluation.runs
    name = f"{first.name or first.model}{f' and {len(others)} more' if others else ''}"
    named = {"all": "all images", "out_of_fold": "out-of-fold predictions"}
    images = named.get(evaluation.split, f"{evaluation.split} split")
    return f"{name} on {evaluation.data_name}, {images}"


def make_sections(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """Yield each table with its forest plot."""
    for table in result_tables(evaluation):
        yield make_section(f"By {table.name}", format_table(table), draw_forest_plot(table),
                           "forest plot of the same values and intervals")  # fmt: skip
    if evaluation.answers is not None:
        curve = draw_risk_coverage(evaluation, evaluation.answers)
        yield make_section("Answers", format_answers(evaluation.answers), curve, "risk-coverage curve")


def make_section(heading: str, table: dict[str, Any], figure: Figure, plot: str) -> dict[str, Any]:
    """Return a section of the report; `plot` describes the figure."""
    svg = Markup(prefix_ids(to_svg(figure), f"{heading.replace(' ', '-')}-"))  # noqa: S704 - drawn by Matplotlib, which escapes texts
    return {"heading": heading, "table": table, "plot": plot, "svg": svg}
