"""`keras-cnns report`: write up a run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import keras_cnns
from keras_cnns.cli.status import show_status

if TYPE_CHECKING:
    import argparse


def run(arguments: argparse.Namespace) -> None:
    """Write the files and print their names."""
    with show_status():
        written = keras_cnns.report(
            arguments.reference,
            format=arguments.format,
            output=arguments.output,
            split=arguments.split,
            tracking_uri=arguments.tracking_uri,
        )
    if arguments.json:
        files = [str(path) for path in written.files]
        print(json.dumps({"run_id": written.run_id, "document": str(written.document), "files": files}))
        return
    print(f"write-up of run {written.run_id} in {written.folder}:")
    for path in written.files:
        print(f"  {path.relative_to(written.folder)}")
