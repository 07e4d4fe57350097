"""`keras-cnns serve`: serve the predictions of a network on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_cnns.cli.status import show_status
from keras_cnns.lazy import import_needed

if TYPE_CHECKING:
    import argparse


def run(arguments: argparse.Namespace) -> None:
    """Start the server, print its address and wait for Ctrl-C."""
    with show_status() as progress:
        server = import_needed("keras_cnns.serving.server").start_server(
            arguments.reference,
            port=arguments.port,
            tracking_uri=arguments.tracking_uri,
            show_training_cases=arguments.show_training_cases,
            progress=progress,
        )
    print(server, flush=True)
    server.wait()
