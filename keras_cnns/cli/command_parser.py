"""The parser of a command: it reports a mistake in one line, and its help ends with examples."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, NoReturn

from keras_cnns.cli.arguments import SOURCES, list_sources
from keras_cnns.cli.examples import EXAMPLES

USER_ERROR = 2


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a mistake in one line, with examples of its command."""

    examples: tuple[str, ...] = ()

    def format_help(self) -> str:
        """Return the help text, with the kinds of sources and the examples."""
        for action in self._actions:
            if action.help and SOURCES in action.help:
                action.help = action.help.replace(SOURCES, list_sources())
        examples = "".join(f"  {example}\n" for example in self.examples)
        return super().format_help() + (f"\nexamples:\n{examples}" if examples else "")

    def commands(self) -> dict[str, Parser]:
        """Return the parsers of the commands by name."""
        return next(action.choices for action in self._actions if isinstance(action, argparse._SubParsersAction))  # noqa: SLF001

    def error(self, message: str) -> NoReturn:
        """Print the mistake and exit with code 2."""
        self.exit(USER_ERROR, f"{self.prog}: {message} (see {self.prog} --help)\n")


if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Parser]  # noqa: SLF001 - argparse has no public name for it


def add_command(commands: Commands, name: str, summary: str, details: str = "") -> Parser:
    """Add a command with a summary for the list of commands, and details and examples for its own help."""
    parser = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}. {details}")
    parser.examples = EXAMPLES[name]
    return parser
