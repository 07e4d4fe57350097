"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from keras_cnns.errors import SettingError, nearest
from keras_cnns.networks.settings import checked
from keras_cnns.units import read_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keras_cnns.data import Dataset
    from keras_cnns.networks.settings import Domain, Settings
    from keras_cnns.training import Recipe
    from tuning.candidates.ranges import Base, Choices


RUN = "a run's id, the beginning of it, or a name only it has; a sweep's id for its best trial"


def whole_number(text: str) -> int:
    """Read a whole number; argparse words the message after this function's name."""
    return int(text)


whole_number.__name__ = "whole number"


def large_number(text: str) -> int:
    """Read a whole number of 0 or more that may be written as 1M or 250K."""
    try:
        return read_number(text)
    except ValueError:
        message = f"{text!r} is not a number of 0 or more; write one like 250000, 250K, 1.5M or 1e6"
        raise argparse.ArgumentTypeError(message) from None


def fold_of(text: str) -> tuple[int, int]:
    """Read which part of how many."""
    part, slash, parts = text.partition("/")
    if slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts) >= 2:
        return int(part), int(parts)
    raise argparse.ArgumentTypeError(f"{text!r} is not a part of several; write one like 2/5")


def add_network(parser: argparse.ArgumentParser) -> None:
    """Add what says which network is meant, with which settings and for which images."""
    parser.add_argument("model", help="a network; `keras-cnns models` lists them")
    add_assignments(parser, "a setting of the network, such as growth_rate=8; repeatable")
    own = "(default: the network's own)"
    parser.add_argument("--image-size", type=whole_number, metavar="PIXELS", help=f"side of the images {own}")
    parser.add_argument("--channels", type=whole_number, metavar="N", help=f"1 for grey, 3 for colour {own}")
    parser.add_argument("--classes", type=whole_number, metavar="N", help=f"classes to tell apart {own}")


def add_assignments(parser: argparse.ArgumentParser, meaning: str) -> None:
    """Add what says which settings differ."""
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="assignments", help=meaning)


def add_store(parser: argparse._ActionsContainer) -> None:
    """Add what says which MLflow store is meant."""
    parser.add_argument(
        "--tracking-uri", metavar="URI", help="MLflow store (default: $MLFLOW_TRACKING_URI, else ./mlflow.db)"
    )


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add what says which images to use."""
    group = parser.add_argument_group("images")
    group.add_argument(
        "--data",
        default="digits",
        metavar="SOURCE",
        help="a folder SPLIT/CLASS/image or CLASS/image, a table .csv or .parquet, an .npz file, tfds:NAME, or digits "
        "(default)",
    )
    group.add_argument("--image-size", type=whole_number, metavar="PIXELS", help="resize the images to this side")
    group.add_argument("--channels", type=whole_number, choices=(1, 3), help="make the images grey (1) or colour (3)")
    group.add_argument("--split-seed", type=whole_number, default=0, metavar="N", help="chooses who is held out (0)")
    group.add_argument(
        "--fold", type=fold_of, metavar="I/K", help="validate on part I of K of the training and validation images"
    )
    group.add_argument(
        "--allow-leaks", action="store_true", help="accept the same patient or image in two splits; reports say so"
    )
    group.add_argument(
        "--skip-broken", action="store_true", help="leave out files that cannot be read; reports say which"
    )
    group.add_argument(
        "--stream", action="store_true", default=None, help="keep decoded images in a file, not in memory"
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add what says which run is meant, and where it is kept."""
    parser.add_argument("reference", metavar="RUN", help=RUN)
    add_store(parser)


def add_views(parser: argparse.ArgumentParser) -> None:
    """Add what says how often each image is seen."""
    parser.add_argument(
        "--views",
        type=whole_number,
        default=1,
        metavar="N",
        help="the mean over N views: the image, and augmented ones",
    )


def add_recipe(parser: argparse.ArgumentParser, *, epochs: int | None = None) -> None:
    """Add what says how to train."""
    parser.add_argument(
        "--recipe",
        choices=("plain", "modern", "paper"),
        default="plain",
        help="what training starts from: little (default), all that helps, or what the network's paper says",
    )
    parser.add_argument(
        "--epochs", type=whole_number, default=epochs, help=f"default: {epochs or 'those of the recipe'}"
    )
    parser.add_argument("--batch-size", type=whole_number, help="images a step")
    add_assignments(
        parser, "a setting of the network or of the recipe, such as growth_rate=8 or learning_rate=0.01; repeatable"
    )


def add_space(parser: argparse.ArgumentParser) -> None:
    """Add what says what is searched beside `--set`."""
    parser.add_argument(
        "--space",
        metavar="FILE.toml",
        help="what to search; in it and in --set, NAME=VALUE fixes, NAME=LOW..HIGH is a range, NAME=A,B,C a choice",
    )


