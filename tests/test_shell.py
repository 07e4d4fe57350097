"""The command line in a shell: examples, completion, and commands that can be pasted."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from keras_cnns import list_models
from keras_cnns.cli import main, make_parser
from keras_cnns.cli.next_steps import command, show_in_mlflow, tracking_option

COMMANDS = make_parser().commands()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_ends_with_examples_that_are_valid(name: str) -> None:
    parser = COMMANDS[name]
    shown = parser.format_help().partition("\nexamples:\n")[2].splitlines()
    assert shown == [f"  {example}" for example in parser.examples]
    assert len(shown) >= 2
    for example in parser.examples:
        program, *arguments = shlex.split(example)
        if ">" in arguments:
            del arguments[arguments.index(">") :]
        assert program == "keras-cnns"
        assert make_parser().parse_args(arguments).command == name


@pytest.fixture
def bash(tmp_path: Path) -> str:
    """A path on which bash finds this keras-cnns."""
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    script = tmp_path / "keras-cnns"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m keras_cnns "$@"\n')
    script.chmod(0o755)
    return f"{tmp_path}{os.pathsep}{os.environ['PATH']}"


COMPLETE = """
eval "$(keras-cnns completion bash)"
complete -p keras-cnns > /dev/null || exit 1
for COMP_LINE in "$@"; do
    COMP_POINT=${#COMP_LINE} COMP_TYPE=9 COMPREPLY=()
    _python_argcomplete keras-cnns
    echo "${COMPREPLY[@]}"
done
"""


def test_bash_completes_commands_networks_settings_and_values(bash: str) -> None:
    lines = {
        "keras-cnns comp": {"compare", "completion"},
        "keras-cnns train lenet5-1": {"lenet5-1998", "lenet5-1998-softmax"},
        "keras-cnns train keras:DenseNet2": {"DenseNet201"},
        "keras-cnns sweep vgg-": {"vgg-small"},
        "keras-cnns train lenet5 --set hid": {"hidden_width="},
        "keras-cnns train lenet5 --set lea": {"learning_rate="},
        "keras-cnns describe lenet5 --set lea": set[str](),
        "keras-cnns sweep lenet --set activation=ta": {"tanh"},
        "keras-cnns sweep all --set growth": {"growth_rate="},
        "keras-cnns sweep densen": {"densenet", *list_models("densen*")},
        "keras-cnns evaluate --conf": {"--confidence-level"},
    }
    environment = {**os.environ, "PATH": bash, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        ["bash", "-c", COMPLETE, "bash", *lines], capture_output=True, text=True, check=True, env=environment
    )
    found = [set(line.split()) for line in done.stdout.splitlines()]
    assert dict(zip(lines, found, strict=True)) == lines


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "keras-cnns" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def call_as(monkeypatch: pytest.MonkeyPatch, script: Path, path: Path) -> None:
    script.parent.mkdir(parents=True, exist_ok=True)
    script.touch(mode=0o755)
    script.with_name("mlflow").touch(mode=0o755)
    monkeypatch.setattr(sys, "argv", [str(script)])
    monkeypatch.setenv("PATH", str(path))


def test_next_commands_have_the_path_of_the_environment_unless_it_is_on_the_search_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    script, uri = Path(".venv/bin/keras-cnns"), "sqlite:////home/you/my runs/mlflow.db"
    call_as(monkeypatch, script, tmp_path)
    store = tracking_option(Namespace(tracking_uri=uri))
    assert command("compare", "my runs", *store) == f".venv/bin/keras-cnns compare 'my runs' --tracking-uri '{uri}'"
    assert show_in_mlflow(uri, "f00d", "the best network") == (
        f".venv/bin/mlflow ui --backend-store-uri '{uri}'    # the best network is run f00d"
    )
    monkeypatch.setenv("PATH", str(tmp_path / script.parent))
    assert command("compare") == "keras-cnns compare"
    other = tmp_path / "my environment/bin/keras-cnns"
    call_as(monkeypatch, other, tmp_path / script.parent)
    assert command("compare") == f"'{other}' compare", "another environment is on the search path"
    monkeypatch.setattr(sys, "argv", ["/somewhere/keras_cnns/__main__.py"])
    assert command("compare") == f"{shlex.quote(sys.executable)} -m keras_cnns compare"


def test_next_commands_have_the_page_of_the_run_on_a_server() -> None:
    page = "http://mlflow.example:5000/#/runs/f00d    # the network"
    assert show_in_mlflow("http://mlflow.example:5000", "f00d", "the network") == page
