"""Reporting checklists, filled in where the run knows and left to the authors where it does not.

Items are given in our own words with the number that they have in the publication, which the document cites.
"""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from keras_cnns.writing.composing import Composer, Piece


@dataclass(frozen=True, kw_only=True)
class Item:
    """An item of a checklist.

    Attributes:
        number: Its number in the publication.
        topic: What it asks for.
        known: A template for what the run knows; its result is empty if the run does not know it.
        authors: What the authors have to write in any case; "" if that is only what the run does not know.
    """

    number: str
    topic: str
    known: str = ""
    authors: str = ""


@dataclass(frozen=True, kw_only=True)
class Checklist:
    """A checklist.

    Attributes:
        title: The title of its section.
        reference: The key of its publication.
        items: Its items.
    """

    title: str
    reference: str
    items: tuple[Item, ...]


@functools.cache
def all_checklists() -> dict[str, Checklist]:
    """Return all checklists by name."""
    found = tomllib.loads((files("keras_cnns.writing") / "checklists.toml").read_text("utf-8"))
    return {
        name: Checklist(
            title=fields["title"],
            reference=fields["reference"],
            items=tuple(Item(**item) for item in fields["items"]),
        )
        for name, fields in found.items()
    }


def add_checklists(composer: Composer, **context: Any) -> None:
    """Make the table of each checklist, and let templates name them.

    Args:
        composer: The composer, which receives the tables.
        **context: Values for the conditions of templates.
    """
    for name, checklist in all_checklists().items():
        rows = [[item.number, item.topic, answer(composer, item, **context)] for item in checklist.items]
        caption = "Items in our own words; sections are those of this document"
        composer.tables[name] = composer.make_table(caption, ["Item", "Topic", "Answer"], rows, numeric=False)
    composer.add_functions(
        {
            "checklist_title": lambda name: Piece(all_checklists()[name].title),
            "checklist_source": lambda name: Piece(
                f"For the wording of the items see {composer.cite(all_checklists()[name].reference)}."
            ),
        }
    )


def answer(composer: Composer, item: Item, **context: Any) -> str:
    """Return what the run knows about an item, and what the authors have to write."""
    known = composer.render(item.known, **context).strip()
    if known and not item.authors:
        return known
    return f"{known} {composer.authors(item.authors)}".strip()