def add_machines(parser: argparse.ArgumentParser) -> None:
    """Add what says which machines a sweep runs on, and what of them each trial gets."""
    group = parser.add_argument_group("machines")
    group.add_argument("--cores", type=whole_number, metavar="N", help="cores of all trials together (default: all)")
    group.add_argument("--cores-per-trial", type=whole_number, default=1, metavar="N", help="cores a trial (1)")
    group.add_argument(
        "--gpus-per-trial",
        type=float,
        metavar="N",
        help="GPUs a trial; 0.5 for two on one GPU (default: 1 where there are any)",
    )
    group.add_argument(
        "--memory-per-trial", type=large_number, metavar="BYTES", help="what a trial is counted with, such as 4G"
    )
    group.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        help="a running Ray cluster: auto for this machine's, or HOST:PORT of its head",
    )
    group.add_argument(
        "--storage",
        metavar="URI",
        help="where all machines reach checkpoints, such as s3://bucket/folder (default: --folder, which they share)",
    )


def add_keeping(parser: argparse.ArgumentParser, *, experiment: str) -> None:
    """Add what says where runs are kept."""
    group = parser.add_argument_group("keeping")
    group.add_argument("--resume", action="store_true", help="go on with the newest unfinished one of these arguments")
    group.add_argument("--experiment", default=experiment, help=f"MLflow experiment (default: {experiment})")
    add_store(group)
    group.add_argument("--folder", default="runs", help="where checkpoints are kept (default: runs)")
    group.add_argument("--json", action="store_true", help="print the result for programs")


def load_images(arguments: argparse.Namespace) -> Dataset:
    """Load what `add_data` names."""
    from keras_cnns.data import load  # noqa: PLC0415 - `--help` does not wait for numpy

    return load(
        arguments.data,
        image_size=arguments.image_size,
        channels=arguments.channels,
        seed=arguments.split_seed,
        fold=arguments.fold,
        allow_leaks=arguments.allow_leaks,
        skip_broken=arguments.skip_broken,
        stream=arguments.stream,
    )


def read_network(arguments: argparse.Namespace) -> dict[str, Any]:
    """Read what `add_network` adds: the arguments of `build` beside the name that are not the network's own.

    Raises:
        KerasCnnsError: There is no such network, or something of it is not legal.
    """
    from keras_cnns.networks.registry import CHANNELS, CLASSES, SIDE, find_variant  # noqa: PLC0415 - `--help` waits for none

    _, variant = find_variant(arguments.model)
    changes: dict[str, Any] = {}
    for assignment in arguments.assignments:
        name, text = split_assignment(assignment)
        changes[name] = read_value(assignment, name, text, variant.settings.domain(name))
    if arguments.image_size is not None or arguments.channels is not None:
        height, width, channels = variant.input_shape
        if arguments.image_size is not None:
            height = width = checked("--image-size", SIDE, arguments.image_size)
        if arguments.channels is not None:
            channels = checked("--channels", CHANNELS, arguments.channels)
        changes["input_shape"] = (height, width, channels)
    if arguments.classes is not None:
        changes["classes"] = checked("--classes", CLASSES, arguments.classes)
    return changes


def read_assignments(arguments: argparse.Namespace, settings: type[Settings]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read `--set`, `--epochs` and `--batch-size`: values of the recipe, and of the network.

    Raises:
        SettingError: An assignment is not NAME=VALUE, its name is unknown or its value not legal.
    """
    from keras_cnns.training import Recipe  # noqa: PLC0415

    given = {"epochs": arguments.epochs, "batch_size": arguments.batch_size}
    of_recipe = {name: value for name, value in given.items() if value is not None}
    of_network: dict[str, Any] = {}
    domains = {**settings.domains(), **Recipe.domains()}
    for assignment in arguments.assignments:
        name, text = split_assignment(assignment)
        if name not in domains:
            hint = nearest(name, domains) or f" There are: {', '.join(domains)}."
            raise SettingError(f"--set {assignment}: neither the network nor the recipe has a setting {name!r}.{hint}")
        chosen = of_recipe if name in Recipe.domains() else of_network
        chosen[name] = read_value(assignment, name, text, domains[name])
    return of_recipe, of_network


def read_space(arguments: argparse.Namespace, bases: Sequence[Base]) -> tuple[dict[str, object], Choices]:
    """Read `--space` and `--set`, which counts where both name a setting: as written, and what each name may be.

    Raises:
        SettingError: The file cannot be read, a name is unknown, or something outside what is legal.
    """
    from tuning.candidates.ranges import read_choices, read_space_file  # noqa: PLC0415

    written: dict[str, object] = read_space_file(arguments.space) if arguments.space else {}
    read_choices(bases, written, where=f"{arguments.space}: ")
    for assignment in arguments.assignments:
        name, text = split_assignment(assignment)
        read_choices(bases, {name: text}, where=f"--set {assignment}: ")
        written[name] = text
    return written, read_choices(bases, written)


def split_assignment(assignment: str) -> tuple[str, str]:
    """Return name and value of a `--set`, as they are written."""
    name, equals, text = assignment.partition("=")
    if not equals:
        raise SettingError(f"--set {assignment}: write NAME=VALUE, with = between them.")
    return name, text


def read_value(assignment: str, name: str, text: str, domain: Domain) -> Any:
    """Return the value of a `--set`, or say what would be legal."""
    return checked(f"--set {assignment}: {name}", domain, domain.parse(text))


def make_recipe(name: str, family: str, values: dict[str, Any]) -> Recipe:
    """Make the recipe of this name for a family of networks, with values that were read."""
    from keras_cnns.training.presets import preset  # noqa: PLC0415

    return preset(name, family).replace(values)
