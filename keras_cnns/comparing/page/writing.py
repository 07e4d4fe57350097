"""Write the comparison page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from keras_cnns.atomic import atomic_write
from keras_cnns.comparing.comparison import Comparison
from keras_cnns.comparing.curve_plots import curves_figure
from keras_cnns.comparing.formatting import metric_label
from keras_cnns.comparing.importance import estimate_importance
from keras_cnns.comparing.importance_plots import importance_figure
from keras_cnns.comparing.page.confusion_matrices import find_matrices, matrices_figure
from keras_cnns.comparing.page.row_groups import group_rows
from keras_cnns.comparing.page.tables import make_tables
from keras_cnns.comparing.pareto_plots import COST_LABELS, pareto_figure
from keras_cnns.comparing.rows import COSTS
from keras_cnns.comparing.setting_plots import parallel_coordinates_figure
from keras_cnns.errors import SettingError
from keras_cnns.plotting import check_output_path, prefix_ids, to_svg
from keras_cnns.tracking import Stores

MAX_CURVES = 8  # runs
WIDE = 648  # points; there are 72 in an inch


def write_page(comparison: Comparison, stores: Stores, path: str | Path, *, title: str) -> None:
    """Write a comparison as an HTML page: sortable tables, plots of score against cost, and learning curves.

    Args:
        comparison: The comparison.
        stores: The stores of its runs, which have the learning curves and confusion matrices.
        path: The file to write.
        title: The title of the page.

    Raises:
        SettingError: The file cannot be written.
    """
    path = check_output_path(Path(path), "page")
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string((files("keras_cnns.comparing.page") / "page.html").read_text("utf-8"))
    tables = make_tables(comparison, stores.run_url)
    text = template.render(
        title=title,
        notes=comparison.footnotes("★"),
        tables=tables,
        data=Markup(to_script_json(tables)),  # noqa: S704 - JSON, escaped for a script element
        figures=[
            (caption, is_wide(svg), Markup(prefix_ids(svg, f"figure{number}-")))  # noqa: S704 - drawn by Matplotlib
            for number, (caption, svg) in enumerate(draw_figures(comparison, stores))
        ],
    )
    try:
        with atomic_write(path) as temporary:
            temporary.write_text(text, "utf-8")
    except OSError as error:
        raise SettingError(f"cannot write {path}: {error.strerror}; name a file in a writable folder.") from error


def draw_figures(comparison: Comparison, stores: Stores) -> Iterator[tuple[str, str]]:
    """Yield the caption and SVG of each figure for which there are data."""
    score = metric_label(comparison.score)
    for cost in dict.fromkeys([comparison.cost, *COSTS]):
        if any((row.value(cost) or 0) > 0 for row in comparison.rows):
            caption = f"{score[:1].upper()}{score[1:]} against {COST_LABELS[cost]}"
            yield caption, to_svg(pareto_figure(comparison.with_cost(cost)))
    groups = group_rows(comparison)
    importances = [estimate_importance(group) for group in groups]
    if any(importance.shares for importance in importances):
        yield "Hyperparameter importance", to_svg(importance_figure(importances, title=""))
    if groups:
        figure = parallel_coordinates_figure(groups, monitor=comparison.score, title="")
        yield f"Hyperparameters and {score} of each row", to_svg(figure)
    finished = [row for row in comparison.rows if row.status == "finished"]
    matrices = find_matrices([run for row in finished for run in row.runs], stores)
    if matrices:
        yield "Confusion matrices of the test images", to_svg(matrices_figure(matrices))
    best = [row.run for row in finished[:MAX_CURVES]]
    curves = {run.label: stores.store_of(run).curves(run.id) for run in best}
    if any(curves.values()):
        yield "Learning curves of the best rows", to_svg(curves_figure(curves))


def to_script_json(data: Any) -> str:
    """Return data as JSON for a script element."""
    text = json.dumps(data, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def is_wide(svg: str) -> bool:
    """Return whether a figure needs the full width of the page."""
    (width,) = re.findall(r'viewBox="0 0 (\S+) ', svg)[:1]
    return float(width) > WIDE
