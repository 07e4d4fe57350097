"""Publications: those of methods in `references.toml`, and those of network families; as BibTeX and as text."""

from __future__ import annotations

import functools
import re
import tomllib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

from keras_cnns.networks.family import Family
from keras_cnns.networks.registry import all_families
from keras_cnns.writing.latex_escape import escape_latex

MAX_AUTHORS = 6
CONFERENCES = ("Conference", "Advances in")
OTHERS = "others"
"""Stands for further authors in a list of authors, as in BibTeX."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A publication.

    Attributes:
        key: Its key in citations.
        kind: The type of its BibTeX entry.
        authors: The authors, separated by commas, with first names first.
        title: Its title.
        year: Its year.
        venue: The journal, the proceedings or the address; "" if it is not known.
        volume: The volume.
        number: The number of the issue.
        pages: The pages, or the number of the article.
        doi: The DOI.
    """

    key: str
    kind: str
    authors: str
    title: str
    year: int
    venue: str = ""
    volume: str = ""
    number: str = ""
    pages: str = ""
    doi: str = ""

    def to_bibtex(self) -> str:
        """Return the BibTeX entry."""
        names = [escape_latex(name) for name in self.authors.split(", ")]
        venue = {"article": "journal", "inproceedings": "booktitle"}.get(self.kind, "howpublished")
        fields = {
            "author": " and ".join(names),
            "title": f"{{{escape_latex(self.title)}}}",
            venue: escape_latex(self.venue),
            "volume": self.volume,
            "number": self.number,
            "pages": self.pages.replace("-", "--"),
            "year": str(self.year),
            "doi": self.doi,
        }
        lines = [f"  {name} = {{{text}}}," for name, text in fields.items() if text]
        return "\n".join((f"@{self.kind}{{{self.key},", *lines, "}"))

    def to_text(self) -> str:
        """Return the publication as an entry of a list of references."""
        names = self.authors.split(", ")
        shown = names if len(names) <= MAX_AUTHORS and OTHERS not in names else names[:3]
        authors = ", ".join(shown) + (", et al." if len(shown) < len(names) else ".")
        volume = f" {self.volume}" if self.volume else ""
        number = f"({self.number})" if self.number else ""
        range_of_pages = self.pages.replace("-", "–")
        pages = f"{': ' if self.volume else ', pages '}{range_of_pages}" if self.pages else ""
        venue = f" {self.venue}{volume}{number}{pages}," if self.venue else ""
        return f"{authors} {self.title}.{venue} {self.year}.{f' doi:{self.doi}' if self.doi else ''}"


@functools.cache
def all_references() -> dict[str, Reference]:
    """Return all publications by their keys."""
    text = (files("keras_cnns.writing") / "references.toml").read_text("utf-8")
    of_methods = (Reference(key=key, **fields) for key, fields in tomllib.loads(text).items())
    of_families = (reference for family in all_families().values() for reference in family_references(family))
    return {reference.key: reference for reference in (*of_families, *of_methods)}


def family_references(family: Family) -> list[Reference]:
    """Return the publications of a family."""
    return [
        Reference(
            key=key, kind=kind_of(paper.venue), authors=paper.authors, title=paper.title,
            year=paper.year, venue=paper.venue,
        )
        for key, paper in zip(family_keys(family), family.papers, strict=True)
    ]  # fmt: skip


def kind_of(venue: str) -> str:
    """Return the type of the BibTeX entry of a publication in a journal or at a conference."""
    if not venue:
        return "misc"
    return "inproceedings" if any(word in venue for word in CONFERENCES) else "article"


def family_keys(family: Family) -> list[str]:
    """Return the keys of the publications of a family, such as resnet2016 and resnet2016b."""
    name = re.sub(r"[^a-z0-9]+", "", simplify(family.name)) or "family"
    keys: list[str] = []
    for paper in family.papers:
        letters = "abcdefghijklmnopqrstuvwxyz"
        taken = sum(key.startswith(f"{name}{paper.year}") for key in keys)
        keys.append(f"{name}{paper.year}{letters[taken] if taken else ''}")
    return keys


def simplify(text: str) -> str:
    """Return a text in lower case without accents."""
    decomposed = unicodedata.normalize("NFKD", text.lower())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


def to_bibtex(keys: Iterable[str]) -> str:
    """Return the BibTeX file of publications."""
    return "\n\n".join(all_references()[key].to_bibtex() for key in keys) + "\n"
