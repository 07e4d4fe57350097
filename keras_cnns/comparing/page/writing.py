"""The page of a comparison is put together and written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from keras_cnns.atomic import atomic_write
from keras_cnns.comparing.comparison import COSTS, Comparison
from keras_cnns.comparing.curve_plots import curves_figure
from keras_cnns.comparing.importance import weigh_settings
from keras_cnns.comparing.importance_plots import importance_figure
from keras_cnns.comparing.page.matrices import find_matrices, matrices_figure
from keras_cnns.comparing.page.observed import observed_groups
from keras_cnns.comparing.page.tables import tables
from keras_cnns.comparing.plots import TITLES, draw
from keras_cnns.comparing.setting_plots import parallel_figure
from keras_cnns.comparing.wording import spelled
from keras_cnns.errors import SettingError
from keras_cnns.plotting import as_svg, check_place
from keras_cnns.tracking import Stores

MOST_CURVES = 8
WIDE = 648  # points, of which an inch has 72


def write_page(comparison: Comparison, stores: Stores, path: str | Path, *, title: str) -> None:
    """Write a comparison as a page: tables to sort and filter, score against each cost, learning curves.

    Args:
        comparison: What is shown, all of it.
        stores: Where its runs were read from, which have their curves.
        path: The file, written whole or not at all.
        title: What stands above.

    Raises:
        SettingError: It cannot be written there.
    """
    path = check_place(Path(path), "page")
    text = render(comparison, dict(pictures(comparison, stores)), title=title, shown=tables(comparison, stores.page))
    try:
        with atomic_write(path) as temporary:
            temporary.write_text(text, "utf-8")
    except OSError as error:
        raise SettingError(
            f"cannot write {path}: {error.strerror}; name a file in a folder that can be written."
        ) from error


def render(comparison: Comparison, drawn: Mapping[str, str], *, title: str, shown: Sequence[Mapping[str, Any]]) -> str:
    """Return the page."""
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string((files("keras_cnns.comparing.page") / "page.html").read_text("utf-8"))
    return template.render(
        title=title,
        notes=comparison.meanings("★"),
        tables=shown,
        data=Markup(as_script(shown)),  # noqa: S704 - JSON, escaped for a script element
        pictures=[
            (caption, is_wide(svg), Markup(apart(svg, f"picture{number}-")))  # noqa: S704 - drawn here
            for number, (caption, svg) in enumerate(drawn.items())
        ],
    )


def as_script(data: Any) -> str:
    """Write data as JSON that can stand in a script element."""
    return (
        json.dumps(data, allow_nan=False)
        .replace("<", "\\u003c")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
    )


def pictures(comparison: Comparison, stores: Stores) -> Iterator[tuple[str, str]]:
    """Draw score against each cost that is known, what the settings did to it, and how the first rows learned."""
    for cost in dict.fromkeys([comparison.cost, *COSTS]):
        if any((row.value(cost) or 0) > 0 for row in comparison.rows):
            caption = f"{capitalized(spelled(comparison.score))} against {TITLES[cost]}"
            yield caption, as_svg(draw(comparison.with_cost(cost)))
    groups = observed_groups(comparison)
    importances = [weigh_settings(group) for group in groups]
    if any(importance.shares for importance in importances):
        yield "What mattered", as_svg(importance_figure(importances, title=""))
    if groups:
        yield (
            "Each row as a line through its settings",
            as_svg(parallel_figure(groups, monitor=comparison.score, title="")),
        )
    runs = [run for row in comparison.rows for run in row.runs if row.status == "finished"]
    matrices = find_matrices(runs, stores)
    if matrices:
        yield "What test images were taken for", as_svg(matrices_figure(matrices))
    first = [row.run for row in comparison.rows if row.status == "finished"][:MOST_CURVES]
    curves = {run.label: stores.of(run).curves(run.id) for run in first}
    if any(curves.values()):
        yield "How the first of them learned", as_svg(curves_figure(curves))


def capitalized(text: str) -> str:
    """Return a text that begins with a capital letter and is left alone beyond."""
    return text[:1].upper() + text[1:]


def is_wide(svg: str) -> bool:
    """Return whether a picture needs the width of the page."""
    (width,) = re.findall(r'viewBox="0 0 (\S+) ', svg)[:1]
    return float(width) > WIDE


def apart(svg: str, prefix: str) -> str:
    """Return a picture whose parts have other ids than those of the page's other pictures."""
    return re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\g<1>{prefix}", svg)
