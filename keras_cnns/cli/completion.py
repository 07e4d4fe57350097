"""`keras-cnns completion`: print the script with which a shell completes commands, and complete them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_cnns.cli.arguments import SOURCES

if TYPE_CHECKING:
    import argparse

    from keras_cnns.cli.command_parser import Parser

PROGRAM = "keras-cnns"


def run(arguments: argparse.Namespace) -> None:
    """Print the script of a shell."""
    from argcomplete.shell_integration import shellcode  # noqa: PLC0415 - only needed here

    print(shellcode([PROGRAM], shell=arguments.shell).strip())


def complete(parser: Parser) -> None:
    """Answer the script of a shell, which asks for completions, and exit."""
    from argcomplete import autocomplete  # noqa: PLC0415 - only imported when a shell asks

    for command in parser.commands().values():
        for action in command._actions:  # noqa: SLF001 - argparse has no public name for them
            action.help = action.help and action.help.replace(f": {SOURCES}", "")  # the list imports NumPy
    autocomplete(parser)
