"""The command line: `parsers` reads the arguments; the module of each command calls the library and prints."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from keras_cnns.cli.command_parser import USER_ERROR
from keras_cnns.cli.completion import complete
from keras_cnns.cli.parsers import make_parser
from keras_cnns.errors import KerasCnnsError
from keras_cnns.lazy import missing_packages_in_one_line
from keras_cnns.plugins import PluginWarning

INTERRUPTED = 130

__all__ = ["main", "make_parser"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit code: 0, or that of the command, such as 1 if a run is not reproduced; 2 for a user's mistake, which is
        reported in one line; 130 after Ctrl-C; 1 if the output is a pipe that was closed.
    """
    try:
        with plugin_warnings_in_one_line():
            parser = make_parser()
            if "_ARGCOMPLETE" in os.environ:
                complete(parser)
            arguments = parser.parse_args(argv)
            with missing_packages_in_one_line(f"the command {arguments.command}"):
                command = importlib.import_module(f"keras_cnns.cli.{arguments.command}")
                code = command.run(arguments)
        sys.stdout.flush()
    except KerasCnnsError as error:
        return report_error(" ".join(str(error).split()))
    except KeyboardInterrupt:
        hint = " Completed work is saved; add --resume to continue." if hasattr(arguments, "resume") else ""
        print(f"keras-cnns: interrupted.{hint}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        discard_output()
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        discard_output()
        return report_error(f"{error.filename or 'the output'} cannot be written: {error.strerror}.")
    return code or 0


@contextmanager
def plugin_warnings_in_one_line() -> Iterator[None]:
    """Print warnings about plugins without the line of code that causes them."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_in_one_line(message: Warning | str, category: type[Warning], *arguments: Any, **more: Any) -> None:
            if issubclass(category, PluginWarning):
                print(f"keras-cnns: warning: {' '.join(str(message).split())}", file=sys.stderr)
            else:
                show(message, category, *arguments, **more)

        warnings.showwarning = show_in_one_line
        yield


def report_error(message: str) -> int:
    """Print a one-line error message and return the exit code."""
    print(f"keras-cnns: {message}", file=sys.stderr)
    return USER_ERROR


def discard_output() -> None:
    """Redirect standard output to the null device, so that flushing it at exit does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
