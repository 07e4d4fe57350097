"""Search spaces: parsing of text, files and Python values, error messages, and limits."""

from __future__ import annotations

import importlib
import re
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_cnns import Recipe, count
from keras_cnns.cli import main
from keras_cnns.cli.sweep import read_space_file
from keras_cnns.comparing.comparison import Comparison
from keras_cnns.errors import SettingError
from keras_cnns.networks import families
from keras_cnns.networks.counting import Counts
from keras_cnns.networks.registry import all_families, all_variants
from keras_cnns.networks.settings import BOOLEAN, Choice, FloatRange, IntRange, NoneOr, TupleOf, format_value
from keras_cnns.tracking import RunDescription, Store
from tuning.candidates.ranges import find_bases, parse_domain, parse_space
from tuning.candidates.space import Candidate, Limits, Space, make_space

LINEAR, LOG = FloatRange(0.0, 1.0), FloatRange(1e-7, 10.0, log=True)
WHOLE, EVEN = IntRange(1, 512), IntRange(2, 64, step=2)
TUPLE = TupleOf(WHOLE)
ROUTES = Choice(("max", "average"))


@contextmanager
def add_family(name: str, text: str, folder: Path) -> Iterator[None]:
    """Add a family the way a user does, with a file, and remove it afterwards."""
    (folder / f"{name}.py").write_text(text, "utf-8")
    families.__path__.append(str(folder))
    try:
        for cached in (all_families, all_variants):
            cached.cache_clear()
        yield
    finally:
        families.__path__.remove(str(folder))
        sys.modules.pop(f"keras_cnns.networks.families.{name}", None)
        for cached in (all_families, all_variants):
            cached.cache_clear()


@pytest.mark.parametrize(
    ("value", "valid", "domain"),
    [
        ("8", WHOLE, Choice((8,))),
        ("8,16,8", WHOLE, Choice((8, 16))),
        ("8|16", WHOLE, Choice((8, 16))),
        ("none,2,4", NoneOr(WHOLE), Choice((None, 2, 4))),
        ("true,false", BOOLEAN, Choice((True, False))),
        ("max,average", ROUTES, Choice(("max", "average"))),
        ("2,2", TUPLE, Choice(((2, 2),))),
        ("2,2|3,3", TUPLE, Choice(((2, 2), (3, 3)))),
        ("none|2,2", NoneOr(TUPLE), Choice((None, (2, 2)))),
        ("4..24", WHOLE, IntRange(4, 24)),
        ("4..24..4", WHOLE, IntRange(4, 24, step=4)),
        ("4..26..4", WHOLE, IntRange(4, 24, step=4)),
        ("4..24", EVEN, IntRange(4, 24, step=2)),
        ("1..4", NoneOr(WHOLE), IntRange(1, 4)),
        ("0..0.5", LINEAR, FloatRange(0.0, 0.5)),
        ("1e-4..1e-2", LOG, FloatRange(1e-4, 1e-2, log=True)),
        ([2, 2], TUPLE, Choice(((2, 2),))),
        ([[2, 2], [3, 3]], TUPLE, Choice(((2, 2), (3, 3)))),
        (["none", 2], NoneOr(WHOLE), Choice((None, 2))),
        ([8, 16], WHOLE, Choice((8, 16))),
        (8, WHOLE, Choice((8,))),
        (None, NoneOr(WHOLE), Choice((None,))),
        ({"low": 4, "high": 8}, WHOLE, IntRange(4, 8)),
        ({"low": 4, "high": 64, "log": True}, WHOLE, IntRange(4, 64, log=True)),
        ({"low": 0.1, "high": 1, "log": False}, LOG, FloatRange(0.1, 1.0)),
        (IntRange(4, 12, step=4), WHOLE, IntRange(4, 12, step=4)),
        (Choice((4, 12)), WHOLE, Choice((4, 12))),
    ],
)
def test_values_choices_and_ranges_are_parsed(value: object, valid: Any, domain: object) -> None:
    assert parse_domain(value, valid) == domain


