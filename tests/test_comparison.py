from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from keras_cnns.cli import main
from keras_cnns.cli.compare import render
from keras_cnns.errors import KerasCnnsError
from keras_cnns.tracking import Run, RunDescription, Store
from keras_cnns.units import human
from tuning.comparison import Comparison, pareto_front
from tuning.plots import accuracy_against


def make_run(name: str, *, data: str = "digits", status: str = "finished", **metrics: float) -> Run:
    return Run(
        id=f"{data}-{name}",
        name=name,
        experiment="sweep",
        status=status,
        reason="TrainingError: the loss is nan" if status == "failed" else "",
        model="densenet121",
        family="densenet",
        settings={"growth_rate": "8", "stem": "cifar"},
        recipe={"learning_rate": "0.00123456", "epochs": "3"},
        metrics=metrics,
        seed=0,
        data_name=data,
        data_fingerprint=f"{data}-fingerprint",
        parent=None,
        tags={},
        started=datetime(2026, 11, 24, tzinfo=UTC),
    )


SMALL = make_run("small", val_accuracy=0.90, parameters=1_000, macs=9_000_000, seconds=5.0, epochs=3)
WORSE = make_run("worse", val_accuracy=0.85, parameters=2_000, macs=4_000_000, seconds=4.0, epochs=3)
LARGE = make_run("large", val_accuracy=0.95, parameters=3_000, macs=264_800_000, seconds=9.5, epochs=3)
FAILED = make_run("failed", status="failed", val_accuracy=0.99, parameters=10)
RUNNING = make_run("running", status="running", val_accuracy=0.99, parameters=10, epochs=1)
OTHER_DATA = make_run("other", data="mnist", val_accuracy=0.5, parameters=5_000)


def names(comparison: Comparison) -> list[str]:
    return [row.run.name for row in comparison.rows]


def marked(comparison: Comparison) -> set[str]:
    return {row.run.name for row in comparison.rows if row.pareto}


def printed(comparison: Comparison, width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(render(comparison))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def dominates(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] <= other[0] and one[1] >= other[1] and one != other


number = st.one_of(st.integers(0, 5).map(float), st.floats(allow_nan=True))


@given(st.lists(st.tuples(number, number)))
def test_the_front_is_what_nothing_dominates(points: list[tuple[float, float]]) -> None:
    valid = [index for index, point in enumerate(points) if not any(map(math.isnan, point))]
    expected = {i for i in valid if not any(dominates(points[j], points[i]) for j in valid)}
    front = pareto_front(points)
    assert set(front) == expected
    assert [points[index][0] for index in front] == sorted(points[index][0] for index in front)


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("val_accuracy", ["large", "small", "worse"]),
        ("parameters", ["small", "worse", "large"]),
        ("seconds", ["worse", "small", "large"]),
    ],
)
def test_the_best_comes_first(sort: str, expected: list[str]) -> None:
    assert names(Comparison([WORSE, SMALL, LARGE], sort=sort)) == expected


@pytest.mark.parametrize(
    ("against", "expected"), [("parameters", {"small", "large"}), ("macs", {"small", "worse", "large"})]
)
def test_marks_weigh_the_score_against_a_cost(against: str, expected: set[str]) -> None:
    assert marked(Comparison([SMALL, WORSE, LARGE], against=against)) == expected


def test_what_failed_or_still_runs_is_listed_and_never_marked() -> None:
    comparison = Comparison([FAILED, RUNNING, SMALL])
    assert names(comparison) == ["running", "small", "failed"]
    assert marked(comparison) == {"small"}
    assert comparison.notes == ["1 of 3 failed.", "1 of 3 not finished yet."]


def test_runs_on_other_images_are_ranked_apart() -> None:
    comparison = Comparison([WORSE, OTHER_DATA, LARGE])
    assert names(comparison) == ["large", "worse", "other"]
    assert marked(comparison) == {"large", "worse", "other"}
    assert comparison.notes == ["2 sets of images: runs are ranked and marked only among those on the same images."]
    assert names(comparison.first(1)) == ["large", "other"]
    assert comparison.first(1).notes[-1] == "Not shown: 1 more."


def test_images_of_one_name_are_told_apart() -> None:
    changed = replace(SMALL, data_fingerprint="0123456789")
    assert {row.data for row in Comparison([SMALL, changed]).rows} == {"digits digits", "digits 012345"}


def test_only_differences_are_shown() -> None:
    wide = replace(LARGE, settings={"growth_rate": "32", "stem": "cifar"})
    lenet = replace(WORSE, family="lenet", settings={"width": "1"}, seed=1)
    rows = {row.run.name: row.differences for row in Comparison([SMALL, wide, lenet]).rows}
    assert rows["small"] == {"growth_rate": "8", "seed": "0"}
    assert rows["worse"] == {"seed": "1"}


