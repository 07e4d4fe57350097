"""Descriptions of networks: origin, settings and cost, without building them."""

from __future__ import annotations

import inspect
import re
from dataclasses import asdict, dataclass
from typing import Any

from keras_cnns.networks.counting import Counts
from keras_cnns.networks.family import Paper, Result
from keras_cnns.networks.registry import make_plan, smallest_side
from keras_cnns.networks.settings import Settings

# The paragraphs of a family module's docstring that start with these markers are shown to users.
IDEA = "Idea: "
DIFFERENCES = "Differences between the paper and popular implementations: "


@dataclass(frozen=True, kw_only=True)
class SettingDescription:
    """A setting of a network.

    Attributes:
        name: Name of the setting.
        value: Its value in the described network.
        valid_values: The valid values, in words.
        meaning: What the setting does.
    """

    name: str
    value: Any
    valid_values: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Description:
    """The description of a network.

    Attributes:
        name: Name of the variant.
        family: Name of its family.
        papers: The publications of the family.
        year: Year of the first publication; None if there is none.
        idea: The main idea of the architecture.
        differences: How popular implementations differ from the paper, with the settings that select each version.
        results: Published results of the variant, with their sources.
        settings: The settings of the network.
        input_shape: Height, width and channels of the images.
        classes: Number of classes.
        counts: Parameters and multiply-accumulates for these images and classes.
        smallest_side: Side in pixels of the smallest square images that the network accepts.
    """

    name: str
    family: str
    papers: tuple[Paper, ...]
    year: int | None
    idea: str
    differences: str
    results: tuple[Result, ...]
    settings: tuple[SettingDescription, ...]
    input_shape: tuple[int, int, int]
    classes: int
    counts: Counts
    smallest_side: int

    def as_dict(self) -> dict[str, Any]:
        """Return the description as a dictionary that can be written as JSON."""
        return asdict(self)


def describe(
    name: str, *, input_shape: tuple[int, int, int] | None = None, classes: int | None = None, **settings: object
) -> Description:
    """Describe a network without building it.

    The arguments and errors are those of `build`.

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
        year=family.papers[0].year if family.papers else None,
        idea=find_paragraph(family.about, IDEA),
        differences=find_paragraph(family.about, DIFFERENCES),
        results=tuple(result for result in family.results if result.variant == name),
        settings=describe_settings(plan.settings),
        input_shape=plan.input_shape,
        classes=plan.classes,
        counts=plan.counts,
        smallest_side=smallest_side(family, plan.settings),
    )


def find_paragraph(text: str, marker: str) -> str:
    """Return the paragraph that starts with `marker`, as one line without the marker; "" if there is none."""
    lines = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    return next((line.removeprefix(marker) for line in lines if line.startswith(marker)), "")


def describe_settings(settings: Settings) -> tuple[SettingDescription, ...]:
    """Describe each setting: its value, its valid values and its meaning."""
    meanings = parse_attributes(type(settings))
    return tuple(
        SettingDescription(
            name=name, value=getattr(settings, name), valid_values=str(domain), meaning=meanings.get(name, "")
        )
        for name, domain in settings.domains().items()
    )


def parse_attributes(documented: type) -> dict[str, str]:
    """Return the entries of the "Attributes" section of a class's docstring by name."""
    _, _, section = (inspect.getdoc(documented) or "").partition("\nAttributes:\n")
    section = re.split(r"\n(?=\S)", section)[0]
    entries = re.split(r"(?:^|\n) {4}(?=\S)", section)
    pairs = (" ".join(entry.split()).partition(": ") for entry in entries)
    return {name: meaning for name, _, meaning in pairs if name}
