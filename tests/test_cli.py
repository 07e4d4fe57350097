"""The command line: a mistake is reported in one line with exit code 2, and changes no file."""

from __future__ import annotations

import importlib
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_cnns.cli import main, make_parser

IMAGES = np.random.default_rng(0).integers(0, 255, (20, 28, 28), np.uint8)
LABELS = np.arange(20) % 2
SWEEP = ("sweep", "densenet")
TRAIN = ("train", "densenet-bc-40")
COMMANDS = make_parser().commands()


def make_files() -> None:
    """Write files that a user may specify by mistake into the working folder."""
    np.savez("good.npz", train_images=IMAGES, train_labels=LABELS)
    np.savez("one_class.npz", train_images=IMAGES, train_labels=LABELS * 0)
    np.savez("negative.npz", train_images=IMAGES, train_labels=np.arange(20) % 3 - 1)
    np.savez("beyond.npz", train_images=IMAGES, train_labels=LABELS, val_images=IMAGES, val_labels=LABELS + 7)
    np.savez("pickled.npz", train_images=IMAGES, train_labels=np.array([object()] * 20))
    Path("truncated.npz").write_bytes(Path("good.npz").read_bytes()[:-200])
    Path("text.npz").write_text("not an archive of images")
    for name in ("cat", "dog"):
        Path("photos", name).mkdir(parents=True)
        for number in range(6):
            Image.fromarray(IMAGES[number]).save(Path("photos", name, f"{number}.png"))
    Path("photos/dog/3.png").write_bytes(b"\x89PNG\r\n")
    Path("file").write_text("a file, not a folder")
    Path("notes.db").write_text("notes in a file that happens to end in .db")
    with sqlite3.connect("other.db") as connection:
        connection.execute("CREATE TABLE patients (name TEXT)")


def read_files() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def change_to_a_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("train", "resnet-cifar-21"), ["resnet-cifar-21", "resnet-cifar-20"]),
        (("sweep", "densenets"), ["densenets", "densenet"]),
        (("models", "vgg17*"), ["vgg17*", "keras-cnns models"]),
        ((*TRAIN, "--set", "growth_rate=0"), ["growth_rate", "1"]),
        ((*TRAIN, "--set", "growth_rate=many"), ["growth_rate", "whole number"]),
        ((*TRAIN, "--set", "growth=8"), ["growth", "growth_rate"]),
        ((*TRAIN, "--set", "optimiser=sgd"), ["optimiser", "'optimizer'"]),
        ((*TRAIN, "--set", "zzz=1"), ["zzz", "growth_rate", "learning_rate"]),
        ((*TRAIN, "--set", "growth_rate"), ["NAME=VALUE"]),
        ((*TRAIN, "--set", "compression=1.5"), ["compression", "1"]),
        ((*TRAIN, "--epochs", "0"), ["epochs", "1"]),
        ((*TRAIN, "--epochs", "ten"), ["--epochs", "ten", "whole number"]),
        ((*TRAIN, "--batch-size", "0"), ["batch_size", "1"]),
        ((*TRAIN, "--seed", "-1"), ["seed", "-1", "0"]),
        ((*SWEEP, "--seed", "-1"), ["seed", "-1", "0"]),
        ((*SWEEP, "--trials", "0"), ["trials", "1"]),
        ((*SWEEP, "--cores", "0"), ["cores", "1"]),
        ((*SWEEP, "--scheduler", "ahsa"), ["scheduler", "asha"]),
        (("train", "lenet5"), ["8x8", "28", "--image-size 28"]),
        (("sweep", "lenet"), ["8", "--image-size"]),
        ((*TRAIN, "--image-size", "0"), ["image", "1"]),
        ((*TRAIN, "--channels", "2"), ["--channels", "1", "3"]),
        ((*TRAIN, "--data", "nowhere.npz"), ["nowhere.npz", "does not exist"]),
        ((*TRAIN, "--data", "file"), ["file", "npz"]),
        ((*TRAIN, "--data", "truncated.npz"), ["truncated.npz", "broken"]),
        ((*TRAIN, "--data", "text.npz"), ["text.npz"]),
        ((*TRAIN, "--data", "pickled.npz"), ["pickled.npz", "never loaded"]),
        ((*TRAIN, "--data", "one_class.npz"), ["one_class.npz", "one class", "two"]),
        ((*TRAIN, "--data", "negative.npz"), ["negative.npz", "-1", "out of range", "0"]),
        ((*TRAIN, "--data", "beyond.npz"), ["beyond.npz", "validation", "7", "out of range"]),
        ((*TRAIN, "--data", "photos"), ["3.png"]),
        ((*TRAIN, "--test"), ["digits", "no test split"]),
        ((*TRAIN, "--resume"), ["nothing to resume", "runs"]),
        ((*SWEEP, "--resume"), ["nothing to resume", "runs"]),
        ((*TRAIN, "--folder", "file/runs"), ["file/runs", "--folder"]),
        ((*SWEEP, "--folder", "file/runs"), ["file/runs", "--folder"]),
        ((*TRAIN, "--tracking-uri", "sqlite:///file/mlflow.db"), ["file/mlflow.db", "sqlite:///"]),
        ((*SWEEP, "--tracking-uri", "sqlite:///file/mlflow.db"), ["file/mlflow.db", "sqlite:///"]),
        ((*TRAIN, "--tracking-uri", "sqlite:///notes.db"), ["notes.db", "not a database", "another file"]),
        ((*SWEEP, "--tracking-uri", "sqlite:///other.db"), ["other.db", "another program", "another file"]),
        ((*TRAIN, "--tracking-uri", "http://127.0.0.1:9"), ["127.0.0.1:9", "mlflow server"]),
        ((*TRAIN, "--tracking-uri", "postgresql://host/db"), ["postgresql", "sqlite:///"]),
        ((*SWEEP, "--plot", "nowhere/plot.png"), ["nowhere", "plot.png"]),
        ((*SWEEP, "--plot", "plot.txt"), ["plot.txt", ".png"]),
        (("compare",), ["mlflow.db", "keras-cnns train"]),
        (("compare", "--tracking-uri", "sqlite:///other.db"), ["other.db", "another program"]),
        (("compare", "--limit", "0"), ["--limit", "'0'", "1 or more"]),
        (("compare", "--cost", "price"), ["--cost", "parameters"]),
        (("compere",), ["compere", "compare"]),
        ((), ["COMMAND"]),
    ],
)
def test_a_mistake_is_reported_in_one_line_and_changes_no_file(
    arguments: tuple[str, ...], parts: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    make_files()
    before = read_files()
    try:
        code = main(arguments)
    except SystemExit as exit_:  # raised by argparse
        code = exit_.code
    out, err = capfd.readouterr()
    assert code == 2
    assert out == ""
    assert err.startswith("keras-cnns")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    for part in parts:
        assert part in err
    after = read_files()
    assert {name: after.get(name) for name in before} == before
    assert not {name for name in after if name.startswith("runs")}


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "keras_cnns", *arguments], capture_output=True, text=True, check=False)


