"""Lists and descriptions of networks, and the output of the commands `models`, `describe` and `profile`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_cnns import count, describe, list_models
from keras_cnns.cli import main
from keras_cnns.cli.models import models_table
from keras_cnns.errors import ModelNameError, SettingError
from keras_cnns.networks.registry import all_families
from keras_cnns.units import format_number, parse_number

FAMILIES = list(all_families())
VARIANTS = list_models()


@given(size=st.integers(0, 200_000_000))
@settings(deadline=None)
def test_parameter_limits_split_the_networks_into_two_sets(size: int) -> None:
    below, above = list_models(max_parameters=size), list_models(min_parameters=size + 1)
    assert sorted([*below, *above]) == sorted(VARIANTS)
    assert all(count(name).total_parameters <= size for name in below)


@pytest.mark.parametrize("family", FAMILIES)
def test_filters_by_family_and_year_list_the_matching_variants(family: str) -> None:
    found = all_families()[family]
    assert sorted(list_models(family=family)) == sorted(found.variants)
    for paper in found.papers:
        assert set(list_models(year=paper.year)) >= set(found.variants)
    assert not list_models(family=family, year=1900)


def test_filters_combine_with_a_pattern_in_natural_order() -> None:
    assert list_models("resnet*", max_parameters=300_000) == ["resnet-cifar-20", "resnet-cifar-20-v2"]
    assert list_models("vgg1?", family="vgg") == ["vgg11", "vgg13", "vgg16", "vgg19"]


def test_an_unknown_family_suggests_similar_names() -> None:
    with pytest.raises(ModelNameError, match=r"unknown family 'densnet'. Did you mean 'densenet'"):
        list_models(family="densnet")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1M", 10**6),
        ("250K", 250_000),
        ("250k", 250_000),
        ("1.5e6", 1_500_000),
        ("1_000_000", 10**6),
        ("0", 0),
        ("2.5G", 25 * 10**8),
        (" 7 ", 7),
    ],
)
def test_numbers_with_units_are_parsed(text: str, number: int) -> None:
    assert parse_number(text) == number


@pytest.mark.parametrize(
    "text", ["", "M", "-1", "1X", "1KM", "nan", "inf", "1e999", "1,5M", "__", "1__0", "0x10", "one"]
)
def test_text_that_is_not_a_number_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a number|too large"):
        parse_number(text)


@given(value=st.integers(0, 10**14))
def test_formatting_and_parsing_a_number_preserves_three_digits(value: int) -> None:
    text = format_number(value)
    assert len(text) <= 6
    assert parse_number(text) == pytest.approx(value, rel=0.005)


# Descriptions


@pytest.mark.parametrize("name", VARIANTS)
def test_a_description_of_each_network_is_complete(name: str) -> None:
    described = describe(name)
    family = all_families()[described.family]
    assert described.year == family.papers[0].year
    for text in (described.idea, described.differences):
        assert text[0].isupper() or text.startswith("`")
        assert text.endswith(".")
    assert described.counts == count(name)
    assert [setting.name for setting in described.settings] == list(type(family.variants[name].settings).domains())
    for setting in described.settings:
        assert setting.valid_values
        assert setting.meaning.endswith("."), setting.name
    assert {result.variant for result in described.results} <= {name}
    assert json.loads(json.dumps(described.as_dict()))["papers"][0]["year"] == described.year


def test_a_description_contains_the_published_results_of_the_variant() -> None:
    (result,) = describe("densenet121").results
    assert (result.dataset, result.value, result.source) == ("ImageNet", 25.02, "Table 3")
    assert "growth rate" in describe("densenet121").idea
    assert "`transition_relu`" in describe("densenet121").differences


def test_a_description_uses_the_given_settings_and_images() -> None:
    described = describe("densenet121", growth_rate=24, input_shape=(64, 64, 1), classes=2)
    assert {setting.name: setting.value for setting in described.settings}["growth_rate"] == 24
    assert described.counts == count("densenet121", growth_rate=24, input_shape=(64, 64, 1), classes=2)
    assert (described.input_shape, described.classes) == ((64, 64, 1), 2)
    assert describe("lenet5").smallest_side == 28


def test_describe_rejects_what_build_rejects() -> None:
    with pytest.raises(ModelNameError, match="Did you mean 'densenet121'"):
        describe("densenet12")
    with pytest.raises(SettingError, match="growth_rate"):
        describe("densenet121", growth=8)


def run_command(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 0
    return capsys.readouterr().out


def test_models_prints_the_matching_names(capsys: pytest.CaptureFixture[str]) -> None:
    out = run_command(
        capsys, "models", "resnet-cifar*", "--max-parameters", "300K", "--year", "2016", "--family", "resnet"
    )
    assert out.split() == ["resnet-cifar-20", "resnet-cifar-20-v2"]
    assert json.loads(run_command(capsys, "models", "--min-parameters", "140M", "--json")) == list_models(
        min_parameters=140_000_000
    )


def test_models_prints_a_table_in_a_terminal() -> None:
    from rich.console import Console

    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(models_table(["densenet121", "lenet5"]))
    lines = console.export_text().splitlines()
    assert lines[0].split() == ["network", "parameters", "MACs", "images", "year"]
    assert lines[2].split() == ["densenet121", "8.06M", "2.83G", "224x224x3", "2017"]


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("name", ["densenet121", "googlenet", "resnet152", "lenet5-1998"])
def test_describe_prints_everything_at_any_width(
    name: str, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keras_cnns.cli.printing.WIDTH", width)
    out = run_command(capsys, "describe", name)
    assert max(map(len, out.splitlines())) <= width
    words = " ".join(out.split())
    described = describe(name)
    for text in (described.idea, described.differences, described.papers[0].title, f"build('{name}')"):
        assert text in words
    for setting in described.settings:
        assert f" {setting.name} " in out
    for result in described.results:
        assert f"{result.value:g}" in out


def test_describe_prints_json_and_the_matching_build_call(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("describe", "densenet121", "--set", "growth_rate=24", "--image-size", "64", "--classes", "2")
    found = json.loads(run_command(capsys, *arguments, "--json"))
    expected = count("densenet121", growth_rate=24, input_shape=(64, 64, 3), classes=2)
    assert found["counts"]["total_parameters"] == expected.total_parameters
    out = run_command(capsys, *arguments)
    assert "keras_cnns.build('densenet121', growth_rate=24, input_shape=(64, 64, 3), classes=2)" in out


def test_profile_prints_and_plots_blocks_and_their_total(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plot = tmp_path / "lenet.png"
    out = run_command(capsys, "profile", "lenet5", "--classes", "3", "--plot", str(plot))
    lines = [line.split() for line in out.splitlines()]
    assert lines[1:3] == [["receptive"], ["block", "layers", "output", "params", "MACs", "memory", "field"]]
    assert ["c1", "2", "28x28x6", "156", "117.6K", "37.6KB", "5"] in lines
    assert ["logits", "1", "3", "255", "252", "12B", "all"] in lines
    assert next(line for line in lines if line[:1] == ["total"])[2:4] == ["61.1K", "415.9K"]
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("width", [80, 120])
def test_profile_by_layer_fits_the_width(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keras_cnns.cli.printing.WIDTH", width)
    out = run_command(capsys, "profile", "densenet-bc-40", "--by", "layer", "--channels", "1", "--image-size", "16")
    assert max(map(len, out.splitlines())) <= width
    assert "16x16x1" in out
    assert "block3_layer6_bottleneck_conv " in out
    assert ("BatchNormalization" in out) == (width == 120)


def test_profile_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(run_command(capsys, "profile", "lenet5", "--set", "hidden_width=10", "--json"))
    assert found["total_parameters"] == count("lenet5", hidden_width=10).total_parameters
    assert sum(block["macs"] for block in found["blocks"]) == sum(layer["macs"] for layer in found["layers"])
    assert found["layers"][0]["receptive_field"] == [5, 5]
    assert found["layers"][-1]["receptive_field"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("models", "vgg17*"), ["vgg17*", "Did you mean 'vgg1", "keras-cnns models"]),
        (("models", "vgg*", "--year", "1999"), ["vgg*", "1998", "4.51M"]),
        (("models", "--family", "densnet"), ["densnet", "densenet"]),
        (("models", "--max-parameters", "1X"), ["--max-parameters", "1X", "1.5M"]),
        (("models", "--min-parameters", "-5"), ["--min-parameters", "-5"]),
        (("models", "--year", "then"), ["--year", "then", "whole number"]),
        (("describe", "densenet12"), ["densenet12", "densenet121"]),
        (("describe", "densenet"), ["family", "densenet121"]),
        (("describe", "lenet5", "--set", "hidden"), ["--set hidden", "NAME=VALUE"]),
        (("describe", "lenet5", "--set", "hiden_width=3"), ["hiden_width", "hidden_width"]),
        (("describe", "lenet5", "--set", "hidden_width=0"), ["hidden_width=0", "1 to 65536"]),
        (("profile", "resnet5"), ["resnet5", "resnet50"]),
        (("profile", "lenet5", "--image-size", "8"), ["8x8", "--image-size 28"]),
        (("profile", "lenet5", "--image-size", "0"), ["--image-size", "1 to"]),
        (("profile", "lenet5", "--channels", "0"), ["--channels", "1 to"]),
        (("profile", "lenet5", "--classes", "-1"), ["--classes", "1 to"]),
        (("profile", "lenet5", "--by", "unit"), ["--by", "block", "layer"]),
        (("profile", "lenet5", "--plot", "picture.txt"), ["picture.txt", ".png"]),
        (("profile", "lenet5", "--plot", "nowhere/picture.png"), ["nowhere/picture.png", "folder"]),
    ],
)
def test_an_error_is_reported_in_one_line(
    arguments: tuple[str, ...], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(arguments)
    except SystemExit as exit_:  # raised by argparse
        code = exit_.code
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    for word in words:
        assert word in err
