"""`keras-cnns models`: the networks that can be built."""

from __future__ import annotations

import argparse
import json
from typing import Any

from keras_cnns.errors import ModelNameError


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("models", help="list the networks", description="List the networks by name.")
    parser.add_argument("pattern", nargs="?", default="*", help="wildcards, such as 'resnet*'")
    parser.add_argument("--json", action="store_true", help="print for programs")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List the names."""
    from keras_cnns.registry import list_models  # noqa: PLC0415 - `--help` does not wait for the families

    names = list_models(arguments.pattern)
    if not names:
        raise ModelNameError(f"no network is called {arguments.pattern!r}; `keras-cnns models` lists all.")
    print(json.dumps(names) if arguments.json else "\n".join(names))
    return 0
