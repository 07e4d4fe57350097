"""The argument parser of every command; it imports nothing heavy, so that `--help` and mistakes answer at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_cnns.cli.arguments import (
    LARGE_NUMBER,
    MODEL_HELP,
    NUMBER,
    RUN,
    add_abstention,
    add_data,
    add_groups_and_class_map,
    add_json,
    add_output,
    add_recipe,
    add_resources,
    add_run_and_images,
    add_tracking_uri,
    add_tta,
    positive_number,
)
from keras_cnns.cli.command_parser import Parser, add_command
from keras_cnns.cli.completers import complete_models, complete_searches, complete_with
from keras_cnns.cli.network_parsers import add_completion, add_describe, add_inspect, add_models, add_profile
from keras_cnns.version import __version__

if TYPE_CHECKING:
    from keras_cnns.cli.command_parser import Commands

COSTS = ("parameters", "macs", "seconds")


def make_parser() -> Parser:
    """Return the parser of all commands; the parsed `command` is the name of a module in `keras_cnns.cli`."""
    parser = Parser(prog="keras-cnns", description="Build, train, tune and compare classic convolutional networks.")
    parser.add_argument("--version", action="version", version=f"keras-cnns {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add_train(commands)
    add_sweep(commands)
    add_compare(commands)
    add_evaluate(commands)
    add_predict(commands)
    add_explain(commands)
    add_export(commands)
    add_serve(commands)
    add_report(commands)
    add_reproduce(commands)
    add_config(commands)
    add_inspect(commands)
    add_models(commands)
    add_describe(commands)
    add_profile(commands)
    add_completion(commands)
    return parser


def add_train(commands: Commands) -> None:
    """Add `keras-cnns train`."""
    parser = add_command(
        commands, "train", "train one network, or one for each fold of a cross-validation, and log the run to MLflow"
    )
    complete_with(
        complete_models, parser.add_argument("model", nargs="?", help=f"{MODEL_HELP}; optional with --config")
    )
    parser.add_argument(
        "--config", metavar="FILE.toml", help="file of `keras-cnns config`; options given here override its values"
    )
    add_data(parser)
    parser.set_defaults(data=None)  # that of the file
    group = add_recipe(parser, epochs="those of the recipe")
    group.add_argument(
        "--probe",
        action="store_true",
        help="with --weights: fit only the classifier, by logistic regression on features, in seconds (--recipe probe)",
    )
    group.add_argument("--seed", **NUMBER, help="random seed (default: 0)")
    group.add_argument("--test", action="store_true", help="evaluate on the test split after training")
    group = parser.add_argument_group(
        "cross-validation", "Trains a network for each fold, and evaluates it on the fold."
    )
    exclusive = group.add_mutually_exclusive_group()
    exclusive.add_argument("--folds", **NUMBER, help="divide the images into N folds, by patient and class")
    exclusive.add_argument(
        "--fold-by", metavar="COLUMN", help="leave out each value of this column once, such as the scanner or the site"
    )
    add_resources(parser, title="resources of a cross-validation", trial="fold", cores_per_trial=None)
    add_output(parser, experiment="train")


def add_sweep(commands: Commands) -> None:
    """Add `keras-cnns sweep`."""
    parser = add_command(
        commands,
        "sweep",
        "search for good architectures and hyperparameters with Ray Tune",
        "Every trial is logged to MLflow as a run, and the trials are compared at the end.",
    )
    meaning = "a family (densenet, ...), all families (all) or a network to vary; optional with --from-run"
    complete_with(complete_searches, parser.add_argument("model", nargs="?", help=meaning))
    add_data(parser)
    group = add_recipe(parser, epochs="10")
    group.add_argument(
        "--from-run", metavar="RUN", help="start from the network, settings and recipe of a run or a sweep's best trial"
    )
    group = parser.add_argument_group("search")
    group.add_argument("--trials", **NUMBER, help="number of trials (default: 16, or the whole grid)")
    group.add_argument(
        "--space", metavar="FILE.toml", help="search space; as in --set, LOW..HIGH is a range and A,B,C are choices"
    )
    group.add_argument("--search", default="tpe", help="algorithm: tpe (default), random, or grid (every combination)")
    group.add_argument(
        "--scheduler", help="early stopping of trials: asha (default), hyperband, median, or none (default with --cost)"
    )
    group.add_argument("--max-parameters", **LARGE_NUMBER, help="skip networks with more parameters, such as 1M")
    group.add_argument("--max-macs", **LARGE_NUMBER, help="skip networks with more multiply-accumulates, such as 300M")
    group.add_argument("--cost", help="optimise the score and this cost together: parameters or macs (default: none)")
    group.add_argument("--seed", **NUMBER, help="seed of the search (default: a random one)")
    group = parser.add_argument_group("after the search")
    group.add_argument(
        "--repeats", **NUMBER, help="retrain the best three with N other seeds, and test whether the winner is better"
    )
    group.add_argument("--folds", **NUMBER, help="cross-validate the best three with N folds instead of --repeats")
    group.add_argument(
        "--refit", action="store_true", help="retrain the best on training and validation images, and register it"
    )
    group.add_argument(
        "--register", metavar="NAME", help="name of the registered model (default: sweep-MODEL-DATA); implies --refit"
    )
    group.add_argument("--extend", **NUMBER, help="add N trials to the newest finished sweep with the same arguments")
    add_resources(parser).add_argument(
        "--storage",
        metavar="URI",
        help="checkpoint storage that all machines can reach, such as s3://bucket/folder (default: --folder)",
    )
    group = add_output(parser, experiment="sweep")
    group.add_argument(
        "--plot", metavar="FILE.png", help="also save the comparison plot here; the sweep's folder always has it"
    )


def add_compare(commands: Commands) -> None:
    """Add `keras-cnns compare`."""
    parser = add_command(
        commands,
        "compare",
        "rank runs, list the differences of two runs, or test which one is better on the same images",
        "The runs of the Pareto front are marked: no other run is both cheaper and better. Runs that differ only in "
        "the seed share a row. Repeat --tracking-uri to compare runs of several stores. With --split or --data, two or "
        "more runs are evaluated on the same images, and the differences of their metrics are tested; with a table of "
        "answers, readers such as radiologists are compared with the runs.",
    )
    parser.add_argument(
        "experiments",
        nargs="*",
        metavar="EXPERIMENT",
        help="MLflow experiments (default: all), or ids or names of runs; a table of readers ends in .csv or .parquet",
    )
    add_tracking_uri(parser, action="append")
    parser.add_argument("--sort", default="val_accuracy", metavar="COLUMN", help="rank by (default: val_accuracy)")
    parser.add_argument("--cost", default="parameters", choices=COSTS, help="cost to compare (default: parameters)")
    parser.add_argument(
        "--where", metavar="CONDITION", help="filter the runs, as in \"parameters < 1e6 and family == 'densenet'\""
    )
    parser.add_argument("--columns", metavar="NAME,...", help="metrics, settings and recipe parameters to show")
    parser.add_argument("--per-run", action="store_true", help="one row per run, without averaging over seeds")
    parser.add_argument("--limit", type=positive_number, metavar="N", help="show the first N rows per dataset")
    parser.add_argument(
        "--plot", metavar="FILE.png", help="plot score against cost, or the learning curves of two runs"
    )
    parser.add_argument("--html", metavar="FILE.html", help="write a page with sortable tables, plots and curves")
    parser.add_argument(
        "--split", help="test the differences on this split: test (default with --data or readers), validation or all"
    )
    add_data(parser, default=None)
    add_groups_and_class_map(parser)
    form = parser.add_mutually_exclusive_group()
    add_json(form)
    form.add_argument("--csv", action="store_true", help="print the result as CSV")


def add_evaluate(commands: Commands) -> None:
    """Add `keras-cnns evaluate`."""
    parser = add_command(
        commands,
        "evaluate",
        "evaluate a run on a test split, with confidence intervals",
        "The report is logged to the run, and every evaluation on a test split is counted. Several runs are evaluated "
        "as an ensemble: their probabilities are averaged.",
    )
    parser.add_argument("references", nargs="+", metavar="RUN", help=RUN)
    add_tracking_uri(parser)
    add_data(parser, default=None)
    parser.add_argument(
        "--split", default="test", help="test (default), validation, or all (of a source that no run was trained on)"
    )
    parser.add_argument(
        "--by",
        action="append",
        default=[],
        metavar="COLUMN",
        help="also evaluate each value of this column; repeatable",
    )
    add_groups_and_class_map(parser)
    group = parser.add_argument_group("threshold", "By default, the threshold maximises balanced accuracy (Youden).")
    rules = group.add_mutually_exclusive_group()
    rules.add_argument(
        "--at-sensitivity",
        type=float,
        metavar="X",
        help="highest specificity at this sensitivity, on validation images",
    )
    rules.add_argument(
        "--at-specificity",
        type=float,
        metavar="X",
        help="highest sensitivity at this specificity, on validation images",
    )
    rules.add_argument(
        "--threshold", type=float, metavar="X", help="probability from which on the positive class is predicted"
    )
    parser.add_argument(
        "--prevalence", type=float, metavar="X", help="also compute PPV and NPV for this prevalence, such as 0.02"
    )
    add_abstention(parser)
    add_tta(parser)
    parser.add_argument("--report", metavar="FILE.html", help="also write the report to this file")
    add_json(parser)


def add_predict(commands: Commands) -> None:
    """Add `keras-cnns predict`."""
    parser = add_command(
        commands,
        "predict",
        "predict the classes of images",
        "Prints one CSV row per image, with the probability of each class after temperature scaling, where the run has "
        "a temperature, and the threshold on the same scale. Images are read as for training.",
    )
    add_run_and_images(parser)
    parser.add_argument(
        "--with", action="append", default=[], metavar="RUN", dest="others", help="ensemble with this run; repeatable"
    )
    add_abstention(parser)
    add_tta(parser)
    parser.add_argument("--skip-broken", action="store_true", help="accept files that cannot be read")
    add_json(parser, "print JSON instead of CSV")


def add_explain(commands: Commands) -> None:
    """Add `keras-cnns explain`."""
    parser = add_command(
        commands,
        "explain",
        "explain predictions with Grad-CAM heatmaps",
        "Saves a heatmap for each image, and an overview of all.",
    )
    add_run_and_images(parser)
    parser.add_argument("--output", required=True, metavar="FOLDER", help="folder for the heatmaps")
    parser.add_argument(
        "--class", metavar="NAME", dest="class_name", help="class to explain (default: the predicted class)"
    )
    parser.add_argument("--method", default="grad-cam", help="grad-cam (default) or grad-cam++")
    parser.add_argument(
        "--layer", metavar="NAME", help="layer to explain (default: the last one with more than one position)"
    )
    parser.add_argument("--check", action="store_true", help="sanity check: compare with heatmaps of random weights")
    add_json(parser)


def add_export(commands: Commands) -> None:
    """Add `keras-cnns export`."""
    parser = add_command(
        commands,
        "export",
        "export the network of a run to other formats, with a certificate of what the files compute",
        "The files take pixel values from 0 to 255 and return calibrated probabilities. They contain the class names, "
        "the threshold, the preprocessing, the licence and the run. Each is executed in its runtime and compared with "
        "the run's network.",
    )
    parser.add_argument("reference", metavar="RUN", help=RUN)
    add_tracking_uri(parser)
    parser.add_argument(
        "--format",
        action="append",
        metavar="FORMAT",
        help="keras (default), savedmodel, onnx, litert, openvino, state-dict, or all that are installed; repeatable",
    )
    parser.add_argument(
        "--fold-batch-norm", action="store_true", help="fold batch normalization into convolutions: smaller and faster"
    )
    parser.add_argument(
        "--quantize", metavar="int8", help="int8: weights and activations of 8 bits, calibrated on training images"
    )
    parser.add_argument(
        "--check", metavar="SOURCE", help="images of the certificate (default: the validation images of the run)"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        metavar="X",
        help="largest accepted difference of a probability (default: 1e-5) or, for int8, loss of accuracy (0.02)",
    )
    parser.add_argument(
        "--benchmark", action="store_true", help="measure latency and throughput of each file on this machine"
    )
    parser.add_argument("--folder", default="exports", help="folder of the files (default: exports)")
    add_json(parser)


def add_serve(commands: Commands) -> None:
    """Add `keras-cnns serve`."""
    parser = add_command(
        commands,
        "serve",
        "serve the predictions of a network on a page and as JSON, to this machine only",
        "The page shows decision, probabilities, prediction set and heatmap of an image that is dropped on it, and the "
        "model card. For research use only; not a medical device.",
    )
    parser.add_argument(
        "reference", metavar="RUN", help=f"{RUN}; or models:/NAME@champion, or the .keras file of an export"
    )
    parser.add_argument("--port", **NUMBER, default=8080, help="port of 127.0.0.1; 0 for a free one (default: 8080)")
    add_tracking_uri(parser)
    parser.add_argument(
        "--show-training-cases", action="store_true", help="also show the training images most similar to an image"
    )


def add_report(commands: Commands) -> None:
    """Add `keras-cnns report`."""
    parser = add_command(
        commands,
        "report",
        "write up an evaluated run: article, checklists, model card, dataset card and lock file",
        "Every number comes from a stored field of the run; what it does not know is left to the authors.",
    )
    parser.add_argument("reference", metavar="RUN", help=RUN)
    add_tracking_uri(parser)
    parser.add_argument("--format", choices=("md", "tex", "docx"), help="Markdown (default), LaTeX or Word")
    parser.add_argument(
        "--output", metavar="PATH", help="folder, or name of the article in a folder (default: write-up-RUN)"
    )
    parser.add_argument(
        "--split", default="test", help="evaluation to report: test (default), or validation, which is optimistic"
    )
    add_json(parser)


def add_reproduce(commands: Commands) -> None:
    """Add `keras-cnns reproduce`."""
    parser = add_command(
        commands,
        "reproduce",
        "repeat the run of a lock file, and compare the results",
        "The images must be those of the recorded run. The exit code is 0 only if all results are equal.",
    )
    parser.add_argument("file", metavar="LOCK.json", help="the lock file of a write-up")
    parser.add_argument("--data", metavar="SOURCE", help="where the images are now (default: as in the lock file)")
    parser.add_argument("--experiment", default="reproduce", help="MLflow experiment (default: reproduce)")
    add_tracking_uri(parser)
    parser.add_argument("--folder", default="runs", help="folder for checkpoints (default: runs)")
    add_json(parser)


def add_config(commands: Commands) -> None:
    """Add `keras-cnns config`."""
    parser = add_command(
        commands,
        "config",
        "write the arguments of the training of a run as a TOML file",
        "For `keras-cnns train --config`: the network, the images and how they are read, all settings, the whole "
        "recipe, seed, weights and folds.",
    )
    parser.add_argument("reference", metavar="RUN", help=f"{RUN}, that of a cross-validation for all of it")
    add_tracking_uri(parser)
