"""The command line: parses, calls, prints; decides nothing."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from keras_cnns.cli import compare, describe, evaluate, explain, inspect, models, predict, profile, sweep, train
from keras_cnns.errors import KerasCnnsError
from keras_cnns.version import __version__

COMMANDS = (train, sweep, compare, evaluate, predict, explain, inspect, models, describe, profile)
USER_MISTAKE = 2
INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a command in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the mistake and leave with exit code 2."""
        self.exit(USER_MISTAKE, f"{self.prog}: {message} ({self.prog} --help lists what there is)\n")


def make_parser() -> Parser:
    """Return the parser of all commands."""
    parser = Parser(
        prog="keras-cnns", description="The classic convolutional networks: train, search and compare them."
    )
    parser.add_argument("--version", action="version", version=f"keras-cnns {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        0; 2 for a user's mistake, which is told in one line; 130 after Ctrl-C; 1 where the reader of the output
        is gone.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    arguments = make_parser().parse_args(argv)
    try:
        code = int(arguments.run(arguments))
        sys.stdout.flush()
    except KerasCnnsError as error:
        line = " ".join(str(error).split())
        print(f"keras-cnns: {line}", file=sys.stderr)
        return USER_MISTAKE
    except KeyboardInterrupt:
        print("keras-cnns: interrupted; what is finished is kept, and --resume goes on.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        discard_output()
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        discard_output()
        print(f"keras-cnns: {error.filename or 'the output'} cannot be written: {error.strerror}.", file=sys.stderr)
        return USER_MISTAKE
    return code


def discard_output() -> None:
    """Let nothing more be written where it cannot be, not even at the end of the process."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
