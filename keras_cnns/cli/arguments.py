"""Arguments that several commands share, and the types of their values."""

from __future__ import annotations

import argparse
from typing import Any

from keras_cnns.cli.completers import complete_assignments, complete_models, complete_with
from keras_cnns.networks.recipe import RECIPE_NAMES
from keras_cnns.units import parse_number

MODEL_HELP = (
    "name of a network; `keras-cnns models` lists them; FILE.py:FUNCTION or MODULE:FUNCTION for your own (its code is "
    "executed)"
)
RUN = "id of a run, the beginning of it, or a unique run name; the id of a sweep stands for its best trial"

SOURCES = "{SOURCES}"
"""Stands for `list_sources()` in help texts, because listing the sources imports NumPy."""


def list_sources() -> str:
    """Return the kinds of sources with their descriptions, for help texts."""
    from keras_cnns.data.sources import all_sources  # noqa: PLC0415 - imports NumPy and plugins

    return "; ".join(f"{kind.usage} ({kind.description})" for kind in all_sources()).replace("%", "%%")


def whole_number(text: str) -> int:
    """Parse a whole number."""
    return int(text)


whole_number.__name__ = "whole number"  # argparse shows it: invalid whole number value: 'ten'


def positive_number(text: str) -> int:
    """Parse a whole number of 1 or more."""
    if text.isdecimal() and int(text) >= 1:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")


def large_number(text: str) -> int:
    """Parse a whole number of 0 or more, such as 250000, 250K, 1.5M or 1e6."""
    try:
        return parse_number(text)
    except ValueError:
        message = f"{text!r} is not a number of 0 or more; write one like 250000, 250K, 1.5M or 1e6"
        raise argparse.ArgumentTypeError(message) from None


NUMBER: dict[str, Any] = {"type": whole_number, "metavar": "N"}
LARGE_NUMBER: dict[str, Any] = {"type": large_number, "metavar": "N"}


def fold_of(text: str) -> tuple[int, int]:
    """Parse a fold, such as 2/5."""
    fold, slash, folds = text.partition("/")
    if slash and fold.isdecimal() and folds.isdecimal() and 1 <= int(fold) <= int(folds) >= 2:
        return int(fold), int(folds)
    raise argparse.ArgumentTypeError(f"{text!r} is not a fold; write one like 2/5")


def add_json(parser: argparse._ActionsContainer, meaning: str = "print the result as JSON") -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help=meaning)


def add_tracking_uri(parser: argparse._ActionsContainer, **options: Any) -> None:
    """Add the MLflow store."""
    default = "(default: $MLFLOW_TRACKING_URI, else ./mlflow.db)"
    parser.add_argument("--tracking-uri", metavar="URI", help=f"MLflow store {default}", **options)


def add_network(parser: argparse.ArgumentParser) -> None:
    """Add a network, its settings and the shape of its input and output."""
    complete_with(complete_models, parser.add_argument("model", help=MODEL_HELP))
    add_assignments(parser, "set a setting of the network, such as growth_rate=8; repeatable")
    default = "(default: the network's own)"
    parser.add_argument("--image-size", type=whole_number, metavar="PIXELS", help=f"height and width {default}")
    parser.add_argument("--channels", **NUMBER, help=f"1 for greyscale, 3 for colour {default}")
    parser.add_argument("--classes", **NUMBER, help=f"number of classes {default}")


def add_assignments(parser: argparse._ActionsContainer, meaning: str) -> None:
    """Add `--set NAME=VALUE`."""
    complete_with(
        complete_assignments,
        parser.add_argument(
            "--set", action="append", default=[], metavar="NAME=VALUE", dest="assignments", help=meaning
        ),
    )


def add_data(parser: argparse.ArgumentParser, *, default: str | None = "digits") -> None:
    """Add the dataset and how to load it; without a default, the dataset is that of a run."""
    group = parser.add_argument_group("data", "" if default else "What is not given is as for the training of the run.")
    shown = default or "those of the run"
    group.add_argument(
        "--data", default=default, metavar="SOURCE", help=f"images to read (default: {shown}): {SOURCES}"
    )
    add_reading(group)
    group.add_argument(
        "--leaks",
        choices=("drop", "error", "allow"),
        help="images in two splits: leave them out of the earlier one (default), stop, or allow them and patients",
    )
    group.add_argument(
        "--skip-broken", action="store_true", default=None, help="skip files that cannot be read; reports list them"
    )
    group.add_argument(
        "--keep-ids", action="store_true", default=None, help="log patient IDs as they are instead of pseudonyms"
    )


def add_groups_and_class_map(parser: argparse._ActionsContainer) -> None:
    """Add which images belong together, and how the classes of the images match those of a run."""
    parser.add_argument(
        "--groups",
        metavar="COLUMN",
        help="groups that the bootstrap resamples as a whole (default: patients, if known)",
    )
    parser.add_argument(
        "--class-map",
        action="append",
        default=[],
        metavar="NAME=NAME,...",
        help="class of the run for each class of the images that has another name, such as healthy=no_tumor",
    )


