"""What is known of a network before it is built: where it comes from, what it leaves free, what it costs."""

from __future__ import annotations

import inspect
import re
from dataclasses import asdict, dataclass
from typing import Any

from keras_cnns.networks.counting import Counts
from keras_cnns.networks.family import Paper, Result
from keras_cnns.networks.registry import make_plan, smallest_side
from keras_cnns.networks.settings import Settings

IDEA = "The idea: "
DIFFERENCES = "What differs between paper and popular code: "


@dataclass(frozen=True, kw_only=True)
class SettingDescription:
    """A free choice of a network.

    Attributes:
        name: Its name.
        value: What the network described has.
        legal: What it could have.
        meaning: What it does.
    """

    name: str
    value: Any
    legal: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Description:
    """What is known of a network.

    Attributes:
        name: The variant's name.
        family: Its family's.
        papers: Where the family was published.
        year: When.
        idea: What is new in it.
        differences: Where popular implementations depart from the paper, and the settings for either way.
        results: What was published for this variant, with the source.
        settings: Its free choices.
        input_shape: Height, width and channels of the images.
        classes: How many classes it tells apart.
        counts: What it costs for these images and classes.
        smallest_side: Side in pixels of the smallest square images that it takes.
    """

    name: str
    family: str
    papers: tuple[Paper, ...]
    year: int
    idea: str
    differences: str
    results: tuple[Result, ...]
    settings: tuple[SettingDescription, ...]
    input_shape: tuple[int, int, int]
    classes: int
    counts: Counts
    smallest_side: int

    def as_dict(self) -> dict[str, Any]:
        """Return all of it by name, for JSON."""
        return asdict(self)


def describe(
    name: str, *, input_shape: tuple[int, int, int] | None = None, classes: int | None = None, **settings: object
) -> Description:
    """Tell what is known of a network; nothing is built.

    The arguments are those of `build`, and so are the errors.

    Example:
        >>> describe("densenet121").results[0].value
        25.02
    """
    plan = make_plan(name, input_shape=input_shape, classes=classes, settings=settings)
    family = plan.family
    return Description(
        name=name,
        family=family.name,
        papers=family.papers,
        year=family.papers[0].year,
        idea=paragraph(family.about, IDEA),
        differences=paragraph(family.about, DIFFERENCES),
        results=tuple(result for result in family.results if result.variant == name),
        settings=describe_settings(plan.settings),
        input_shape=plan.input_shape,
        classes=plan.classes,
        counts=plan.tally.counts(),
        smallest_side=smallest_side(family, plan.settings),
    )


def paragraph(text: str, beginning: str) -> str:
    """Return what follows `beginning` in the paragraph that starts with it, in one line; "" if there is none."""
    for part in text.split("\n\n"):
        line = " ".join(part.split())
        if line.startswith(beginning):
            rest = line.removeprefix(beginning)
            return rest[:1].upper() + rest[1:]
    return ""


def describe_settings(settings: Settings) -> tuple[SettingDescription, ...]:
    """Tell of each free choice what it is, what it could be and what it means."""
    meanings = attributes(type(settings))
    return tuple(
        SettingDescription(name=name, value=getattr(settings, name), legal=str(domain), meaning=meanings.get(name, ""))
        for name, domain in settings.domains().items()
    )


def attributes(described: type) -> dict[str, str]:
    """Return what the "Attributes" section of a class's docstring says of each."""
    _, _, section = (inspect.getdoc(described) or "").partition("\nAttributes:\n")
    section = re.split(r"\n(?=\S)", section)[0]
    entries = re.split(r"(?:^|\n) {4}(?=\S)", section)
    found = (" ".join(entry.split()).partition(": ") for entry in entries)
    return {name: meaning for name, _, meaning in found if name}
