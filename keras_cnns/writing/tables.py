"""The tables of a write-up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from keras_cnns.evaluation.report.formatting import BINARY_TABLE, MULTI_CLASS_TABLE, UNKNOWN_POSITIVE_TABLE
from keras_cnns.writing.composing import Composer, Piece
from keras_cnns.writing.fields import pointer
from keras_cnns.writing.phrases import Phrases, split_name

OUTCOMES = ("true positive", "false negative", "false positive", "true negative")


def add_tables(composer: Composer, phrases: Phrases) -> None:
    """Make every table for which the facts are known."""
    tables = TableMaker(composer, phrases)
    for make in (
        tables.splits,
        tables.exclusions,
        tables.performance,
        tables.confusion,
        tables.settings,
        tables.reading,
        tables.search,
    ):
        make()
    if phrases.multi_label:
        tables.parts("labels", "evaluation/labels", "Performance of each label", "label")
    for column in composer.get("/evaluation/by") or {}:
        path = f"evaluation/by{pointer(column)}"
        name = composer.key("/evaluation/by", column)
        tables.parts(f"by {column}", path, f"Performance by {name}", "value", overall=True)
    if composer.known("/evaluation/patient_level/results"):
        caption = "Performance per patient, by how the probabilities of the images of a patient are combined"
        tables.parts("patients", "evaluation/patient_level/results", caption, "combined by", unit="patients")


class TableMaker:
    """Makes tables for a composer.

    Args:
        composer: The composer, which receives the tables.
        phrases: Its phrases.
    """

    def __init__(self, composer: Composer, phrases: Phrases) -> None:
        self.composer, self.phrases = composer, phrases
        self.value, self.get, self.known, self.key = composer.value, composer.get, composer.known, composer.key

    def add(
        self, name: str, caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: bool = True
    ) -> None:
        """Add a table that has rows."""
        if rows:
            self.composer.tables[name] = self.composer.make_table(caption, columns, rows, numeric=numeric)

    def splits(self) -> None:
        """Make the table of images, patients, classes and other columns by split."""
        splits = self.get("/network/splits") or {}

        def row(title: str, *keys: str, form: str = "count") -> list[str]:
            fields = [pointer("network", "splits", name, *keys) for name in splits]
            return [title, *(self.value(field, form) if self.known(field) else "unknown" for field in fields)]

        rows = [row("Images", "images"), row("Patients", "patients")] if splits else []
        if any(split["images_without_patient"] for split in splits.values()):
            rows.append(row("Images of unknown patients", "images_without_patient"))
        for index, name in enumerate(self.get("/network/class_names") or [] if splits else []):
            rows.append(row(f"Images of {self.value(pointer('network', 'class_names', index))}", "classes", name))
        columns = dict.fromkeys(column for split in splits.values() for column in split["columns"])
        for column in columns:
            rows += self._column_rows(column, list(splits))
        header = ["", *(split_name(name).capitalize() for name in splits)]
        self.add("splits", "Images and patients of each split, and their characteristics", header, rows)

    def _column_rows(self, column: str, splits: list[str]) -> list[list[str]]:
        """Return the rows of a column: the quartiles of numbers, or the count of each value."""
        described = {name: self.get(pointer("network", "splits", name, "columns", column)) or {} for name in splits}
        first = next(name for name in splits if described[name])
        title = self.key(pointer("network", "splits", first, "columns"), column)
        rows = []
        if any("quartiles" in each for each in described.values()):
            cells = []
            for name in splits:
                fields = [pointer("network", "splits", name, "columns", column, "quartiles", part) for part in range(3)]
                numbers = [self.value(field, "number") for field in fields if self.known(field)]
                cells.append(f"{numbers[1]} ({numbers[0]}, {numbers[2]})" if numbers else "unknown")
            rows.append([f"{title}, median (quartiles)", *cells])
        owners = {value: name for name in reversed(splits) for value in described[name].get("counts", {})}
        for value in sorted(owners):
            named = self.key(pointer("network", "splits", owners[value], "columns", column, "counts"), value)
            fields = [pointer("network", "splits", name, "columns", column, "counts", value) for name in splits]
            cells = [self.value(field, "count") if self.known(field) else "–" for field in fields]
            rows.append([f"{title}: {named}", *cells])
        if any(each.get("missing") for each in described.values()):
            fields = [pointer("network", "splits", name, "columns", column, "missing") for name in splits]
            cells = [self.value(field, "count") if self.known(field) else "–" for field in fields]
            rows.append([f"{title}: missing", *cells])
        return rows

    def exclusions(self) -> None:
        """Make the table of what was left out."""
        rows = []
        for index, exclusion in enumerate(self.get("/network/exclusions") or []):
            root = ("network", "exclusions", index)
            patients = pointer(*root, "patients")
            rows.append([
                self.value(pointer(*root, "reason")),
                split_name(exclusion["split"]) or "none",
                self.value(pointer(*root, "images"), "count"),
                self.value(patients, "count") if self.known(patients) else "unknown",
            ])  # fmt: skip
        caption = "Images of the source that were left out; patients are those without another image in the split"
        self.add("exclusions", caption, ["Reason", "Split", "Images", "Patients"], rows)

    def performance(self) -> None:
        """Make the table of all metrics of the evaluated split, beside validation and external datasets."""
        split = str(self.get("/evaluation/split"))
        roots = {"evaluation": split_name(split).capitalize()}
        if split != "validation" and self.known("/evaluation/validation/metrics"):
            roots["evaluation/validation"] = "Validation"
        for index in range(len(self.get("/external") or [])):
            roots[f"external/{index}"] = f"External: {self.value(f'/external/{index}/data')}"
        if self.get("/evaluation/external"):
            roots["evaluation"] = f"External: {self.value('/evaluation/data')}"
        rows = []
        for name in self.get("/evaluation/metrics"):
            title = pointer("methods", "metrics", name, "title")
            shown = self.value(title) if self.known(title) else self.key("/evaluation/metrics", name)
            rows.append([shown, *(self.cell(root, name) for root in roots)])
        level = self.value("/methods/confidence_level", "percent")
        optimistic = ""
        if "evaluation/validation" in roots or split == "validation":
            optimistic = "; validation images were used to choose the operating point"
        mean = ""
        if self.phrases.multi_label:
            mean = "; means over labels"
        caption = f"Performance, with {level} confidence intervals{mean}{optimistic}"
        self.add("performance", caption, ["Metric", *roots.values()], rows)

    def cell(self, root: str, name: str) -> Piece:
        """Return a metric with its interval, as in a cell of a table."""
        point, interval = (f"/{root}/{kind}{pointer(name)}" for kind in ("metrics", "intervals"))
        if not self.known(point):
            return Piece("not defined")
        value = self.value(point, "rate")
        if not self.known(f"{interval}/0"):
            return Piece(f"{value} (no CI)")
        return Piece(f"{value} ({self.value(f'{interval}/0', 'rate')}, {self.value(f'{interval}/1', 'rate')})")

    def confusion(self) -> None:
        """Make the confusion matrix; with several labels, the outcomes of each."""
        names = self.get("/evaluation/confusion/class_names") if self.known("/evaluation/confusion/counts/0/0") else []
        listed = [self.value(f"/evaluation/confusion/class_names/{index}") for index in range(len(names))]
        columns = [f"Predicted {name}" for name in listed]
        if self.get("/evaluation/confusion/multi_label"):
            columns = [outcome.capitalize() for outcome in OUTCOMES]
        rows = [
            [
                name,
                *(
                    self.value(f"/evaluation/confusion/counts/{row}/{column}", "count")
                    for column in range(len(columns))
                ),
            ]
            for row, name in enumerate(listed)
        ]
        self.add("confusion", "Images by true (rows) and predicted class (columns)", ["True class", *columns], rows)

    def parts(
        self, name: str, path: str, caption: str, header: str, *, overall: bool = False, unit: str = "images"
    ) -> None:
        """Make the table of labels, subgroups or patients."""
        parts = self.get(f"/{path}") or {}
        metrics = self._table_metrics()
        rows = [self._part_row("All", "evaluation", metrics, self.phrases.evaluated_images())] if overall else []
        for part in parts:
            root = f"{path}{pointer(part)}"
            rows.append(self._part_row(self.key(f"/{path}", part), root, metrics, f"/{root}/images"))
        titles = [self.value(pointer("methods", "metrics", metric, "title")) for metric in metrics]
        self.add(name, caption, [header.capitalize(), unit.capitalize(), *titles], rows)

    def _part_row(self, name: str, root: str, metrics: Iterable[str], images: str) -> list[str]:
        if not self.get(f"/{root}/metrics"):
            return [name, self.value(images, "count"), *("too few images" for _ in metrics)]
        return [name, self.value(images, "count"), *(self.cell(root, metric) for metric in metrics)]

    def _table_metrics(self) -> tuple[str, ...]:
        names = self.get("/evaluation/images") or {}
        if self.phrases.multi_label or self.get("/evaluation/positive") is not None:
            return BINARY_TABLE
        return UNKNOWN_POSITIVE_TABLE if len(names) == 2 else MULTI_CLASS_TABLE

    def settings(self) -> None:
        """Make the table of the settings of the network and of the recipe."""
        rows = [
            [self.key(f"/run/{kind}", name), self.value(pointer("run", kind, name))]
            for kind in ("settings", "recipe")
            for name in self.get(f"/run/{kind}")
        ]
        self.add("settings", "Settings of the network and of the training", ["Setting", "Value"], rows, numeric=False)

    def reading(self) -> None:
        """Make the table of the options with which images were read."""
        options = self.get("/network/reading") or {}
        rows = []
        for name, value in options.items():
            field = pointer("network", "reading", name)
            if isinstance(value, list):
                shown = ", ".join(self.value(f"{field}/{index}") for index in range(len(value)))
            else:
                shown = self.value(field) if value not in (None, "") else "default"
            rows.append([self.key("/network/reading", name), shown])
        self.add("reading", "Options of the program for reading these images", ["Option", "Value"], rows, numeric=False)

    def search(self) -> None:
        """Make the table of searched settings."""
        rows = [
            [self.key("/sweep/searched", name), self.value(pointer("sweep", "searched", name))]
            for name in self.get("/sweep/searched") or {}
        ]
        self.add("search", "Searched settings", ["Setting", "Values"], rows, numeric=False)
