"""What a family module provides about its architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from keras_cnns.networks.baselines.code import Code
from keras_cnns.networks.baselines.functions import NetworkFunction
from keras_cnns.networks.layouts import Layout
from keras_cnns.networks.pretrained import Pretrained
from keras_cnns.networks.recipe import Recipe
from keras_cnns.networks.settings import Domain, Settings

# What the recipes of the papers have in common. They differ from the papers in three ways: Keras applies weight decay
# separately from the gradient, biases and batch normalization have no weight decay, and the learning rate is divided
# by 10 at 1/2 and 3/4 of the training.
SGD_RECIPE = Recipe(optimizer="sgd", schedule="steps", augmentation="standard")
CVPR = "Proceedings of the IEEE Conference on Computer Vision and Pattern Recognition"
ECCV = "European Conference on Computer Vision"
ICLR = "International Conference on Learning Representations"


@dataclass(frozen=True, kw_only=True)
class Paper:
    """The publication of an architecture.

    Attributes:
        title: Its title.
        authors: Its authors, separated by commas.
        year: The year of publication.
        venue: The journal or the conference; "" if it is not known.
    """

    title: str
    authors: str
    year: int
    venue: str = ""


@dataclass(frozen=True)
class Variant:
    """A named network: the settings of its family, and the images and classes that it was designed for.

    Attributes:
        settings: The settings.
        input_shape: Height, width and channels of the images.
        classes: Number of classes.
    """

    settings: Settings
    input_shape: tuple[int, int, int]
    classes: int


@dataclass(frozen=True, kw_only=True)
class Result:
    """A published result of a variant.

    Attributes:
        variant: Name of the variant.
        dataset: The dataset; "CIFAR-10+" is CIFAR-10 with translated and mirrored training images.
        metric: The metric with its unit and, where there are several, the protocol: "top-1 error, %, 10 crops".
        value: The value of the metric.
        source: The table or figure of the paper, or the repository, that has the value.
    """

    variant: str
    dataset: str
    metric: str
    value: float
    source: str


def make_results(dataset: str, metric: str, source: str, values: Mapping[str, float]) -> tuple[Result, ...]:
    """Return the results that one table publishes, given as values by variant."""
    return tuple(
        Result(variant=variant, dataset=dataset, metric=metric, value=value, source=source)
        for variant, value in values.items()
    )


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """The default search space of a family: the variant to start from and the values to try for each setting."""

    base: str
    domains: Mapping[str, Domain]


@dataclass(frozen=True)
class Block:
    """A block of a network, to be drawn on the family's page.

    Attributes:
        function: Applies the block to a tensor.
        input_shape: Height, width and channels of its input.
        arguments: Other arguments of the function.
    """

    function: Callable[..., Any]
    input_shape: tuple[int, int, int]
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Family:
    """An architecture. Each module in `keras_cnns.networks.families` defines one as `FAMILY`.

    Attributes:
        name: Name of the family.
        about: Docstring of the module: the idea, and the differences between the paper and popular implementations.
        papers: The publications of the architecture.
        network: Builds a network: `(images, settings, classes) -> logits`, with tensors of shape (batch, height,
            width, channels) and (batch, classes). With auxiliary classifiers it returns a list of logits, the main
            ones first. Given a `SymbolicTensor` instead of images, it counts the network's cost.
        variants: Variants by name.
        results: Published results of the variants.
        paper_recipe: The training recipe of the paper, or the reason why there is none.
        search: The default search space.
        blocks: Functions from tensor to tensor that are useful in other networks. They are public as attributes of
            `keras_cnns`, and documented on the family's page.
        diagrams: What the family's page shows, by caption: blocks, or networks by the names of their variants; by
            default the network that a sweep starts from.
        layouts: The counterparts of the networks in other libraries, for the transfer of weights.
        pretrained: Published weights of the variants. `weights="imagenet"` selects the first one of a variant.
        function: The function that builds a baseline; None for all other families.
    """

    name: str
    about: str
    papers: tuple[Paper, ...]
    network: Callable[[Any, Any, int], Any]
    variants: Mapping[str, Variant]
    results: tuple[Result, ...]
    paper_recipe: Recipe | str
    search: SearchSpace
    blocks: tuple[Callable[..., Any], ...] = ()
    diagrams: Mapping[str, Block | str] = field(default_factory=dict)
    layouts: tuple[Layout, ...] = ()
    pretrained: tuple[Pretrained, ...] = ()
    function: NetworkFunction | None = None

    @property
    def code(self) -> Code | None:
        """The file with the function of a baseline; None for all other families."""
        return None if self.function is None else self.function.code
