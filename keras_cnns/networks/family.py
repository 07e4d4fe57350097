"""What a family's file tells of its architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from keras_cnns.networks.settings import Domain, Settings


@dataclass(frozen=True, kw_only=True)
class Paper:
    """Where an architecture was published."""

    title: str
    authors: str
    year: int


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A name for one instance of a family's settings, with the images and classes it was made for."""

    settings: Settings
    input_shape: tuple[int, int, int]
    classes: int


@dataclass(frozen=True, kw_only=True)
class Result:
    """A figure that was published for a variant, and how sure its source is."""

    variant: str
    data: str
    measure: str
    value: float
    source: str


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """What a sweep over a family varies: the variant it starts from and what it tries for each setting."""

    base: str
    domains: Mapping[str, Domain]


@dataclass(frozen=True, kw_only=True)
class Family:
    """All that is known of one architecture. Each file in `keras_cnns.networks.families` ends with one.

    Attributes:
        name: The family's name.
        about: What its file says of it: the idea, and what differs between paper and popular code.
        papers: Where it was published.
        network: Builds it: `(images, settings, classes) -> logits`, tensors of shape (batch, height, width,
            channels) and (batch, classes); with auxiliary classifiers a list of logits, the main ones first. Given
            `Maps` for images, it counts what the network costs.
        variants: Named settings.
        results: What was published for them.
        search: What a sweep varies.
    """

    name: str
    about: str
    papers: tuple[Paper, ...]
    network: Callable[[Any, Any, int], Any]
    variants: Mapping[str, Variant]
    search: SearchSpace
    results: tuple[Result, ...]
