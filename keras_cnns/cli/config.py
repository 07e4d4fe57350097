"""`keras-cnns config`: write the arguments of the training of a run as a file for `keras-cnns train --config`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from keras_cnns.cli.status import show_status
from keras_cnns.tracking import Store

if TYPE_CHECKING:
    import argparse


def run(arguments: argparse.Namespace) -> None:
    """Print the file, and notes on standard error."""
    with show_status():
        from keras_cnns.writing.config import make_config, to_toml  # noqa: PLC0415 - imports the backend

        config, notes = make_config(Store(arguments.tracking_uri, create=False), arguments.reference)
    sys.stdout.buffer.write(to_toml(config).encode())
    for note in notes:
        print(f"keras-cnns: note: {' '.join(note.split())}", file=sys.stderr)
