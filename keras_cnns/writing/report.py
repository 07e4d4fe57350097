"""Write-up of a run as files: article, BibTeX, figures, numbers, lock file, model card and dataset card."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_cnns.atomic import atomic_write, write_text
from keras_cnns.comparing.curve_plots import curves_figure
from keras_cnns.errors import ReportError, nearest_or_all
from keras_cnns.evaluation.plot_style import shorten
from keras_cnns.evaluation.report.formatting import result_tables
from keras_cnns.evaluation.report.plots import draw_evaluation, draw_forest_plot
from keras_cnns.plotting import check_output_folder, to_png
from keras_cnns.tracking import Store
from keras_cnns.writing.cards import DATASET_CARD, MODEL_CARD, write_dataset_card, write_model_card
from keras_cnns.writing.checklists import add_checklists, all_checklists
from keras_cnns.writing.composing import Composer
from keras_cnns.writing.document import Document
from keras_cnns.writing.facts import collect_facts
from keras_cnns.writing.figures import PICTURE_DPI, flow_figure, save_figures
from keras_cnns.writing.latex import to_latex
from keras_cnns.writing.lock import LOCK_FILE, make_lock
from keras_cnns.writing.markdown import to_markdown
from keras_cnns.writing.phrases import Phrases, context
from keras_cnns.writing.references import to_bibtex
from keras_cnns.writing.starting import StartingPhrases
from keras_cnns.writing.stored_evaluation import restore_evaluation
from keras_cnns.writing.tables import add_tables
from keras_cnns.writing.word import check_word, to_word

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("md", "tex", "docx")
ARTICLE = "article"
NUMBERS_FILE, BIBLIOGRAPHY, FIGURES = "numbers.json", "references.bib", "figures"
ID_LENGTH = 8
CURVES = ("loss", "val_loss", "accuracy", "val_accuracy", "val_auc")


@dataclass(frozen=True, kw_only=True)
class Report:
    """A write-up.

    Attributes:
        run_id: The ID of the run.
        folder: The folder of all files.
        document: The article.
        files: All files.
    """

    run_id: str
    folder: Path
    document: Path
    files: tuple[Path, ...]


def report(
    run: str,
    *,
    format: str | None = None,  # noqa: A002 - named like the option
    output: str | Path | None = None,
    split: str = "test",
    tracking_uri: str | None = None,
) -> Report:
    """Write up a run whose evaluation is stored.

    Every number comes from a field of the run, which `numbers.json` names. What the run does not know is left to the
    authors.

    Args:
        run: The ID of a run, the beginning of it, or a name that no other run has; or the ID of a sweep, for its best
            trial.
        format: The format of the article: "md", "tex" or "docx", which needs python-docx; by default that of the suffix
            of `output`, or "md".
        output: The folder of the files, or the name of the article with a suffix; by default `write-up-ID`.
        split: The split whose evaluation is reported: "test", or "validation" for a result that is optimistic.
        tracking_uri: The store of the run; by default that of MLflow's environment variable, or `./mlflow.db`.

    Raises:
        StoreError: There is no such run, or it has no saved network.
        ReportError: The run has no stored evaluation on the split, the format is not possible, or python-docx is not
            installed.
        SettingError: The files cannot be written.
    """
    chosen = choose_format(format, output)
    store = Store(tracking_uri, create=False)
    facts = collect_facts(store, run, split=split)
    run_id = facts["run"]["id"]
    folder, document = choose_paths(run_id, chosen, output)
    figures = draw_figures(store, facts)
    documents = compose_documents(facts, figures)
    article = documents[ARTICLE]
    texts = {
        BIBLIOGRAPHY: to_bibtex(article.cited()),
        MODEL_CARD: write_model_card(documents[MODEL_CARD], facts),
        DATASET_CARD: write_dataset_card(documents[DATASET_CARD], facts),
        LOCK_FILE: to_json(make_lock(facts)),
        NUMBERS_FILE: to_json(list_values(documents, document.name)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    files = save_figures(figures, folder / FIGURES)
    for name, text in texts.items():
        write_text(folder / name, text)
    if chosen == "docx":
        content = to_word(article, {name: to_png(figure, dpi=PICTURE_DPI) for name, figure in figures.items()})
        with atomic_write(document) as temporary:
            temporary.write_bytes(content)
    else:
        write_text(document, to_latex(article) if chosen == "tex" else to_markdown(article))
    return Report(
        run_id=run_id, folder=folder, document=document,
        files=(document, *(folder / name for name in texts), *files),
    )  # fmt: skip


def compose_documents(facts: Mapping[str, Any], figures: Iterable[str]) -> dict[str, Document]:
    """Return the article and the cards by the name of their file.

    Args:
        facts: What is known about the run.
        figures: The names of the figures that there are.
    """
    composer = Composer(facts)
    conditions = prepare(composer, figures)
    model, data = composer.value("/run/model"), composer.value("/run/data_name")
    titles = {
        ARTICLE: f"Classification of images of {data} by {model}",
        MODEL_CARD: f"{model} for {data}",
        DATASET_CARD: f"Dataset {data}",
    }
    return {
        name: composer.compose(f"{name.removesuffix('.md')}.txt", title, **conditions) for name, title in titles.items()
    }


def choose_format(format: str | None, output: str | Path | None) -> str:  # noqa: A002 - named like the option
    """Return the format of the article.

    Raises:
        ReportError: It is not possible, is not that of the suffix of the output, or needs a missing package.
    """
    suffix = "" if output is None else Path(output).suffix.removeprefix(".").lower()
    chosen = format or (suffix if suffix in FORMATS else "md")
    if chosen not in FORMATS:
        raise ReportError(f"--format {chosen} (format) is not possible.{nearest_or_all(chosen, FORMATS)}")
    if suffix in FORMATS and suffix != chosen:
        raise ReportError(f"--output {output} (output) ends in .{suffix}, but the format is {chosen}; use one of them.")
    if chosen == "docx":
        check_word()
    return chosen


def choose_paths(run_id: str, chosen: str, output: str | Path | None) -> tuple[Path, Path]:
    """Return the folder of the files and the path of the article; raise an error if they cannot be written."""
    path = Path(f"write-up-{run_id[:ID_LENGTH]}") if output is None else Path(output)
    document = path if path.suffix.lower() == f".{chosen}" else path / f"article.{chosen}"
    return check_output_folder(document.parent), document


def draw_figures(store: Store, facts: Mapping[str, Any]) -> dict[str, Figure]:
    """Draw the figures for which the facts are known, by the name of their files."""
    figures = {}
    if facts["network"].get("splits"):
        figures["flow"] = flow_figure(facts)
    curves = {name: curve for name, curve in store.curves(facts["run"]["id"]).items() if name in CURVES}
    if any(len(curve) > 1 for curve in curves.values()):
        figures["curves"] = curves_figure({shorten(facts["run"]["name"] or facts["run"]["model"]): curves})
    evaluation = restore_evaluation(store, facts["run"]["id"], facts["evaluation"])
    if evaluation is not None:
        figures["evaluation"] = draw_evaluation(evaluation)
        tables = list(result_tables(evaluation))
        for number, table in enumerate(tables[len(tables) - len(evaluation.by) :], start=1):
            figures[f"by-{number}"] = draw_forest_plot(table)
    return figures


def prepare(composer: Composer, figures: Iterable[str]) -> dict[str, Any]:
    """Make the tables and captions of a composer, and return the conditions of the templates."""
    phrases = Phrases(composer)
    composer.add_functions({**phrases.functions(), **StartingPhrases(composer).functions()})
    captions = {
        "flow": "Flow of images and patients from the source into the splits.",
        "curves": "Learning curves: metrics of each epoch.",
        "evaluation": "Confusion matrix, ROC and precision-recall curves and reliability diagram of the evaluated "
        "images; if one of two classes is positive, also the decision curve.",
    }
    for name in figures:
        composer.figures[name] = captions.get(name, "Performance of subgroups, with confidence intervals.")
    conditions = {**context(composer), "checklists": list(all_checklists())}
    add_tables(composer, phrases)
    add_checklists(composer, **conditions)
    return conditions


def list_values(documents: Mapping[str, Document], article: str) -> dict[str, Any]:
    """Return every value of documents with its field, for `numbers.json`, given the name of the article's file."""
    about = (
        "Each value that the documents print, with its field: a JSON pointer into run (parameters, metrics and tags in "
        "MLflow), network (metadata of the stored model), evaluation (evaluation.json of the run), external, sweep and "
        "methods (constants of keras-cnns). See docs/writing-up.md."
    )
    values = [
        {"document": article if name == ARTICLE else name, **asdict(value)}
        for name, document in documents.items()
        for value in document.values()
    ]
    return {"about": about, "values": values}


def to_json(content: Mapping[str, Any]) -> str:
    """Return a text that users can read."""
    return functools.partial(json.dumps, indent=2, ensure_ascii=False)(content) + "\n"
