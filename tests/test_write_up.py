"""Write-ups: every number is traced to a field of the run, and nothing unknown is filled in."""

from __future__ import annotations

import copy
import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docx
import markdown_it
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from saved_networks import copy_store, save_run, train_network
from traced_values import assert_traced, read_fields

import keras_cnns
from keras_cnns import Dataset, Recipe, evaluate, load, report, train
from keras_cnns.cli import main
from keras_cnns.data import Split
from keras_cnns.errors import ReportError, SettingError, StoreError
from keras_cnns.evaluation import evaluation
from keras_cnns.networks.registry import all_families
from keras_cnns.tracking import Store
from keras_cnns.writing.checklists import all_checklists
from keras_cnns.writing.document import Document, Table, Text
from keras_cnns.writing.facts import collect_facts
from keras_cnns.writing.fields import find, pointer
from keras_cnns.writing.latex import to_latex
from keras_cnns.writing.latex_escape import ACCENTED, escape_latex
from keras_cnns.writing.lock import make_lock
from keras_cnns.writing.markdown import escape_markdown, to_markdown
from keras_cnns.writing.references import all_references, family_keys, to_bibtex
from keras_cnns.writing.report import ARTICLE, FORMATS, compose_documents, list_values
from keras_cnns.writing.word import to_word

pytestmark = pytest.mark.usefixtures("fresh", "quick_evaluations")
POSITIVE, NEGATIVE = r"a_b & c% \x{1}$^~#", "Ärzte – <b> *x* [1]"
FIGURES = ("flow", "curves", "evaluation", "by-1", "by-2")


@dataclass(frozen=True)
class Made:
    """A store with evaluated runs on images of two classes with odd names, of three classes, and of three labels."""

    folder: Path
    cases: Path
    runs: Mapping[str, str]


