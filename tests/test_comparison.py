from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

from keras_cnns.cli import main
from keras_cnns.cli.compare import render
from keras_cnns.comparing.comparison import COSTS, Comparison, pareto_front
from keras_cnns.comparing.filtering import filter_runs
from keras_cnns.comparing.page.tables import make_tables
from keras_cnns.comparing.pareto_plots import pareto_figure
from keras_cnns.errors import KerasCnnsError, SettingError
from keras_cnns.plotting import save
from keras_cnns.tracking import Run, RunDescription, Store, Stores
from keras_cnns.units import format_number


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


def run_names(comparison: Comparison) -> list[str]:
    return [row.run.name for row in comparison.rows]


def pareto_names(comparison: Comparison) -> set[str]:
    return {row.run.name for row in comparison.rows if row.pareto}


def print_to_text(comparison: Comparison, width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(render(comparison))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def dominates(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] <= other[0] and one[1] >= other[1] and one != other


number = st.one_of(st.integers(0, 5).map(float), st.floats(allow_nan=True))


@given(st.lists(st.tuples(number, number)))
def test_the_pareto_front_is_the_set_of_non_dominated_points(points: list[tuple[float, float]]) -> None:
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
def test_rows_are_sorted_with_the_best_first(sort: str, expected: list[str]) -> None:
    assert run_names(Comparison([WORSE, SMALL, LARGE], sort=sort)) == expected


@pytest.mark.parametrize(
    ("cost", "expected"), [("parameters", {"small", "large"}), ("macs", {"small", "worse", "large"})]
)
def test_the_pareto_front_depends_on_the_cost(cost: str, expected: set[str]) -> None:
    assert pareto_names(Comparison([SMALL, WORSE, LARGE], cost=cost)) == expected


def test_a_comparison_shows_its_first_rows_and_their_settings() -> None:
    comparison = Comparison([WORSE, SMALL, LARGE, FAILED] + [make_run(f"more-{number}") for number in range(8)])
    shown, html = repr(comparison), comparison._repr_html_()
    for part in ("12 runs on", "validation accuracy", "and 2 more", "Pareto front", "Failed: 1 of 12 runs."):
        assert part in shown
        assert part in html


def test_failed_and_running_runs_are_listed_but_never_on_the_front() -> None:
    comparison = Comparison([FAILED, RUNNING, SMALL])
    assert run_names(comparison) == ["running", "small", "failed"]
    assert pareto_names(comparison) == {"small"}
    assert comparison.notes == ["Failed: 1 of 3 runs.", "Not finished yet: 1 of 3 runs."]


def test_runs_on_different_images_are_ranked_separately() -> None:
    comparison = Comparison([WORSE, OTHER_DATA, LARGE])
    assert run_names(comparison) == ["large", "worse", "other"]
    assert pareto_names(comparison) == {"large", "worse", "other"}
    assert comparison.notes == ["2 datasets: runs are ranked and marked only among runs on the same dataset."]
    assert run_names(comparison.head(1)) == ["large", "other"]
    assert comparison.head(1).notes[-1] == "Not shown: 1 more row."


def test_images_with_the_same_name_are_labelled_with_their_fingerprint() -> None:
    changed = replace(SMALL, data_fingerprint="0123456789")
    assert {row.data for row in Comparison([SMALL, changed]).rows} == {"digits digits", "digits 012345"}


def test_a_row_has_only_the_settings_that_differ() -> None:
    wide = replace(LARGE, settings={"growth_rate": "32", "stem": "cifar"})
    lenet = replace(WORSE, family="lenet", settings={"width": "1"}, seed=1)
    rows = {row.run.name: row.differences for row in Comparison([SMALL, wide, lenet]).rows}
    assert rows["small"] == {"growth_rate": "8", "seed": "0"}
    assert rows["worse"] == {"seed": "1"}


@pytest.mark.parametrize(
    ("column", "value"),
    [("macs", 9_000_000), ("epochs", 3.0), ("growth_rate", "8"), ("learning_rate", "0.00123456"), ("seed", "0"),
     ("data", "digits"), ("status", "finished"), ("nothing", None)],
)  # fmt: skip
def test_a_cell_is_a_metric_a_setting_a_recipe_field_or_a_field_of_the_run(column: str, value: object) -> None:
    comparison = Comparison([SMALL])
    assert comparison.rows[0].cell(column) == value
    assert (column in comparison.column_names()) == (value is not None)


@pytest.mark.parametrize(
    ("options", "message"), [({"sort": "val_acuracy"}, "'val_accuracy'"), ({"cost": "mac"}, "'macs'")]
)
def test_an_unknown_column_is_rejected_with_a_suggestion(options: dict[str, str], message: str) -> None:
    with pytest.raises(KerasCnnsError, match=f"Did you mean .*{message}"):
        Comparison([SMALL], **options)


def test_the_json_output_has_exact_numbers_and_no_nan() -> None:
    broken = make_run("broken", val_accuracy=float("nan"), parameters=5)
    rows = json.loads(json.dumps(Comparison([LARGE, broken]).as_dicts(), allow_nan=False))
    assert [row["name"] for row in rows] == ["large", "broken"]
    assert (rows[0]["macs"], rows[0]["val_accuracy"], rows[0]["pareto"]) == (264_800_000, 0.95, True)
    assert (rows[1]["val_accuracy"], rows[1]["pareto"]) == (None, False)


def test_the_csv_output_has_a_column_for_each_setting() -> None:
    lenet = replace(WORSE, family="lenet", settings={"width": "1,2"})
    rows = list(csv.DictReader(io.StringIO(Comparison([SMALL, lenet]).to_csv())))
    assert (rows[0]["settings.growth_rate"], rows[0]["settings.width"]) == ("8", "")
    assert (rows[1]["settings.growth_rate"], rows[1]["settings.width"]) == ("", "1,2")
    assert rows[0]["recipe.learning_rate"] == "0.00123456"


def test_the_table_is_readable_without_colour_in_100_columns() -> None:
    fast = replace(LARGE, recipe={"learning_rate": "0.00765432", "epochs": "3"})
    text = print_to_text(Comparison([SMALL, fast, FAILED, OTHER_DATA]))
    assert max(map(len, text.splitlines())) <= 100
    assert " *  large" in text
    assert "264.8M" in text
    assert "learning_rate=0.00765" in text
    assert "Pareto front (val_accuracy, parameters): no other run is both cheaper and better." in text
    assert "failed: TrainingError: the loss is nan" in text


@pytest.mark.parametrize(
    ("value", "text"), [(812, "812"), (44_600, "44.6K"), (1_020_000, "1.02M"), (264.8e6, "264.8M")]
)
def test_large_numbers_are_abbreviated(value: float, text: str) -> None:
    assert format_number(value) == text


@pytest.mark.parametrize("runs", [[], [FAILED], [SMALL], [SMALL, WORSE, LARGE, OTHER_DATA]])
def test_a_plot_is_written_atomically(tmp_path: Path, runs: list[Run]) -> None:
    save(pareto_figure(Comparison(runs)), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["plot.png"]


def test_a_plot_can_show_another_cost(tmp_path: Path) -> None:
    comparison = Comparison([SMALL, WORSE, LARGE])
    save(pareto_figure(comparison), tmp_path / "default.png")
    save(pareto_figure(comparison.with_cost("macs")), tmp_path / "macs.png")
    assert (tmp_path / "default.png").read_bytes() != (tmp_path / "macs.png").read_bytes()


@pytest.mark.parametrize("name", ["nowhere/plot.png", "plot.docx"])
def test_a_plot_that_cannot_be_written_raises_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(KerasCnnsError, match=name):
        save(pareto_figure(Comparison([SMALL])), tmp_path / name)


def make_seeds(
    name: str, scores: list[float], *, growth_rate: str = "8", role: str = "repeat", first: int = 0
) -> list[Run]:
    return [
        replace(
            make_run(f"{name}-{seed}", val_accuracy=score, parameters=1_000, macs=1, seconds=2.0 + seed),
            seed=seed,
            settings={"growth_rate": growth_rate, "stem": "cifar"},
            tags={"role": role},
        )
        for seed, score in enumerate(scores, start=first)
    ]


SCORES = st.lists(st.floats(0, 1, allow_nan=False), min_size=2, max_size=6)


@given(SCORES, SCORES)
def test_runs_that_differ_only_in_the_seed_share_a_row_with_the_statistics_of_pandas_and_scipy(
    narrow: list[float], wide: list[float]
) -> None:
    runs = [*make_seeds("narrow", narrow), *make_seeds("wide", wide, growth_rate="12")]
    comparison = Comparison([*runs, FAILED])
    table = pd.DataFrame([
        {"growth_rate": run.settings["growth_rate"], "score": run.metrics["val_accuracy"]} for run in runs
    ])  # fmt: skip
    expected = table.groupby("growth_rate")["score"].agg(["mean", "count", "sem"])
    rows = {row.run.settings["growth_rate"]: row for row in comparison.rows if row.run.status == "finished"}
    assert rows.keys() == set(expected.index)
    for growth_rate, mean, count, sem in expected.itertuples():
        row = rows[growth_rate]
        assert (row.value("val_accuracy"), len(row.runs)) == (pytest.approx(mean), count)
        assert "seed" not in row.differences
        low, high = row.interval("val_accuracy") or (math.nan, math.nan)
        margin = stats.t.ppf(0.975, count - 1) * sem
        assert (low, high) == (pytest.approx(max(0, mean - margin)), pytest.approx(min(1, mean + margin)))
    shared = min(len(narrow), len(wide))
    first, second = (row for row in comparison.rows if row.run.status == "finished")
    differences = np.subtract(
        *([row.values_by_seed("val_accuracy")[seed] for seed in range(shared)] for row in (first, second))
    )
    assert first.p is None
    if np.ptp(differences) > 1e-9:
        assert second.p == pytest.approx(stats.ttest_rel(differences, np.zeros(shared)).pvalue)


def test_a_mean_over_some_of_the_runs_of_a_row_says_how_many_have_the_metric() -> None:
    one, *others = make_seeds("net", [0.9, 0.91, 0.92])
    evaluated = replace(one, metrics={**one.metrics, "test_auc": 0.8})
    (row,) = (comparison := Comparison([evaluated, *others], sort="test_auc")).rows
    assert (row.partial("test_auc"), row.partial("val_accuracy")) == ("1 of 3 runs", "")
    assert "1 of 3 runs" in print_to_text(comparison)
    (table,) = make_tables(comparison, lambda _: "")
    assert ["0.8000 1 of 3 runs", 0.8] in table["rows"][0]["cells"]


def test_p_values_are_corrected_for_the_number_of_tested_rows() -> None:
    columns = {"8": [0.9, 0.91, 0.93, 0.92], "12": [0.8, 0.85, 0.83, 0.84], "16": [0.89, 0.92, 0.9, 0.91]}
    runs = [run for rate, scores in columns.items() for run in make_seeds(f"r{rate}", scores, growth_rate=rate)]
    rows = {row.run.settings["growth_rate"]: row.p for row in Comparison(runs).rows}
    single = {rate: stats.ttest_rel(columns["8"], columns[rate]).pvalue for rate in ("12", "16")}
    assert rows == {"8": None, "12": pytest.approx(2 * single["12"]), "16": pytest.approx(single["16"])}


def test_a_searched_trial_does_not_share_a_row_with_its_repeats_and_no_run_is_lost() -> None:
    searched, repeats = make_seeds("searched", [0.99], role="search"), make_seeds("repeat", [0.9, 0.92], first=1)
    again = replace(repeats[0], id="again")
    alone = replace(repeats[0], id="stopped", tags={"role": "repeat", "stopped_early": "true"})
    rows = Comparison([*searched, *repeats, again, alone]).rows
    assert sorted(len(row.runs) for row in rows) == [1, 1, 1, 2]
    assert sum(len(row.runs) for row in rows) == 5
    assert len(Comparison([*searched, *repeats], per_run=True).rows) == 3


def test_the_json_and_csv_output_have_the_runs_of_a_row_and_its_intervals() -> None:
    (row,) = Comparison(make_seeds("run", [0.9, 0.92, 0.94])).as_dicts()
    assert (row["runs"], row["seeds"], len(row["ids"])) == (3, [0, 1, 2], 3)
    assert row["val_accuracy"] == pytest.approx(0.92)
    low, high = row["intervals"]["val_accuracy"]
    assert low < 0.92 < high
    csv_row = next(csv.DictReader(io.StringIO(Comparison(make_seeds("run", [0.9, 0.92])).to_csv())))
    assert (csv_row["seeds"], csv_row["runs"]) == ("0 1", "2")
    assert float(csv_row["val_accuracy_low"]) < 0.91


def test_the_table_shows_means_and_their_margins_of_error() -> None:
    runs = [*make_seeds("narrow", [0.9, 0.92, 0.91]), *make_seeds("wide", [0.8, 0.86, 0.84], growth_rate="12")]
    text = print_to_text(Comparison(runs))
    assert max(map(len, text.splitlines())) <= 100
    assert "narrow-0 (×3)" in text
    assert "0.9100 ±0.0248" in text
    assert "6 runs of densenet121" in text
    assert "paired t-test of val_accuracy" in text


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("parameters < 2500 and family == 'densenet'", {"small", "worse", "failed", "running"}),
        ("growth_rate == 8 and seconds > 4.5", {"small", "large"}),
        ("`recipe.epochs` == 3 and status == 'failed'", {"failed"}),
        ("name.str.startswith('wo')", {"worse"}),
        ("val_accuracy > 0.97 or data == 'mnist'", {"failed", "running", "other"}),
    ],
)
def test_a_condition_selects_runs(condition: str, expected: set[str]) -> None:
    everything = [SMALL, WORSE, LARGE, FAILED, RUNNING, OTHER_DATA]
    assert {run.name for run in filter_runs(everything, condition)} == expected


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("parameter < 3", "no run has 'parameter'. Did you mean 'parameters'"),
        ("parameters <", "write for example"),
        ("parameters", "write for example"),
        ("name < 3", "write for example"),
        ("@pd.io", "only columns"),
        ("name.__class__ == 3", "only columns"),
    ],
)
def test_an_invalid_condition_raises_an_error_of_one_line(condition: str, message: str) -> None:
    with pytest.raises(SettingError, match=re.escape(message)) as caught:
        filter_runs([SMALL, LARGE], condition)
    assert "\n" not in str(caught.value)


