"""The argument parsers of commands on networks and images, without runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_cnns.cli.arguments import LARGE_NUMBER, NUMBER, SOURCES, add_json, add_network, add_reading
from keras_cnns.cli.command_parser import add_command
from keras_cnns.networks.augmentations import AUGMENTATIONS

if TYPE_CHECKING:
    from keras_cnns.cli.command_parser import Commands


def add_inspect(commands: Commands) -> None:
    """Add `keras-cnns inspect`."""
    parser = add_command(
        commands,
        "inspect",
        "summarise a dataset and report its problems",
        "Problems are files that cannot be read, leaks between splits, duplicate and near-duplicate images, "
        "contradictory labels, and facts such as the device or the image size that tell the class. They do not change "
        "the exit code.",
    )
    parser.add_argument("source", metavar="SOURCE", help=f"images to read: {SOURCES}")
    add_reading(parser)
    parser.add_argument(
        "--write", metavar="FILE.csv", help="write a table without duplicates, leaks and broken files, for --data"
    )
    parser.add_argument("--sheet", metavar="FILE.png", help="save a contact sheet of each class and of duplicates")
    presets = ", ".join(AUGMENTATIONS)
    parser.add_argument("--augmentation", metavar="PRESET", help=f"show augmented images on it, too: {presets}")
    add_json(parser)


def add_models(commands: Commands) -> None:
    """Add `keras-cnns models`."""
    parser = add_command(commands, "models", "list the networks")
    parser.add_argument("pattern", nargs="?", default="*", help="wildcard pattern, such as 'resnet*' (default: all)")
    parser.add_argument("--family", help="only networks of this family: densenet, lenet, resnet, ...")
    parser.add_argument("--min-parameters", **LARGE_NUMBER, help="minimum number of parameters, such as 100K")
    parser.add_argument("--max-parameters", **LARGE_NUMBER, help="maximum number of parameters, such as 1M")
    parser.add_argument("--year", **NUMBER, help="only networks published in this year")
    add_json(parser)


def add_describe(commands: Commands) -> None:
    """Add `keras-cnns describe`."""
    parser = add_command(
        commands, "describe", "describe a network: papers, published results, settings and costs", "Nothing is built."
    )
    add_network(parser)
    add_json(parser)


def add_profile(commands: Commands) -> None:
    """Add `keras-cnns profile`."""
    parser = add_command(
        commands,
        "profile",
        "count parameters, MACs and activation memory per block or layer",
        "Builds the network and counts for one image; also computes receptive fields.",
    )
    add_network(parser)
    parser.add_argument("--by", choices=("block", "layer"), default="block", help="rows of the table (default: block)")
    parser.add_argument("--plot", metavar="FILE.png", help="save a plot of the costs of the blocks")
    add_json(parser)


def add_completion(commands: Commands) -> None:
    """Add `keras-cnns completion`."""
    parser = add_command(
        commands,
        "completion",
        "print the script with which a shell completes commands, options, networks and settings",
        "Let the shell run it when it starts.",
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
