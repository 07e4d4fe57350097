"""The tables of the comparison page as data for its script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from keras_cnns.comparing.comparison import Comparison, group_by_data
from keras_cnns.comparing.formatting import format_count, format_setting, metric_label
from keras_cnns.comparing.rows import COSTS, SCORES, Row, lower_is_better
from keras_cnns.tracking import Run

MAX_SETTINGS = 24
Cell = list[Any]
"""The text of a cell, and the number or text to sort by; None sorts last."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table."""

    name: str
    cells: list[Cell]
    is_number: bool = False
    lower_is_better: bool = False


def make_tables(comparison: Comparison, run_url: Callable[[Run], str]) -> list[dict[str, Any]]:
    """Return a table for each set of images; `run_url` returns the MLflow page of a run, or ""."""
    return [make_table(comparison, rows, run_url) for rows in group_by_data(comparison.rows)]


def make_table(comparison: Comparison, rows: Sequence[Row], run_url: Callable[[Run], str]) -> dict[str, Any]:
    """Return the table of the rows on one set of images; columns without any value are omitted."""
    columns = [*text_columns(rows), *metric_columns(comparison, rows), *setting_columns(rows)]
    return {
        "title": f"{format_count(sum(len(row.runs) for row in rows))} on {rows[0].data}",
        "columns": [
            {"name": column.name, "is_number": column.is_number, "lower_is_better": column.lower_is_better}
            for column in columns
        ],
        "rows": [
            {"front": row.pareto, "url": run_url(row.run), "failed": row.status == "failed", "cells": cells}
            for row, *cells in zip(rows, *(column.cells for column in columns), strict=True)
        ],
    }


def text_columns(rows: Sequence[Row]) -> list[Column]:
    """Return the names of the runs, and their networks and statuses if they are not all the same."""
    texts = {
        "run": [row.title for row in rows],
        "network": [row.run.model for row in rows],
        "status": [row.status for row in rows],
    }
    return [
        Column(name=name, cells=[[text, text] for text in found])
        for name, found in texts.items()
        if name == "run" or len(set(found)) > 1
    ]


def metric_columns(comparison: Comparison, rows: Sequence[Row]) -> list[Column]:
    """Return the scores, costs, epochs and p-values that any row has."""
    columns = [
        Column(
            name=metric_label(name),
            cells=[metric_cell(row, name) for row in rows],
            is_number=True,
            lower_is_better=lower_is_better(name),
        )
        for name in dict.fromkeys([comparison.sort, *SCORES, *COSTS, "epochs"])
        if any(row.value(name) is not None for row in rows)
    ]
    if any(row.p is not None for row in rows):
        cells = [[row.format_p(), row.p] for row in rows]
        columns.append(Column(name="p", cells=cells, is_number=True, lower_is_better=True))
    return columns


def metric_cell(row: Row, name: str) -> Cell:
    """Return the cell of a metric, with the margin of error of a mean, and how many of the runs have the metric."""
    value = row.value(name)
    if value is None:
        return ["", None]
    return [" ".join(row.format(name).split("\n")), value]


def setting_columns(rows: Sequence[Row]) -> list[Column]:
    """Return the settings and recipe fields in which the rows differ."""
    columns = []
    for name in [*dict.fromkeys(name for row in rows for name in row.differences)][:MAX_SETTINGS]:
        cells = [setting_cell(row.differences.get(name, "")) for row in rows]
        is_number = all(isinstance(value, float | None) for _, value in cells)
        columns.append(Column(name=name, cells=cells, is_number=is_number))
    return columns


def setting_cell(text: str) -> Cell:
    """Return the cell of a setting, with fractions rounded to three digits."""
    try:
        return [format_setting(text), float(text)]
    except ValueError:
        return [text, text or None]