def test_a_mistake_found_after_loading_the_backend_is_reported_in_one_line(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main(("train", "lenet5", "--epochs", "1")) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1


@pytest.mark.slow
def test_train_prints_the_result_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("good.npz", train_images=IMAGES, train_labels=LABELS)
    arguments = ("train", "lenet5", "--data", "good.npz", "--epochs", "2", "--batch-size", "8")
    done = run_command(*arguments)
    assert done.returncode == 0
    printed = [line.partition(":")[0] for line in done.stderr.splitlines()]
    assert [line for line in printed if line.startswith("epoch")] == ["epoch 1/2", "epoch 2/2"]
    assert len(printed) <= 3, "nothing of TensorFlow or MLflow, and a message only on a slow machine"
    assert "No test split" in done.stdout
    assert " -m keras_cnns compare train\n" in done.stdout.partition("next:\n")[2]
    assert main((*arguments, "--seed", "1", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert Path(found["model"]).is_file()
    assert found["parameters"] == 61_706 - 84 * 10 - 10 + 84 * 2 + 2
    assert main(("compare", "train", "--json", "--plot", "runs.png")) == 0
    assert [found["run_id"] in row["ids"] for row in json.loads(capsys.readouterr().out)] == [True]
    assert Path("runs.png").read_bytes().startswith(b"\x89PNG")
    assert main(("compare",)) == 0
    assert "(×2)" in capsys.readouterr().out, "both seeds share a row"


def test_models_are_listed_by_pattern(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("models", "lenet5*", "--json")) == 0
    assert set(json.loads(capsys.readouterr().out)) >= {"lenet5", "lenet5-1998"}


def test_a_closed_pipe_prints_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "keras_cnns", "models"], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system does not have /dev/full")
def test_a_full_disk_is_reported_in_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "keras_cnns", "models"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr == "keras-cnns: the output cannot be written: No space left on device.\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_module(name: str) -> None:
    assert callable(importlib.import_module(f"keras_cnns.cli.{name}").run)


@pytest.mark.parametrize(
    ("name", "hint"), [("train", " Completed work is saved; add --resume to continue."), ("describe", "")]
)
def test_the_message_of_an_interrupted_command_mentions_resume_where_it_is_an_option(
    name: str, hint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"keras_cnns.cli.{name}.run", interrupt)
    assert main((name, "lenet5")) == 130
    assert capsys.readouterr().err == f"keras-cnns: interrupted.{hint}\n"


@pytest.mark.parametrize(
    "arguments", [("train", "lenet5", "--set", "hidden_width=0"), ("profile", "lenet5", "--image-size", "8")]
)
def test_a_mistake_in_a_setting_is_reported_before_the_backend_is_loaded(arguments: tuple[str, ...]) -> None:
    code = f"import sys; from keras_cnns.cli import main; print(main({arguments}), 'keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2 False\n"
