"""Commands for what can be done with a result, to be pasted into the shell that the command was called in."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from keras_cnns.tracking.location import SQLITE
from keras_cnns.tracking.stores import run_url

if TYPE_CHECKING:
    import argparse

PROGRAM, MODULE = "keras-cnns", "keras_cnns"


def command(*arguments: object) -> str:
    """Return a command of keras-cnns, quoted for a shell."""
    return shlex.join([*find_program(PROGRAM, MODULE), *map(str, arguments)])


def tracking_option(arguments: argparse.Namespace) -> list[str]:
    """Return the option that names the store if it was given."""
    return ["--tracking-uri", arguments.tracking_uri] if arguments.tracking_uri else []


def show_in_mlflow(uri: str, run_id: str, what: str) -> str:
    """Return the address of a run's page on a server or, for a database, the command that starts one."""
    if not uri.startswith(SQLITE):
        return f"{run_url(uri, run_id)}    # {what}"
    start = shlex.join([*find_program("mlflow", "mlflow"), "ui", "--backend-store-uri", uri])
    return f"{start}    # {what} is run {run_id}"


def find_program(name: str, module: str) -> list[str]:
    """Return the beginning of a command that calls a program of this environment.

    Args:
        name: The name of the program, which is enough if the search path leads to it.
        module: The module that it runs, if this process was started by `python -m`.
    """
    script = Path(sys.argv[0])
    if script.suffix == ".py":
        return [shorten(Path(sys.executable)), "-m", module]
    return [shorten(script.with_name(name))]


def shorten(program: Path) -> str:
    """Return the name of a program if the search path leads to it, else its path."""
    found = shutil.which(program.name)
    if found and os.path.abspath(found) == str(program.absolute()):  # noqa: PTH100 - links stay as they are
        return program.name
    return str(program)