DESCRIPTION = RunDescription(
    name="trial-0001", model="densenet121", family="densenet", settings={"growth_rate": 8}, recipe={"epochs": 1},
    seed=0, data_name="digits", data_fingerprint="f00d", parameters=1000, macs=5000,
)  # fmt: skip


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db")
    second = replace(DESCRIPTION, name="trial-0002", settings={"growth_rate": 12}, parameters=2000, macs=10_000)
    for number, description in enumerate((DESCRIPTION, second), start=1):
        run_id = store.start(description, experiment="sweep")
        store.record(run_id, 1, {"val_accuracy": 0.5 + number / 10, "seconds": 1.0})
        store.finish(run_id)
    return store.uri


@pytest.mark.parametrize("cost", COSTS)
def test_changing_the_cost_gives_the_same_rows_as_a_new_comparison(uri: str, cost: str) -> None:
    runs = [*Store(uri).runs(), make_run("a", val_accuracy=0.6, parameters=10, macs=90, seconds=3),
            make_run("b", val_accuracy=0.9, parameters=20, macs=5, seconds=9),
            make_run("c", status="failed", val_accuracy=0.9, parameters=1)]  # fmt: skip
    for sort in ("val_accuracy", "parameters"):
        direct = Comparison(runs, sort=sort, cost=cost)
        later = Comparison(runs, sort=sort).with_cost(cost)
        assert (later.rows, later.footnotes("*")) == (direct.rows, direct.footnotes("*"))
    with pytest.raises(SettingError, match="is not a cost"):
        direct.with_cost("money")


