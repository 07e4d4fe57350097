"""Comparisons as the page's script reads them: columns, and of each row what is shown and what it is sorted by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from keras_cnns.comparing.comparison import COSTS, SCORES, Comparison, Row, group_by_data, less_is_better
from keras_cnns.comparing.wording import counted, shortened, spelled, written
from keras_cnns.tracking import Run

MOST_SETTINGS = 24
Cell = list[Any]
"""What is shown, and what it is sorted by: a number, words, or null."""


def tables(comparison: Comparison, page: Callable[[Run], str]) -> list[dict[str, Any]]:
    """Return a table for each set of images; `page` says where a run is seen in MLflow, if anywhere."""
    return [make_table(comparison, rows, page) for rows in group_by_data(comparison.rows)]


def make_table(comparison: Comparison, rows: Sequence[Row], page: Callable[[Run], str]) -> dict[str, Any]:
    """Return the rows on one set of images, with the columns that any of them has something in."""
    columns = [*own_columns(rows), *number_columns(comparison, rows), *setting_columns(rows)]
    runs = sum(len(row.runs) for row in rows)
    return {
        "title": f"{counted(runs)} on {rows[0].data}",
        "columns": [{"name": name, "number": number, "less": less} for name, number, less, _ in columns],
        "rows": [
            {
                "front": row.pareto,
                "page": page(row.run),
                "failed": row.status == "failed",
                "cells": [of(row) for *_, of in columns],
            }
            for row in rows
        ],
    }


Column = tuple[str, bool, bool, Callable[[Row], Cell]]
"""Its name, whether it has numbers, whether less is better, and what stands in it."""


def own_columns(rows: Sequence[Row]) -> list[Column]:
    """Return what runs are called, and their network and state where those are not the same for all."""
    columns: list[Column] = [("run", False, False, lambda row: [row.title, row.run.name])]
    if len({row.run.model for row in rows}) > 1:
        columns.append(("network", False, False, lambda row: [row.run.model, row.run.model]))
    if len({row.status for row in rows}) > 1:
        columns.append(("state", False, False, lambda row: [row.status, row.status]))
    return columns


def number_columns(comparison: Comparison, rows: Sequence[Row]) -> list[Column]:
    """Return scores, costs, the p-value and the epochs, where any row has them."""
    wanted = dict.fromkeys([comparison.sort, *SCORES, *COSTS, "epochs"])
    columns: list[Column] = [
        (spelled(name), True, less_is_better(name), partial(number_cell, name=name))
        for name in wanted
        if any(row.value(name) is not None for row in rows)
    ]
    if any(row.p is not None for row in rows):
        columns.append(("p", True, True, lambda row: ["" if row.p is None else f"{row.p:.2g}", row.p]))
    return columns


def number_cell(row: Row, name: str) -> Cell:
    """Return a number, and what its mean may be off by."""
    value = row.value(name)
    return ["", None] if value is None else [written(name, value, row.reach(name)), value]


def setting_columns(rows: Sequence[Row]) -> list[Column]:
    """Return the settings and parts of the recipe in which the rows differ."""
    names = [*dict.fromkeys(name for row in rows for name in row.differences)][:MOST_SETTINGS]
    return [(name, is_number(rows, name), False, partial(setting_cell, name=name)) for name in names]


def is_number(rows: Sequence[Row], name: str) -> bool:
    """Return whether all rows that have a setting have a number there."""
    return all(isinstance(setting_cell(row, name)[1], float) for row in rows if name in row.differences)


def setting_cell(row: Row, name: str) -> Cell:
    """Return a setting, long fractions to three digits."""
    text = row.differences.get(name, "")
    try:
        return [shortened(text), float(text)]
    except ValueError:
        return [text, text or None]