def add_reading(parser: argparse._ActionsContainer) -> None:
    """Add how images are read, converted and split."""
    parser.add_argument("--image-size", type=whole_number, metavar="PIXELS", help="resize images to this side length")
    parser.add_argument("--channels", type=whole_number, choices=(1, 3), help="convert to greyscale (1) or colour (3)")
    parser.add_argument(
        "--resize",
        choices=("pad", "crop", "stretch"),
        help="images of another aspect ratio: add black borders (default), cut the borders, or stretch them",
    )
    parser.add_argument(
        "--window", metavar="CENTER,WIDTH", help="window of DICOM images: a name such as lung, or --window=-600,1500"
    )
    parser.add_argument("--bits", **NUMBER, help="depth of values in files of more than 8 bits, such as 12")
    parser.add_argument(
        "--value-range", nargs=2, type=float, metavar=("LOW", "HIGH"), help="values that become black and white"
    )
    parser.add_argument(
        "--frames", choices=("first", "middle", "all"), help="frames of files with several (default: they are errors)"
    )
    parser.add_argument("--root", metavar="FOLDER", help="folder that the paths of a table are relative to")
    parser.add_argument(
        "--patient-pattern", metavar="PATTERN", help="regular expression with the patient in file names: '(p[0-9]+)_'"
    )
    parser.add_argument("--positive", metavar="CLASS", help="positive class of two (default: recognised by its name)")
    parser.add_argument("--split-seed", **NUMBER, help="seed of the validation split (default: 0)")
    parser.add_argument("--fold", type=fold_of, metavar="I/K", help="validate on fold I of K")
    parser.add_argument(
        "--split-at", metavar="DATE", help="temporal split: test on images from this date on; DATE or COLUMN=DATE"
    )
    parser.add_argument(
        "--stream", action="store_true", default=None, help="cache decoded images in a file instead of in memory"
    )


def add_run_and_images(parser: argparse.ArgumentParser) -> None:
    """Add a run, its store, and image files and folders."""
    parser.add_argument("reference", metavar="RUN", help=RUN)
    add_tracking_uri(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGES", help="image files, and folders to search for images")


def add_tta(parser: argparse.ArgumentParser) -> None:
    """Add test-time augmentation."""
    parser.add_argument(
        "--tta", **NUMBER, default=1, help="test-time augmentation: average over the image and N-1 augmented copies"
    )


def add_abstention(parser: argparse.ArgumentParser) -> None:
    """Add the choice of the images that are answered."""
    group = parser.add_argument_group(
        "abstention", "Which images are answered is calibrated on the validation images of the run."
    ).add_mutually_exclusive_group()
    group.add_argument(
        "--confidence-level",
        type=float,
        metavar="X",
        help="prediction sets that contain the true class with this probability; abstain if they have several classes",
    )
    group.add_argument(
        "--coverage", type=float, metavar="X", help="answer this fraction of images, those with the highest confidence"
    )


def add_recipe(parser: argparse.ArgumentParser, *, epochs: str) -> argparse._ArgumentGroup:
    """Add the training recipe, with a description of the default number of epochs, and return the group."""
    group = parser.add_argument_group("training")
    group.add_argument(
        "--recipe",
        choices=RECIPE_NAMES,
        help="plain (default), modern (augmentation, EMA and more), or that of the network's paper; with --weights "
        "finetune, or probe for a linear probe",
    )
    group.add_argument("--epochs", **NUMBER, help=f"number of epochs (default: {epochs})")
    group.add_argument(
        "--weights",
        metavar="WEIGHTS",
        help="begin with weights (default: random): imagenet, torchvision:NAME, keras:imagenet, timm:NAME, hf://ID, a "
        "file, a run, or models:/NAME@ALIAS",
    )
    group.add_argument("--batch-size", **NUMBER, help="batch size (default: that of the recipe)")
    add_assignments(
        group, "set a setting of the network or of the recipe, such as growth_rate=8 or learning_rate=0.01; repeatable"
    )
    return group


def add_resources(
    parser: argparse.ArgumentParser, *, title: str = "resources", trial: str = "trial", cores_per_trial: int | None = 1
) -> argparse._ArgumentGroup:
    """Add the machines of a sweep or a cross-validation and the resources of each trial, and return the group.

    Args:
        parser: The parser.
        title: The title of the group.
        trial: What help texts call a trial.
        cores_per_trial: The default; None to share all cores evenly.
    """
    group = parser.add_argument_group(title)
    group.add_argument("--cores", **NUMBER, help=f"cores for all {trial}s together (default: all)")
    shown = cores_per_trial or "all cores, shared evenly"
    group.add_argument(
        "--cores-per-trial", **NUMBER, default=cores_per_trial, help=f"cores per {trial} (default: {shown})"
    )
    group.add_argument(
        "--gpus-per-trial", type=float, metavar="N", help=f"GPUs per {trial}, such as 0.5 (default: 1 if there are any)"
    )
    group.add_argument(
        "--memory-per-trial", type=large_number, metavar="BYTES", help=f"memory to reserve per {trial}, such as 4G"
    )
    group.add_argument(
        "--ray-address", metavar="ADDRESS", help="running Ray cluster: auto, or HOST:PORT of its head node"
    )
    return group


def add_output(parser: argparse.ArgumentParser, *, experiment: str) -> argparse._ArgumentGroup:
    """Add where runs are stored and how the result is printed, and return the group."""
    group = parser.add_argument_group("output")
    group.add_argument("--resume", action="store_true", help="resume the newest interrupted run with these arguments")
    group.add_argument("--experiment", default=experiment, help=f"MLflow experiment (default: {experiment})")
    add_tracking_uri(group)
    group.add_argument("--folder", default="runs", help="folder for checkpoints (default: runs)")
    add_json(group)
    return group
