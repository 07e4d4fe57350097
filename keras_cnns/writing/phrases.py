"""Phrases of the article that depend on what the run knows: estimates, lists and descriptions of methods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from keras_cnns.networks.baselines.names import BASELINE, is_of_keras
from keras_cnns.networks.registry import all_families
from keras_cnns.writing.composing import Composer, Piece
from keras_cnns.writing.fields import pointer
from keras_cnns.writing.references import family_keys

SPLIT_NAMES = {"train": "training", "validation": "validation", "test": "test", "out_of_fold": "out-of-fold"}
SEARCHES = {
    "tpe": ("the tree-structured Parzen estimator", ("bergstra2011", "akiba2019")),
    "random": ("random search", ("bergstra2012",)),
    "grid": ("grid search", ()),
}
SCHEDULERS = {
    "asha": ("stopped early by asynchronous successive halving", ("li2020",)),
    "hyperband": ("stopped early by Hyperband", ("li2018",)),
    "median": ("stopped early by the median rule", ("golovin2017",)),
    "none": ("not stopped early", ()),
}
PACKAGES = {
    "keras_cnns": ("keras-cnns", ()),
    "keras": ("Keras", ("chollet2015",)),
    "tensorflow": ("TensorFlow", ("abadi2016",)),
    "ray": ("Ray", ("liaw2018",)),
    "mlflow": ("MLflow", ("zaharia2018",)),
    "python": ("Python", ()),
}
MONITORED = {"val_accuracy": "accuracy", "val_auc": "AUC", "val_loss": "loss"}
MAIN_METRICS = ("sensitivity", "specificity", "ppv", "npv", "accuracy")
OTHER_METRICS = ("accuracy", "balanced_accuracy", "f1", "mcc")
CALIBRATION_METRICS = ("brier", "ece", "calibration_slope", "calibration_intercept")
RECALIBRATED_METRICS = ("sensitivity", "specificity", "brier")
PROPORTIONS = {"specificity": 0, "sensitivity": 1}
"""The row of the confusion matrix of two classes that a metric is a proportion of."""


def join(phrases: Sequence[str]) -> Piece:
    """Return phrases as in a, b and c."""
    *others, last = phrases
    return Piece(f"{', '.join(others)} and {last}" if others else last)


def split_name(name: str) -> str:
    """Return the word for a split in a text."""
    return SPLIT_NAMES.get(name, name)


class Phrases:
    """The phrases that templates insert, for the facts of a composer.

    Args:
        composer: The composer.
    """

    def __init__(self, composer: Composer) -> None:
        self.composer = composer
        self.value, self.get, self.known, self.cite = composer.value, composer.get, composer.known, composer.cite

    def functions(self) -> dict[str, Callable[..., Piece]]:
        """Return the functions that templates can call."""
        return {
            "file": Piece,
            "command": Piece,
            "class_names": self.class_names,
            "kind_name": self.kind_name,
            "family": self.family,
            "monitor": self.monitor,
            "search_method": self.search_method,
            "decision_method": self.decision_method,
            "interval_method": self.interval_method,
            "software": self.software,
            "exclusions": self.exclusions,
            "split_counts": self.split_counts,
            "validation_scores": self.validation_scores,
            "performance": self.performance,
            "test_set_evaluations": self.test_set_evaluations,
            "estimate": self.estimate,
        }

    @property
    def multi_label(self) -> bool:
        """Whether an image can have several labels."""
        return bool(self.get("/evaluation/labels"))

    @property
    def class_list(self) -> list[str]:
        """The names of the classes in the order of the evaluation."""
        return list(self.get("/evaluation/confusion/class_names") or self.get("/evaluation/images"))

    def evaluated_images(self, root: str = "evaluation") -> str:
        """Return the field with the number of evaluated images."""
        labels = self.get(f"/{root}/labels")
        return f"/{root}/labels{pointer(next(iter(labels)))}/images" if labels else f"sum(/{root}/images/*)"

    def class_names(self) -> Piece:
        """Name the classes with the number of their images in all splits."""
        names = self.get("/network/class_names")
        counts = (f"sum({pointer('network', 'splits')}/*{pointer('classes', name)})" for name in names)
        listed = [
            f"{self.value(pointer('network', 'class_names', index))}{self._of_class(count)}"
            for index, count in enumerate(counts)
        ]
        positive = self.get("/network/positive")
        suffix = f"; the positive class is {self.value('/network/positive')}" if positive else ""
        return Piece(f"{join(listed)}{suffix}")

    def _of_class(self, count: str) -> str:
        return f" ({self.value(count, 'count')} images)" if self.known(count) else ""

    def kind_name(self, kind: str) -> Piece:
        """Name a kind of files."""
        return self.composer.key(pointer("network", "ranges"), kind)

    def family(self) -> Piece:
        """Name the network's family and cite its papers; for a baseline, name its source and cite Keras."""
        if self.get("/run/family") == BASELINE:
            of_keras = is_of_keras(str(self.get("/run/model")))
            source = "a network of keras.applications" if of_keras else "a network that a function defines in Keras"
            return Piece(f"{source} {self.cite('chollet2015')}")
        family = all_families().get(str(self.get("/run/family")))
        cited = "" if family is None else f" {self.cite(*family_keys(family))}"
        return Piece(f"of the family {self.value('/run/family')}{cited}")

    def monitor(self) -> Piece:
        """Name the metric that chose the epoch."""
        return Piece(MONITORED.get(str(self.get("/run/recipe/monitor")), "accuracy"))

    def search_method(self) -> Piece:
        """Describe how hyperparameters were searched."""
        search, scheduler = str(self.get("/sweep/params/search")), str(self.get("/sweep/params/scheduler"))
        parts = []
        if search in SEARCHES:
            name, keys = SEARCHES[search]
            parts.append(f"Hyperparameters were searched by {name}{self._cited(keys)}")
        else:
            parts.append("Hyperparameters were searched")
        trials = f" in {self.value('/sweep/params/trials')} trials" if self.known("/sweep/params/trials") else ""
        seed = f" (seed {self.value('/sweep/params/seed')})" if self.known("/sweep/params/seed") else ""
        cost = ""
        if self.known("/sweep/params/cost"):
            cost = f", for a high score and a low number of {self.value('/sweep/params/cost')} together"
        parts.append(f"{trials}{seed}{cost}, with Ray Tune {self.cite('liaw2018')}.")
        if scheduler in SCHEDULERS:
            what, keys = SCHEDULERS[scheduler]
            parts.append(f" Trials were {what}{self._cited(keys)}.")
        if self.get("/sweep/repeats"):
            count = self.value("/sweep/repeats", "count")
            parts.append(f" The best candidates were trained again with other seeds ({count} further trials).")
        return Piece("".join(parts))

    def decision_method(self) -> Piece:
        """Describe how classes are predicted."""
        if self.known("/cross_validation/id"):
            return Piece(
                "The temperature, and the thresholds of two classes or of labels, were chosen for each fold on the "
                "out-of-fold predictions of the other folds."
            )
        if not self.multi_label and len(self.class_list) > 2:
            return Piece("The most probable class was predicted.")
        if self.get("/evaluation/threshold") is None:
            return Piece("The more probable class was predicted; there is no threshold from validation images.")
        rule = self.get("/evaluation/threshold_rule/kind") or "youden"
        value = "/evaluation/threshold_rule/value"
        described = (
            f"maximises Youden’s index {self.cite('youden1950')}" if rule == "youden" else "was fixed beforehand"
        )
        if rule == "at_sensitivity":
            described = f"has the highest specificity at a sensitivity of {self.value(value, 'number')}"
        elif rule == "at_specificity":
            described = f"has the highest sensitivity at a specificity of {self.value(value, 'number')}"
        source = "/evaluation/threshold_rule/source"
        origin = f" on {self.value(source)}" if rule != "fixed" and self.known(source) else ""
        scale = " after temperature scaling" if self.known("/evaluation/temperature") else ""
        if self.multi_label:
            return Piece(f"A label was predicted at or above its threshold, which {described}{origin}.")
        positive = self.composer.key("/evaluation/images", self.class_list[1])
        threshold = self.value("/evaluation/threshold", "rate")
        probability = f"a probability{scale} of {threshold}"
        return Piece(f"Class {positive} was predicted at or above {probability}, which {described}{origin}.")

    def interval_method(self) -> Piece:
        """Describe the confidence intervals."""
        unit, grouped_by = "images", self.get("/evaluation/grouped_by")
        if grouped_by == "patients":
            unit = f"patients ({self.value('/evaluation/groups', 'count')}), each with all images"
        elif grouped_by == "groups":
            unit = f"groups of images ({self.value('/evaluation/groups', 'count')} groups)"
        elif grouped_by:
            count = self.value("/evaluation/groups", "count")
            unit = f"groups of images by {self.value('/evaluation/grouped_by')} ({count} groups)"
        exact = f"those of Clopper and Pearson {self.cite('clopper1934')}, which treat images as independent"
        if grouped_by:
            exact = f"those of Korn and Graubard for clustered images {self.cite('korn1998')}"
        independent = "" if grouped_by else ", which treats images as independent"
        return Piece(
            f"The intervals of proportions of images, such as the accuracy, are {exact}. Those of other metrics are "
            f"bias-corrected and accelerated bootstrap intervals {self.cite('efron1987')}, widened for small samples "
            f"{self.cite('hesterberg2015')}, from {self.value('/methods/resamples', 'count')} resamples of {unit}"
            f"{independent}."
        )

    def software(self) -> Piece:
        """Name the packages with their versions."""
        listed = [
            f"{name} {self.value(pointer('run', 'tags', f'versions.{tag}'))}{self._cited(keys)}"
            for tag, (name, keys) in PACKAGES.items()
            if self.get(pointer("run", "tags", f"versions.{tag}")) and (tag != "ray" or self.known("/sweep/id"))
        ]
        return join(listed)

    def exclusions(self) -> Piece:
        """List what was left out and why."""
        listed = []
        for index, exclusion in enumerate(self.get("/network/exclusions")):
            images = self.value(pointer("network", "exclusions", index, "images"), "count")
            reason = self.value(pointer("network", "exclusions", index, "reason"))
            split = f" in the {split_name(exclusion['split'])} split" if exclusion["split"] in SPLIT_NAMES else ""
            patients = ""
            if exclusion["patients"]:
                count = self.value(pointer("network", "exclusions", index, "patients"), "count")
                who = "patient who has" if exclusion["patients"] == 1 else "patients who have"
                patients = f", with {count} {who} no other image there"
            listed.append(f"{images}{split} ({reason}{patients})")
        return join(listed)

    def split_counts(self) -> Piece:
        """State the numbers of images and patients of each split."""
        listed = []
        for name, split in self.get("/network/splits").items():
            images = self.value(pointer("network", "splits", name, "images"), "count")
            patients = ""
            if split["patients"] is not None:
                patients = f" of {self.value(pointer('network', 'splits', name, 'patients'), 'count')} patients"
            listed.append(f"{images} {split_name(name)} images{patients}")
        return Piece(f"There are {join(listed)}.")

    def validation_scores(self) -> Piece:
        """State the validation scores of the network that was kept."""
        names = [name for name in ("loss", "accuracy", "auc") if self.known(f"/run/metrics/best_val_{name}")]
        if not names:
            return Piece("")
        scores = [
            f"{MONITORED[f'val_{name}']} of {self.value(f'/run/metrics/best_val_{name}', 'rate')}" for name in names
        ]
        return Piece(f", with a validation {join(scores)}")

    def proportion(self, root: str, name: str) -> str:
        """Return the numerator and the denominator of a sensitivity or specificity, as in "90 of 100; "."""
        counts = f"/{root}/confusion/counts"
        if self.multi_label or name not in PROPORTIONS or len(self.get(counts) or ()) != 2:
            return ""
        row = PROPORTIONS[name]
        right, all_images = f"{counts}/{row}/{row}", f"sum({counts}/{row}/*)"
        return f"{self.value(right, 'count')} of {self.value(all_images, 'count')} images; "

    def estimate(self, root: str, name: str, proportion: str = "") -> Piece:
        """Return a metric with its interval, after the proportion that it is."""
        point, interval = (f"/{root}/{kind}{pointer(name)}" for kind in ("metrics", "intervals"))
        value = self.value(point, "rate")
        if not self.known(f"{interval}/0"):
            return Piece(f"{value} ({proportion}no CI)")
        level = self.value("/methods/confidence_level", "percent")
        low, high = (self.value(f"{interval}/{end}", "rate") for end in (0, 1))
        return Piece(f"{value} ({proportion}{level} CI: {low}, {high})")

    def performance(self) -> Piece:
        """State the performance on the evaluated split and on external datasets."""
        parts = [self._performance("evaluation")]
        parts += [self._performance(f"external/{index}") for index in range(len(self.get("/external") or []))]
        return Piece(" ".join(parts))

    def _performance(self, root: str) -> str:
        split, images = str(self.get(f"/{root}/split")), self.value(self.evaluated_images(root), "count")
        where = f"the {images} {split_name(split)} images"
        if self.get(f"/{root}/external"):
            where = f"{images} images of the external dataset {self.value(f'/{root}/data')}"
        elif split == "out_of_fold":
            where = f"the {images} images, each predicted by the network that was not trained on its fold"
        elif split == "all":
            where = f"all {images} images"
        positive = self.get(f"/{root}/positive")
        prevalence = ""
        if positive is not None and not self.multi_label:
            of_class = self.value(f"/{root}/images{pointer(positive)}", "count")
            prevalence = f" ({of_class} of class {self.value(f'/{root}/positive')})"
        mean = ""
        if self.multi_label:
            mean = "mean "
        sentences = [f"On {where}{prevalence}, the {mean}AUC was {self.estimate(root, 'auc')}"] if self.known(
            f"/{root}/metrics/auc"
        ) else [f"On {where}{prevalence}, the AUC is not defined"]  # fmt: skip
        chosen = MAIN_METRICS if positive is not None or self.multi_label else OTHER_METRICS
        sentences.append(self._metrics(root, chosen, "At the operating point, the "))
        sentences.append(self._calibration(root))
        if self.known(f"/{root}/at_prevalence/metrics"):
            prevalence = self.value(f"/{root}/prevalence", "percent")
            start = f"At a prevalence of {prevalence}, the "
            sentences.append(self._metrics(f"{root}/at_prevalence", ("ppv", "npv"), start))
        if self.known(f"/{root}/recalibrated/metrics"):
            start = "With threshold and temperature cross-fitted on these images instead, the "
            sentences.append(self._metrics(f"{root}/recalibrated", RECALIBRATED_METRICS, start))
        return " ".join(f"{sentence}." for sentence in sentences if sentence)

    def _metrics(self, root: str, names: Iterable[str], start: str) -> str:
        found = [name for name in names if self.known(f"/{root}/metrics{pointer(name)}")]
        listed = [
            f"{self.title(name)} {'was ' * (name == found[0])}{self.estimate(root, name, self.proportion(root, name))}"
            for name in found
        ]
        return f"{start}{join(listed)}" if listed else ""

    def _calibration(self, root: str) -> str:
        listed = []
        for name in CALIBRATION_METRICS:
            if not self.known(f"/{root}/metrics/{name}"):
                continue
            scaled = f"{name}_scaled"
            estimates = self.estimate(root, name)
            if self.known(f"/{root}/metrics/{scaled}"):
                estimates = Piece(f"{estimates} before and {self.estimate(root, scaled)} after temperature scaling")
            listed.append(f"the {self.title(name)} was {estimates}")
        return f"In calibration, {join(listed)}" if listed else ""

    def title(self, name: str) -> Piece:
        """Name a metric."""
        return self.value(pointer("methods", "metrics", name, "title"))

    def test_set_evaluations(self) -> Piece:
        """State how often the test set has been evaluated."""
        root = "/evaluation/test_set_evaluations"
        if self.get(f"{root}/total") == 1:
            return Piece("This was the first evaluation on these test images in the store of the runs.")
        by_run, total = self.value(f"{root}/by_run", "count"), self.value(f"{root}/total", "count")
        return Piece(
            f"Evaluations on these test images were counted: {by_run} by this run and {total} by all runs in the store "
            f"({self.value(f'{root}/runs', 'count')} runs), this one included."
        )

    def _cited(self, keys: tuple[str, ...]) -> str:
        return f" {self.cite(*keys)}" if keys else ""


def context(composer: Composer) -> dict[str, Any]:
    """Return the conditions of the article's template."""
    get, known = composer.get, composer.known
    notes = get("/network/notes") or []
    of_validation = next((index for index, note in enumerate(notes) if note.startswith("Validation: ")), None)
    return {
        "patients_known": known("sum(/network/splits/*/patients)"),
        "unknown_patients": bool(get("sum(/network/splits/*/images_without_patient)")),
        "included_found": known("sum(/network/exclusions/*/images)"),
        "multi_label": bool(get("/evaluation/labels")),
        "cross_validated": known("/cross_validation/id"),
        "validation_note": None
        if of_validation is None or known("/cross_validation/id")
        else pointer("network", "notes", of_validation),
        "optimistic": get("/evaluation/split") == "validation",
    }