def test_the_command_prints_a_table(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "sweep", "--tracking-uri", uri, "--limit", "1"]) == 0
    out, err = capsys.readouterr()
    assert "trial-0002" in out
    assert "trial-0001" not in out
    assert "Not shown: 1 more row." in out
    assert not err


def test_the_command_prints_nothing_but_json_or_csv(
    uri: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plot = tmp_path / "plot.png"
    assert main(["compare", "--tracking-uri", uri, "--json", "--plot", str(plot), "--cost", "macs"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["val_accuracy"], row["macs"]) for row in rows] == [
        ("trial-0002", 0.7, 10_000),
        ("trial-0001", 0.6, 5_000),
    ]
    assert plot.exists()
    assert main(["compare", "--tracking-uri", uri, "--csv"]) == 0
    assert len(list(csv.DictReader(io.StringIO(capsys.readouterr().out)))) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweeep"], "Did you mean 'sweep'"),
        (["Default"], "keras-cnns train"),
        (["--sort", "accuracyy"], "Did you mean"),
        (["--plot", "/nowhere/plot.png"], "/nowhere/plot.png"),
        (["--where", "parameters > 1e9"], "none of 2 runs satisfies it"),
        (["--columns", "growth"], "Did you mean 'growth_rate'"),
        (["trial-0001", "trial-0003"], "trial-0003"),
        (["sweep", "trial-0001"], "no experiment 'trial-0001'"),
        (["trial-0001", "trial-0002", "--where", "macs > 1"], "--where applies to experiments"),
    ],
)
def test_a_usage_error_is_reported_in_one_line(
    uri: str, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["compare", *arguments, "--tracking-uri", uri]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert message in err
    assert err.count("\n") == 1


def test_several_stores_are_compared_together(
    uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is in both stores counts once; runs on an MLflow server have a URL."""
    shutil.copyfile(uri.removeprefix("sqlite:///"), tmp_path / "mlflow.db")
    other = Store(f"sqlite:///{tmp_path / 'mlflow.db'}")
    run_id = other.start(replace(DESCRIPTION, name="again", seed=1), experiment="later")
    other.record(run_id, 1, {"val_accuracy": 0.9, "seconds": 1.0})
    other.finish(run_id)
    assert main(["compare", "--tracking-uri", uri, "--tracking-uri", other.uri, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["runs"], row["val_accuracy"]) for row in rows] == [
        ("trial-0001", 2, pytest.approx(0.75)),
        ("trial-0002", 1, 0.7),
    ]
    assert main(["compare", "trial-0001", "again", "--tracking-uri", uri, "--tracking-uri", other.uri]) == 0
    assert re.search(r"seed +0 +1", capsys.readouterr().out)
    stores = Stores([Store(uri), other])
    runs = {run.name: run for run in stores.runs()}
    assert stores.store_of(runs["trial-0001"]).uri == uri
    assert stores.run_url(runs["again"]) == ""
    monkeypatch.setattr(other, "uri", "http://127.0.0.1:5000")
    assert stores.run_url(runs["again"]) == f"http://127.0.0.1:5000/#/runs/{run_id}"


def test_the_columns_can_be_selected(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--tracking-uri", uri, "--columns", "growth_rate,model,parameters"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()[2:]
    assert head.split() == ["run", "growth", "model", "params", "epochs"] or "growth" in head
    assert any("densenet121" in line and "12" in line for line in lines)


def test_the_differences_of_two_runs_are_listed(uri: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plot = tmp_path / "curves.png"
    assert main(["compare", "trial-0001", "trial-0002", "--tracking-uri", uri, "--plot", str(plot)]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"growth_rate +8 +12", out)
    assert re.search(r"val_accuracy +0\.6000 +0\.7000", out)
    assert "0.7000 in epoch 1 of 1" in out
    assert plot.exists()
    assert err == f"plot: {plot}\n"
    assert main(["compare", "trial-0001", "trial-0002", "--tracking-uri", uri, "--json"]) == 0
    found = {(each["section"], each["name"]): each["values"] for each in json.loads(capsys.readouterr().out)}
    assert found["setting", "growth_rate"] == ["8", "12"]
    assert ("run", "model") not in found