@pytest.mark.parametrize(
    ("options", "message"), [({"sort": "val_acuracy"}, "'val_accuracy'"), ({"against": "mac"}, "'macs'")]
)
def test_an_unknown_column_comes_with_a_suggestion(options: dict[str, str], message: str) -> None:
    with pytest.raises(KerasCnnsError, match=f"Did you mean .*{message}"):
        Comparison([SMALL], **options)


def test_programs_get_exact_numbers_and_nothing_that_json_lacks() -> None:
    broken = make_run("broken", val_accuracy=float("nan"), parameters=5)
    rows = json.loads(json.dumps(Comparison([LARGE, broken]).as_dicts(), allow_nan=False))
    assert [row["name"] for row in rows] == ["large", "broken"]
    assert (rows[0]["macs"], rows[0]["val_accuracy"], rows[0]["pareto"]) == (264_800_000, 0.95, True)
    assert (rows[1]["val_accuracy"], rows[1]["pareto"]) == (None, False)


def test_spreadsheets_get_a_column_for_each_setting() -> None:
    lenet = replace(WORSE, family="lenet", settings={"width": "1,2"})
    rows = list(csv.DictReader(io.StringIO(Comparison([SMALL, lenet]).to_csv())))
    assert (rows[0]["settings.growth_rate"], rows[0]["settings.width"]) == ("8", "")
    assert (rows[1]["settings.growth_rate"], rows[1]["settings.width"]) == ("", "1,2")
    assert rows[0]["recipe.learning_rate"] == "0.00123456"


def test_the_table_reads_without_colour_and_in_100_columns() -> None:
    fast = replace(LARGE, recipe={"learning_rate": "0.00765432", "epochs": "3"})
    text = printed(Comparison([SMALL, fast, FAILED, OTHER_DATA]))
    assert max(map(len, text.splitlines())) <= 100
    assert " *  large" in text
    assert "264.8M" in text
    assert "learning_rate=0.00765" in text
    assert "a higher val_accuracy takes more parameters" in text
    assert "failed: TrainingError: the loss is nan" in text


@pytest.mark.parametrize(
    ("value", "text"), [(812, "812"), (44_600, "44.6K"), (1_020_000, "1.02M"), (264.8e6, "264.8M")]
)
def test_large_numbers_are_short(value: float, text: str) -> None:
    assert human(value) == text


@pytest.mark.parametrize("runs", [[], [FAILED], [SMALL], [SMALL, WORSE, LARGE, OTHER_DATA]])
def test_a_picture_is_written_whole(tmp_path: Path, runs: list[Run]) -> None:
    accuracy_against(Comparison(runs), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_a_picture_can_weigh_another_cost(tmp_path: Path) -> None:
    comparison = Comparison([SMALL, WORSE, LARGE])
    accuracy_against(comparison, tmp_path / "default.png")
    accuracy_against(comparison, tmp_path / "macs.png", cost="macs")
    assert (tmp_path / "default.png").read_bytes() != (tmp_path / "macs.png").read_bytes()


@pytest.mark.parametrize("name", ["nowhere/picture.png", "picture.docx"])
def test_a_picture_that_cannot_be_written_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(KerasCnnsError, match=name):
        accuracy_against(Comparison([SMALL]), tmp_path / name)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db")
    for number, growth_rate in enumerate((8, 12), start=1):
        description = RunDescription(
            name=f"trial-{number:04d}",
            model="densenet121",
            family="densenet",
            settings={"growth_rate": growth_rate},
            recipe={"epochs": 1},
            seed=0,
            data_name="digits",
            data_fingerprint="f00d",
            parameters=1000 * number,
            macs=5000 * number,
        )
        run_id = store.start(description, experiment="sweep")
        store.record(run_id, 1, {"val_accuracy": 0.5 + number / 10, "seconds": 1.0})
        store.finish(run_id)
    return store.uri


def test_the_command_prints_a_table(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "sweep", "--tracking-uri", uri, "--limit", "1"]) == 0
    out, err = capsys.readouterr()
    assert "trial-0002" in out
    assert "trial-0001" not in out
    assert "Not shown: 1 more." in out
    assert not err


def test_the_command_prints_json_and_csv_alone(uri: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    assert main(["compare", "--tracking-uri", uri, "--json", "--plot", str(picture), "--against", "macs"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["val_accuracy"], row["macs"]) for row in rows] == [
        ("trial-0002", 0.7, 10_000),
        ("trial-0001", 0.6, 5_000),
    ]
    assert picture.exists()
    assert main(["compare", "--tracking-uri", uri, "--csv"]) == 0
    assert len(list(csv.DictReader(io.StringIO(capsys.readouterr().out)))) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweeep"], "Did you mean 'sweep'"),
        (["Default"], "keras-cnns train"),
        (["--sort", "accuracyy"], "Did you mean"),
        (["--limit", "0"], "--limit 0"),
        (["--plot", "/nowhere/picture.png"], "/nowhere/picture.png"),
    ],
)
def test_the_commands_mistakes_are_one_line(
    uri: str, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["compare", *arguments, "--tracking-uri", uri]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert message in err
    assert err.count("\n") == 1