def test_a_range_is_logarithmic_if_the_default_search_domain_is() -> None:
    assert parse_domain("0.01..0.1", LINEAR, FloatRange(0.1, 0.2, log=True)) == FloatRange(0.01, 0.1, log=True)
    assert parse_domain("0..0.1", LINEAR, FloatRange(0.1, 0.2, log=True)) == FloatRange(0.0, 0.1)


@pytest.mark.parametrize(
    ("value", "valid", "message"),
    [
        ("0..8", WHOLE, "from 1 to 512, not 0"),
        ("8..4", WHOLE, "low below high, not 8..4"),
        ("4..4", WHOLE, "low below high"),
        ("4..x", WHOLE, "whole number from 1 to 512, not x"),
        ("4..8..2..1", WHOLE, "low..high..step"),
        ("4..8..0", WHOLE, "from 1"),
        ("0..1..0.1", LINEAR, "steps are for whole numbers"),
        ("4..8..3", EVEN, "in steps of 3"),
        ("8,x", WHOLE, "whole number from 1 to 512, not x"),
        ("8,,16", WHOLE, "whole number"),
        ("max..average", ROUTES, "low..high is for numbers"),
        ("2,2..3,3", TUPLE, "write a choice as a|b|c"),
        ("mex", ROUTES, "one of max, average"),
        ({"low": 1}, WHOLE, "takes low and high"),
        ({"low": 1, "high": 2, "stop": 3}, WHOLE, "takes low and high"),
        ({"low": 1, "high": 2, "log": 1}, WHOLE, "true or false"),
        ({"low": 0, "high": 1, "log": True}, LINEAR, "above 0 on a logarithmic scale"),
        ({"low": 2, "high": 8, "step": 2, "log": True}, WHOLE, "on a logarithmic scale"),
        ([], WHOLE, "no values"),
        (FloatRange(1.5, 2.5), WHOLE, "whole number"),
    ],
)
def test_invalid_values_are_reported_with_the_valid_ones(value: object, valid: Any, message: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_domain(value, valid)
    assert message in str(caught.value)


@given(st.sampled_from(sorted(all_families())), st.data())
def test_every_default_search_domain_can_be_written_on_the_command_line(name: str, data: st.DataObject) -> None:
    family = all_families()[name]
    setting = data.draw(st.sampled_from(sorted(family.search.domains)))
    domain = family.search.domains[setting]
    match domain:
        case Choice(values=values):
            text = "|".join(map(format_value, values))
        case IntRange(low=low, high=high, step=step):
            text = f"{low}..{high}..{step}"
        case FloatRange(low=low, high=high):
            text = f"{low}..{high}"
    assert parse_space(find_bases(name), {setting: text}) == {name: {setting: domain}}


def space_of(model: str, space: dict[str, object], side: int = 32, limits: Limits | None = None) -> Space:
    return make_space(model, recipe=Recipe(), space=space, image_shape=(side, side, 1), classes=2,
                      limits=limits or Limits())  # fmt: skip


def test_settings_of_the_recipe_and_of_the_network_can_be_searched() -> None:
    entries = {"growth_rate": "4..8", "augmentation": "none,medical", "batch_size": "16..128", "learning_rate": 0.001}
    space = space_of("densenet", entries)
    assert space.searched()["growth_rate"] == IntRange(4, 8)
    assert space.domains["augmentation"] == Choice(("none", "medical"))
    assert space.recipe.learning_rate == 0.001
    drawn = space.draw(40, 0)
    assert {candidate.recipe.augmentation for candidate in drawn} == {"none", "medical"}
    assert {candidate.recipe.learning_rate for candidate in drawn} == {0.001}
    assert all(4 <= candidate.settings.as_dict()["growth_rate"] <= 8 for candidate in drawn)


@pytest.mark.parametrize("name", ["epochs", "monitor", "keep"])
def test_settings_that_all_trials_share_cannot_be_searched(name: str) -> None:
    values = {"epochs": "2..4", "monitor": "val_auc,val_accuracy", "keep": "best,last"}
    with pytest.raises(SettingError, match=f"{name} must be the same for all trials"):
        space_of("densenet", {name: values[name]})


def test_images_that_are_too_small_for_every_candidate_are_reported_with_the_smallest_size_that_works() -> None:
    with pytest.raises(SettingError) as caught:
        space_of("lenet", {}, side=8).draw(1, 0)
    assert "8x8 images are too small for every candidate of lenet" in str(caught.value)
    side = int(re.search(r"--image-size (\d+) ", str(caught.value))[1])
    assert space_of("lenet", {}, side=side).draw(1, 0)


@settings(max_examples=12, deadline=None)
@given(model=st.sampled_from(["all", *sorted(all_families())]), seed=st.integers(0, 2**31))
def test_candidates_are_within_the_limits(model: str, seed: int) -> None:
    def counts(candidate: Candidate) -> Counts:
        return count(candidate.model, input_shape=(32, 32, 1), classes=2, **candidate.settings.as_dict())

    setting = [counts(candidate) for candidate in space_of(model, {}).draw(30, seed)]
    limits = Limits(
        parameters=int(statistics.median(found.total_parameters for found in setting)),
        macs=int(statistics.median(found.macs for found in setting)),
    )
    for candidate in space_of(model, {}, limits=limits).draw(5, seed):
        assert counts(candidate).total_parameters <= (limits.parameters or 0)
        assert counts(candidate).macs <= (limits.macs or 0)


def test_if_every_candidate_is_rejected_the_error_says_why() -> None:
    with pytest.raises(SettingError, match=r"smallest of 500 has [\d.]+K parameters, and --max-parameters \(max_param"):
        space_of("densenet", {}, limits=Limits(parameters=100)).draw(1, 0)
    conflict = r"no candidate of vgg can be built: convolutions has \d stages and widths 2"
    with pytest.raises(SettingError, match=conflict):
        space_of("vgg", {"widths": "8,16"}).draw(1, 0)
    assert space_of("vgg", {"widths": "8,16,32"}).draw(1, 0)
    with pytest.raises(SettingError, match="no family can be searched: no candidate of alexnet is within the limits"):
        space_of("all", {}, limits=Limits(parameters=100))


def test_all_families_are_searched_except_those_that_do_not_fit_the_images() -> None:
    space = space_of("all", {})
    drawn = space.draw(150, 0)
    assert {all_variants()[candidate.model].name for candidate in drawn} == set(all_families())
    small = space_of("all", {}, side=8)
    usable = {branch.family.name for branch in small.branches.values()}
    assert usable < set(all_families())
    assert sorted(note.split()[0] for note in small.notes) == sorted(set(all_families()) - usable)
    assert all("8x8 images are too small" in note for note in small.notes)


def test_with_all_families_a_setting_applies_to_those_that_have_it_or_to_the_named_one() -> None:
    space = space_of("all", {"dropout": 0.25, "resnet.widths": "8,16,32", "growth_rate": "4,8"})
    for candidate in space.draw(60, 1):
        chosen = candidate.settings.as_dict()
        assert chosen.get("dropout", 0.25) == 0.25
        assert chosen["widths"] == (8, 16, 32) if candidate.model == "resnet-cifar-20" else True
    with pytest.raises(SettingError, match=r"alexnet\.widths must be 5 values"):
        space_of("all", {"widths": "8,16,32"})
    with pytest.raises(SettingError, match=r"'widhts'.* Did you mean 'widths'"):
        space_of("all", {"widhts": "8,16,32"})
    with pytest.raises(SettingError, match="'renset' is not a family of this sweep"):
        space_of("all", {"renset.widths": "8,16,32"})


def test_a_grid_contains_every_candidate_once() -> None:
    fixed = {"dropout": 0.0, "compression": 0.5, "learning_rate": 0.01, "weight_decay": "1e-4,1e-3"}
    space = space_of(
        "densenet", {**fixed, "blocks": "2,2|3,3", "bottleneck_width": "none,4", "growth_rate": "4..12..4"}
    )
    candidates = [candidate for _, candidate in space.grid()]
    assert len(candidates) == len(set(candidates)) == 2 * 2 * 2 * 3
    with pytest.raises(SettingError, match=r"learning_rate is a number from .*: list some"):
        space_of("densenet", {}).grid()
    with pytest.raises(SettingError, match="points, more than the maximum of 10,000"):
        space_of("densenet", {"learning_rate": 0.01, "weight_decay": 0.01, "growth_rate": "1..512"}).grid()


FILE = """
augmentation = ["none", "medical"]

[settings]
blocks = [[2, 2], [3, 3]]
growth_rate = {low = 4, high = 12, step = 4}
bottleneck_width = "none,4"

[recipe]
learning_rate = {low = 1e-3, high = 1e-2}
batch_size = 32
"""


def test_a_search_space_can_be_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text(FILE)
    space = space_of("densenet", read_space_file(path))
    assert space.searched() | {} == {
        **{name: all_families()["densenet"].search.domains[name] for name in ("compression", "dropout")},
        "blocks": Choice(((2, 2), (3, 3))),
        "growth_rate": IntRange(4, 12, step=4),
        "bottleneck_width": Choice((None, 4)),
        "augmentation": Choice(("none", "medical")),
        "learning_rate": FloatRange(1e-3, 1e-2, log=True),
        "weight_decay": FloatRange(1e-4, 5e-2, log=True),
    }
    assert space.recipe.batch_size == 32
    path.write_text("[resnet]\nwidths = [8, 16, 32]\n")
    assert space_of("all", read_space_file(path)).branches["resnet-cifar-20"].fixed["widths"] == (
        8,
        16,
        32,
    )


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"growth_rate = \n[", ["space.toml", "not TOML", "line 1"]),
        (b"growth_rate = 0", ["space.toml: growth_rate", "from 1"]),
        (b"growth = 8", ["space.toml: ", "'growth'", "growth_rate"]),
        (b"growth_rate = 8\n[settings]\ngrowth_rate = 4", ["space.toml", "twice", "growth_rate"]),
        (b"growth_rate = {low = 8}", ["space.toml: growth_rate", "low and high"]),
        (b"\xff\xfe", ["space.toml", "UTF-8"]),
        (b"[lenet]\ndropout = 0.1", ["space.toml", "'lenet'", "densenet"]),
    ],
)
def test_an_error_in_a_file_is_reported_in_one_line_with_the_name_of_the_file(
    tmp_path: Path,
    content: bytes,
    parts: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("space.toml").write_bytes(content)
    assert main(("sweep", "densenet", "--space", "space.toml")) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert all(part in captured.err for part in parts), captured.err


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--space", "nowhere.toml"), ["nowhere.toml", "No such file"]),
        (("--set", "growth_rate=0..8"), ["--set growth_rate=0..8", "from 1"]),
        (("--set", "learning_rate=1e-2..1e-3"), ["low below high"]),
        (("--set", "monitor=val_auc,val_accuracy"), ["monitor", "one value"]),
        (("--search", "tpee"), ["search must be one of random, grid, tpe", "'tpe'"]),
        (("--search", "grid"), ["grid", "learning_rate", "--set"]),
        (("--epochs", "-1"), ["--epochs -1: epochs must be a whole number from 0"]),
        (("--epochs", "0"), ["epochs=0 is for head=probe", "use at least 1 epoch"]),
        (("--set", "growth_rate"), ["--set growth_rate", "NAME=VALUE"]),
        (("--from-run", "r", "--recipe", "plain"), ["--recipe and --from-run both"]),
        (("--max-macs", "3M", "--recipe", "papers"), ["--recipe", "papers", "paper"]),
        (("--cost", "price"), ["cost", "parameters, macs"]),
        (("--max-parameters", "few"), ["--max-parameters", "1.5M"]),
        (("--max-parameters", "0"), ["max_parameters", "1"]),
        (("--max-parameters", "10"), ["the smallest of 500 has", "--max-parameters"]),
        (("--max-macs", "10"), ["the smallest of 500 has", "--max-macs"]),
    ],
)
def test_an_error_on_the_command_line_is_reported_in_one_line_before_anything_starts(
    tmp_path: Path, arguments: tuple[str, ...], parts: list[str], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    try:
        code = main(("sweep", "densenet", *arguments))
    except SystemExit as exit_:  # argparse exits
        code = exit_.code
    captured = capsys.readouterr()
    assert code == 2
    assert captured.err.count("\n") == 1
    assert all(part in captured.err for part in parts), captured.err
    assert not list(tmp_path.iterdir())


ADDED = """
from dataclasses import dataclass
from keras_cnns.networks.family import Family, Paper, SearchSpace, Variant
from keras_cnns.networks.operations import convolution, dense, global_average_pool
from keras_cnns.networks.settings import IntRange, Settings, setting


@dataclass(frozen=True, kw_only=True)
class TinySettings(Settings):
    layers: int = setting(2, IntRange(1, 4))
    added: int = setting(3, IntRange(1, 9))


def network(images, settings, classes):
    x = images
    for layer in range(settings.layers):
        x = convolution(x, settings.added, 3, bias=True, name=f"conv{layer}")
    return dense(global_average_pool(x, name="pool"), classes, name="logits")


FAMILY = Family(
    name="tiny",
    about="A family of this test.",
    papers=(Paper(title="None", authors="Nobody", year=2026),),
    network=network,
    variants={"tiny-2": Variant(settings=TinySettings(), input_shape=(16, 16, 1), classes=2)},
    results=(),
    paper_recipe="the paper does not give one",
    search=SearchSpace(base="tiny-2", domains={"layers": IntRange(1, 4), "added": IntRange(1, 9)}),
)
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[str]:
    """A family with a setting that no other code refers to."""
    with add_family("tiny", ADDED, tmp_path):
        yield "tiny"


def test_a_new_setting_appears_everywhere(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert space_of(tiny, {}).searched()["added"] == IntRange(1, 9)
    assert "tiny.added" in space_of("all", {}).searched()
    assert space_of("all", {"added": "2..4"}).branches["tiny-2"].domains["added"] == IntRange(2, 4)
    with pytest.raises(SettingError, match="added must be a whole number from 1 to 9, not 10"):
        space_of(tiny, {"added": "1..10"})
    macs = [count("tiny-2", layers=1, added=added).macs for added in (1, 2)]
    assert macs[1] - macs[0] == 16 * 16 * 9 + 2
    assert main(("describe", "tiny-2")) == 0
    assert "added" in capsys.readouterr().out
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "docs" / "hooks")
    pages = importlib.import_module("pages")
    assert "| `added` |" in "".join(pages.sections(all_families()[tiny]))
    store = Store(f"sqlite:///{tmp_path / 'mlflow.db'}")
    for candidate in space_of(tiny, {"layers": 1}).draw(2, 0):
        store.finish(store.start(describe(candidate), experiment="sweep"), metrics={"val_accuracy": 0.5})
    runs = store.runs(experiment="sweep")
    assert {run.settings["layers"] for run in runs} == {"1"}
    for row in Comparison(runs, per_run=True).rows:
        assert row.differences["added"] == row.run.settings["added"]


def test_the_paper_recipe_needs_a_single_family(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("sweep", "all", "--recipe", "paper")) == 2
    assert "name one family, or use --recipe modern" in capsys.readouterr().err


def describe(candidate: Candidate) -> RunDescription:
    """The description of a candidate that a sweep logs."""
    return RunDescription(
        name="trial", model=candidate.model, family=all_variants()[candidate.model].name,
        settings=candidate.settings.to_strings(), recipe=candidate.recipe.to_strings(), seed=0, data_name="digits",
        data_fingerprint="d",
    )  # fmt: skip