def write_images(folder: Path) -> Path:
    """Write a table of images whose brightness tells the class, with a leak and a broken file."""
    generator = np.random.default_rng(0)
    rows = ["path,label,patient,split,sex,age"]
    for index in range(240):
        positive = index % 2
        pixels = generator.integers(100 * positive, 150 + 100 * positive, (12, 12), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
        split = ("train", "train", "validation", "test")[index // 2 % 4]
        rows.append(
            f'{index}.png,"{POSITIVE if positive else NEGATIVE}",{split}{index // 4},{split},{"FM"[index // 8 % 2]},'
            f"{20 + index % 60}"
        )
    shutil.copyfile(folder / "6.png", folder / "leak.png")
    (folder / "broken.png").write_bytes(b"")
    rows += [f'leak.png,"{NEGATIVE}",leak,train,F,30', f'broken.png,"{POSITIVE}",broken,test,M,40']
    (folder / "cases.csv").write_text("\n".join(rows), "utf-8")
    return folder / "cases.csv"


def made_of_digits(names: tuple[str, ...], *, multi_label: bool) -> Dataset:
    digits = load("digits").splits["train"]
    chosen = np.flatnonzero(digits.labels < len(names))[:400]
    labels = digits.labels[chosen]
    if multi_label:
        labels = np.stack([labels >= 1, labels >= 2, labels % 2 == 0], axis=1).astype(np.int64)
    parts = dict(zip(("train", "validation", "test"), np.split(np.arange(400), [200, 300]), strict=True))
    splits = {name: Split(digits.images[chosen[part]], labels[part]) for name, part in parts.items()}
    return Dataset(name="some digits", source="some digits", splits=splits, class_names=names)


@pytest.fixture(scope="module")
def monkeypatch_of_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, monkeypatch_of_module: pytest.MonkeyPatch) -> Made:
    folder = tmp_path_factory.mktemp("write-up")
    uri = f"sqlite:///{folder}/mlflow.db"
    (folder / "images").mkdir()
    cases = write_images(folder / "images")
    dataset = load(str(cases), positive=POSITIVE, skip_broken=True)
    recipe = Recipe(epochs=4, batch_size=8, learning_rate=1e-2)
    trained = train(
        "densenet-bc-40", dataset, settings={"blocks": (1, 1), "growth_rate": 4}, recipe=recipe,
        folder=folder / "runs", tracking_uri=uri,
    )  # fmt: skip
    monkeypatch_of_module.setattr(evaluation, "write_report", lambda *_: None)  # which other tests are about
    evaluate(trained.run_id, dataset, by=("sex", "age"), tracking_uri=uri)
    evaluate(trained.run_id, dataset, split="validation", tracking_uri=uri)
    runs = {"binary": trained.run_id}
    store = Store(uri)
    sweep = store.start_group(
        "sweep-lenet", experiment="saved", tags={"folder": "sweep"},
        params={"model": "lenet", "trials": 7, "seed": 11, "scheduler": "asha",
                "search": "tpe", "max_parameters": 50_000,
                "searched.learning_rate": "0.0005..0.01", "searched.activation": "relu, tanh"},
    )  # fmt: skip
    store.finish(sweep)
    multi_class = made_of_digits(("zero", "one", "two"), multi_label=False)
    multi_label = made_of_digits(("some", "many", "even"), multi_label=True)
    searched = {**Recipe(epochs=3, augmentation="light", mixup=0.2).to_strings(), "monitor": "val_auc"}
    network = train_network(multi_class)
    runs["classes"] = save_run(store, network, multi_class, parent=sweep, recipe=searched, val_auc=0.9)
    runs["labels"] = save_run(store, train_network(multi_label, activation="sigmoid"), multi_label, name="labels")
    runs["lonely"] = save_run(store, network, multi_class, name="lonely")
    evaluate(runs["classes"], multi_class, tracking_uri=uri)
    evaluate(runs["labels"], multi_label, tracking_uri=uri)
    return Made(folder, cases, {**runs, "sweep": sweep})


@pytest.fixture
def fresh(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy_store(made.folder, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def all_facts(made: Made) -> dict[str, dict[str, Any]]:
    store = Store(f"sqlite:///{made.folder}/mlflow.db")
    return {name: collect_facts(store, made.runs[name]) for name in ("binary", "classes", "labels", "sweep")}


@pytest.fixture(scope="module")
def written(made: Made) -> keras_cnns.Report:
    """Return the write-up of the run with two classes, in Markdown."""
    uri = f"sqlite:///{made.folder}/mlflow.db"
    return report(made.runs["binary"], output=made.folder / "written", tracking_uri=uri)


def compose(facts: Mapping[str, Any]) -> dict[str, Document]:
    return compose_documents(facts, FIGURES)


@pytest.mark.parametrize("name", ["binary", "classes", "labels"])
def test_each_value_of_a_write_up_is_a_field_of_the_run(
    made: Made, all_facts: dict[str, Any], written: keras_cnns.Report, name: str
) -> None:
    documents = compose(all_facts[name])
    fields = read_fields(made.folder, made.runs[name], make_lock(all_facts[name]))
    if name == "binary":
        fields["written"] = json.loads((written.folder / "lock.json").read_text("utf-8"))["written"]
        listed = json.loads((written.folder / "numbers.json").read_text("utf-8"))["values"]
        text = written.document.read_text("utf-8")
    else:
        listed = list_values(documents, "article.md")["values"]
        text = to_markdown(documents[ARTICLE])
    assert {value["document"] for value in listed} == {"article.md", "model-card.md", "dataset-card.md"}
    assert_traced(text, listed, fields)


@pytest.mark.parametrize("name", ["binary", "classes", "labels", "sweep"])
def test_texts_have_no_numbers_of_their_own(all_facts: dict[str, Any], name: str) -> None:
    for document in compose(all_facts[name]).values():
        numbered = {id(block.rows): block for block in document.blocks if isinstance(block, Table)}
        checklists = [table for table in numbered.values() if [part.text for part in table.columns[0]] == ["Item"]]
        exempt = {id(part) for table in checklists for row in table.rows for part in (*row[0], *row[1])}
        for part in (part for line in document.lines() for part in line):
            if isinstance(part, Text) and id(part) not in exempt:
                assert not re.search(r"\d", part.text.replace("CLAIM 2024 checklist", "")), part.text


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_has_all_values(all_facts: dict[str, Any], kind: str) -> None:
    article = compose(all_facts["binary"])[ARTICLE]
    printed = [value.text for value in article.values()]
    assert len(printed) > 200
    if kind == "docx":
        opened = docx.Document(io.BytesIO(to_word(article, dict.fromkeys(FIGURES, make_picture()))))
        cells = [cell.text for table in opened.tables for row in table.rows for cell in row.cells]
        text = "\n".join([*(paragraph.text for paragraph in opened.paragraphs), *cells])
        assert len(opened.inline_shapes) == len(FIGURES)
        assert len(opened.tables) == sum(isinstance(block, Table) for block in article.blocks)
        assert "Table 1. " in text
    else:
        text = to_latex(article) if kind == "tex" else to_markdown(article)
        printed = list(map(escape_latex if kind == "tex" else escape_markdown, printed))
        assert {*re.findall(r"figures/([a-z0-9-]+)\.", text)} == {*FIGURES}
    assert all(value in text for value in printed)


def make_picture() -> bytes:
    memory = io.BytesIO()
    Image.new("L", (8, 8)).save(memory, "png")
    return memory.getvalue()


def test_the_command_writes_all_files(made: Made, fresh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", made.runs["labels"], "--output", "out/paper.docx"]) == 0
    printed = capsys.readouterr().out
    names = {"paper.docx", "references.bib", "model-card.md", "dataset-card.md", "lock.json", "numbers.json"}
    drawn = {f"figures/{name}{suffix}" for name in ("flow", "evaluation") for suffix in (".pdf", ".svg")}
    assert {line.strip() for line in printed.splitlines()[1:]} == names | drawn
    assert all((fresh / "out" / name).stat().st_size > 100 for name in names | drawn)
    assert docx.Document(str(fresh / "out" / "paper.docx")).inline_shapes


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_article_compiles_whatever_the_names_of_classes_are(all_facts: dict[str, Any], fresh: Path) -> None:
    facts = copy.deepcopy(all_facts["binary"])
    letters = "".join(map(chr, range(0x20, 0x7F))) + "".join(sorted(ACCENTED)) + "–—’‘“”…×−≤≥±°µ" + "жα中😀\u0301"
    facts["evaluation"]["notes"] = [letters, "--- ,, ?` !` << >> \\\\ [x] \\\\* %", *letters]
    article = compose_documents(facts, ())[ARTICLE]
    (fresh / "paper.tex").write_text(to_latex(article), "utf-8")
    (fresh / "references.bib").write_text(to_bibtex(article.cited()), "utf-8")
    for command in (["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"], ["bibtex", "paper"]):
        done = subprocess.run(command, cwd=fresh, capture_output=True, text=True, errors="replace", check=False)
        assert done.returncode == 0, done.stdout[-2000:]
    assert (fresh / "paper.pdf").stat().st_size > 10_000


def test_a_sweep_is_described_with_its_best_trial(all_facts: dict[str, Any], made: Made) -> None:
    text = to_markdown(compose(all_facts["sweep"])[ARTICLE]).replace("\\", "")
    assert all_facts["sweep"]["run"]["id"] == made.runs["classes"]
    assert "searched by the tree-structured Parzen estimator" in text
    assert "in 7 trials (seed 11), with Ray Tune" in text
    assert "stopped early by asynchronous successive halving" in text
    assert "| learning_rate | 0.0005..0.01 |" in text
    assert "Networks with more than 50000 parameters were not considered" in text


def test_methods_name_only_what_was_used(all_facts: dict[str, Any]) -> None:
    binary, classes = (compose(all_facts[name])[ARTICLE] for name in ("binary", "sweep"))
    assert {"guo2017", "youden1950", "efron1987", "loshchilov2019", *family_keys(all_families()["densenet"])} <= {
        *binary.cited()
    }
    assert not {"zhang2018", "bergstra2011", "lin2017"} & {*binary.cited()}
    assert {"zhang2018", "bergstra2011", "li2020"} <= {*classes.cited()}
    assert "youden1950" not in classes.cited()
    text = to_markdown(classes)
    assert "MixUp" in text
    assert "CutMix" not in text
    assert "rotation by up to 10°" in text


def test_the_flow_counts_everything_that_was_left_out(all_facts: dict[str, Any]) -> None:
    text = to_markdown(compose(all_facts["binary"])[ARTICLE]).replace("\\", "")
    assert "Of 242 images that the source contained, 2 were left out" in text
    assert "(file cannot be read, with 1 patient who has no other image there)" in text
    assert "| identical to an image of the test split | training | 1 | 1 |" in text
    assert "| Patients | 30 | 30 | 30 |" in text
    assert "| sex: F | " in text
    assert "| age, median (quartiles) |" in text


OPTIONAL = (
    "/network/splits", "/network/exclusions", "/network/packages", "/network/reading", "/network/ranges",
    "/network/notes", "/network/image_shape", "/network/source", "/network/task", "/run/tags/hardware.processor",
    "/run/tags/versions.keras", "/run/metrics/seconds", "/run/metrics/epochs", "/run/metrics/best_epoch",
    "/run/metrics/macs", "/run/metrics/trainable_parameters", "/run/recipe", "/evaluation/temperature",
    "/evaluation/threshold", "/evaluation/validation", "/evaluation/patient_level", "/evaluation/grouped_by",
    "/evaluation/test_set_evaluations", "/evaluation/confusion/counts", "/evaluation/metrics/auc",
    "/sweep/params/search", "/sweep/params/seed", "/methods/augmentation",
)  # fmt: skip
EMPTY = {"/network/notes": [], "/network/ranges": {}, "/network/reading": {}, "/run/recipe": {},
         "/evaluation/temperature": None, "/evaluation/threshold": None, "/evaluation/grouped_by": None}  # fmt: skip


def forget(facts: Mapping[str, Any], field: str) -> None:
    """Remove a field, or empty it if each record has it."""
    *parents, last = field.split("/")[1:]
    parent: Any = facts
    for key in parents:
        parent = parent.get(key, {})
    if last in parent:
        parent.pop(last)
        if field in EMPTY:
            parent[last] = EMPTY[field]


@given(name=st.sampled_from(["binary", "classes", "labels", "sweep"]), unknown=st.sets(st.sampled_from(OPTIONAL)))
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@example(name="binary", unknown=set(OPTIONAL))
def test_what_a_run_does_not_know_is_left_out_or_left_to_the_authors(
    all_facts: dict[str, Any], name: str, unknown: set[str]
) -> None:
    facts = copy.deepcopy(all_facts[name])
    for field in unknown:
        forget(facts, field)
    for document in compose_documents(facts, ()).values():
        text = to_markdown(document)
        assert not re.search(r"\b(None|nan|Undefined)\b", text)
        assert all(find(facts, value.field) is not None for value in document.values())


def test_a_run_of_an_earlier_version_is_written_up_without_counts(all_facts: dict[str, Any]) -> None:
    facts = copy.deepcopy(all_facts["binary"])
    for field in ("/network/splits", "/network/exclusions", "/network/image_shape", "/run/tags/hardware.processor"):
        forget(facts, field)
    documents = {name: to_markdown(document) for name, document in compose_documents(facts, ()).items()}
    assert "The run does not record the numbers of images." in documents[ARTICLE]
    assert "**To be written by the authors:** numbers of images and patients, and exclusions." in documents[ARTICLE]
    assert "The hardware is not recorded." in documents[ARTICLE]
    assert "does not record" in documents["dataset-card.md"]


def test_runs_without_a_stored_evaluation_on_a_test_split_say_what_to_run(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = made.runs["lonely"]
    assert main(["report", "lonely"]) == 2
    error = capsys.readouterr().err
    assert f"`keras-cnns evaluate {run_id}`" in error
    assert "--split validation" not in error
    with pytest.raises(ReportError, match="--split validation"):
        report("lonely", split="validation")
    with pytest.raises(ReportError, match="use test, or validation"):
        report("lonely", split="train")


def test_results_on_validation_images_are_called_optimistic(made: Made, all_facts: dict[str, Any]) -> None:
    facts = collect_facts(Store(), made.runs["binary"], split="validation")
    documents = compose(facts)
    assert "too optimistic for new images" in to_markdown(documents[ARTICLE])
    assert "too optimistic for new images" in to_markdown(documents["model-card.md"])
    assert "too optimistic for new images" not in to_markdown(compose(all_facts["binary"])[ARTICLE])


def test_external_evaluations_are_reported_beside_the_test_split(made: Made) -> None:
    own = load(str(made.cases), positive=POSITIVE, skip_broken=True)
    elsewhere = Dataset(
        name="elsewhere", source="elsewhere", splits={"test": own.splits["validation"]}, class_names=own.class_names,
        positive=POSITIVE,
    )  # fmt: skip
    evaluate(made.runs["binary"], elsewhere)
    facts = collect_facts(Store(), made.runs["binary"])
    assert [record["data"] for record in facts["external"]] == ["elsewhere"]
    text = to_markdown(compose(facts)[ARTICLE]).replace("\\", "")
    assert "images of the external dataset elsewhere" in text
    assert "| Metric | Test | Validation | External: elsewhere |" in text


def test_the_model_card_has_the_metadata_of_hugging_face(all_facts: dict[str, Any], written: keras_cnns.Report) -> None:
    block, card = read_card(written.folder / "model-card.md")
    record = all_facts["binary"]["evaluation"]
    assert block["license"] == "unknown"
    assert block["library_name"] == "keras"
    assert block["pipeline_tag"] == "image-classification"
    ((result,),) = (entry["results"] for entry in block["model-index"])
    assert [metric["value"] for metric in result["metrics"]] == list(record["metrics"].values())
    assert "roc_auc" in [metric["type"] for metric in result["metrics"]]
    assert {"task", "dataset", "metrics"} == result.keys()
    assert "For research use; not a medical device." in card
    assert "**To be written by the authors:** intended use" in card


def test_the_dataset_card_has_classes_and_splits(written: keras_cnns.Report) -> None:
    block, card = read_card(written.folder / "dataset-card.md")
    assert block["license"] == "unknown"
    assert block["size_categories"] == ["n<1K"]
    names = block["dataset_info"]["features"][1]["dtype"]["class_label"]["names"]
    assert names == {"0": NEGATIVE, "1": POSITIVE}
    counts = {split["name"]: split["num_examples"] for split in block["dataset_info"]["splits"]}
    assert counts == {"train": 120, "validation": 60, "test": 60}
    assert "| skip\\_broken | True |" in card


def read_card(path: Path) -> tuple[dict[str, Any], str]:
    _, block, card = path.read_text("utf-8").split("---\n", 2)
    return yaml.safe_load(block), card


def test_checklists_have_all_items_and_each_has_an_answer(all_facts: dict[str, Any]) -> None:
    counts = {name: len({item.number for item in checklist.items}) for name, checklist in all_checklists().items()}
    assert counts == {"claim": 44, "stard-ai": 48, "tripod-ai": 52}
    article = compose(all_facts["binary"])[ARTICLE]
    tables = [block for block in article.blocks if isinstance(block, Table) and len(block.rows) in counts.values()]
    assert all(row[2] for table in tables for row in table.rows)
    text = to_markdown(article)
    assert "| 44 | Funding and role of the funders | **To be written by the authors.** |" in text
    assert "| 20 | Level at which partitions are disjoint | Patient level, checked by the program. |" in text
    assert {checklist.reference for checklist in all_checklists().values()} <= {*article.cited()}


def test_every_publication_can_be_cited() -> None:
    for reference in all_references().values():
        assert reference.authors
        assert reference.title
        assert reference.to_bibtex().count("{") == reference.to_bibtex().count("}")
        assert str(reference.year) in reference.to_text()


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=30)


@given(TEXTS)
def test_markdown_shows_texts_as_they_are(text: str) -> None:
    shown = " ".join(text.split())
    rendered = markdown_it.MarkdownIt("commonmark").enable("table").parse(f"x{escape_markdown(shown)}x")
    assert [child.type for token in rendered for child in token.children or ()] == ["text"] or not shown
    assert rendered[1].children is not None
    assert "".join(child.content for child in rendered[1].children) == f"x{shown}x"


@given(TEXTS)
def test_latex_texts_have_no_active_characters(text: str) -> None:
    escaped = escape_latex(text)
    assert not re.search(r"(?<!\\)[$&#%_^~]|--\{\}-", escaped.replace(r"$\times$", "").replace(r"$-$", "").replace(
        r"$\leq$", "").replace(r"$\geq$", "").replace(r"$\pm$", ""))  # fmt: skip
    depth = 0
    for letter in re.sub(r"\\[{}]", "", escaped):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0


@given(st.lists(TEXTS, min_size=1, max_size=3), st.integers())
def test_a_pointer_finds_what_it_was_made_for(keys: list[str], value: int) -> None:
    nested: Any = value
    for key in reversed(keys):
        nested = {key: nested}
    assert find(nested, pointer(*keys)) == value
    assert find(nested, f"key({pointer(*keys)})") == keys[-1]
    assert find(nested, f"sum({pointer(*keys[:-1])}/*)") == value


def test_wrong_outputs_are_refused(made: Made, fresh: Path) -> None:
    for options, message in (
        ({"format": "pdf"}, "pdf"),
        ({"format": "md", "output": "paper.tex"}, "ends in .tex"),
    ):
        with pytest.raises(ReportError, match=message):
            report("no such run", **options)
    with pytest.raises(StoreError, match="no such run"):
        report("no such run")
    (fresh / "file").write_text("")
    with pytest.raises(SettingError, match="writable folder"):
        report(made.runs["labels"], output="file")
