"""Lock files: everything that is needed to repeat a training and its evaluation, and the recorded results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_cnns.errors import ReportError
from keras_cnns.networks.baselines.code import CHECKSUM_TAG, PATH_TAG
from keras_cnns.tracking.runs import TRAINED_ON, WEIGHTS, strip_prefix

LOCK_FILE = "lock.json"
FORMAT = 1
TRAINING_RESULTS = ("best_", "threshold", "temperature")
SECTIONS = ("run", "data", "training", "evaluation", "results", "environment")


def make_lock(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of the lock file of a run.

    Args:
        facts: The facts of the run, see `keras_cnns.writing.facts`.
    """
    run, network, evaluation = facts["run"], facts["network"], facts["evaluation"]
    tags = run["tags"]
    return {
        "format": FORMAT,
        "written": facts["written"],
        "run": {name: run[name] for name in ("id", "name", "started")},
        "data": {
            "name": run["data_name"],
            "source": network.get("source"),
            "fingerprint": run["data_fingerprint"],
            "class_names": network.get("class_names"),
            "splits": {
                name: {key: split[key] for key in ("images", "patients", "fingerprint")}
                for name, split in network.get("splits", {}).items()
            },
            "reading": network.get("reading", {}),
            "ranges": network.get("ranges", {}),
        },
        "training": {**describe_training(run), "cross_validation": facts.get("cross_validation")},
        "evaluation": {
            name: evaluation.get(name)
            for name in (
                "split",
                "external",
                "data",
                "positive",
                "class_map",
                "grouped_by",
                "seed",
                "tta",
                "threshold_rule",
            )
        }
        | {"by": list(evaluation.get("by") or {})},
        "results": {
            "training": {name: value for name, value in run["metrics"].items() if name.startswith(TRAINING_RESULTS)},
            "metrics": evaluation["metrics"],
            "intervals": evaluation["intervals"],
        },
        "environment": {
            "python": tags.get("versions.python"),
            "packages": network.get("packages", {}),
            "versions": strip_prefix(tags, "versions."),
            "commit": tags.get("mlflow.source.git.commit"),
            "uncommitted_changes": tags.get("git.dirty"),
            "hardware": strip_prefix(tags, "hardware."),
        },
    }


def describe_training(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the training of a run, given what the store knows about it."""
    tags = run["tags"]
    return {
        "model": run["model"],
        "settings": run["settings"],
        "recipe": run["recipe"],
        "seed": run["seed"],
        "weights": {"reference": tags[WEIGHTS], **strip_prefix(tags, f"{WEIGHTS}.")} if WEIGHTS in tags else None,
        "code": {name: tags[name] for name in (PATH_TAG, CHECKSUM_TAG) if name in tags},
        "trained_on": tags.get(TRAINED_ON, "train"),
    }


def read_lock(path: str | Path) -> dict[str, Any]:
    """Read a lock file.

    Raises:
        ReportError: It does not exist, or is not a lock file of this version.
    """
    try:
        lock = json.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise ReportError(f"{path}: cannot be read ({error.strerror}); name the lock.json of a write-up.") from None
    except ValueError:
        raise ReportError(f"{path}: is not JSON; name the lock.json of a write-up.") from None
    if (
        not isinstance(lock, dict)
        or lock.get("format") != FORMAT
        or not all(isinstance(lock.get(section), dict) for section in SECTIONS)
    ):
        raise ReportError(f"{path}: is not a lock file of this version; write it again with `keras-cnns report`.")
    return lock
