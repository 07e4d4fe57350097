"""What has to be said beside the numbers of an evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from keras_cnns.data import Dataset
from keras_cnns.data.dataset import Split
from keras_cnns.evaluation.checks import ALL, GROUPS, PATIENTS, is_own
from keras_cnns.evaluation.ensembles import Ensemble, Settled
from keras_cnns.evaluation.metrics import HALF


def notes(
    ensemble: Ensemble, dataset: Dataset, split: str, chosen: Split, settled: Settled, *, grouped: str, views: int
) -> Iterator[str]:
    """Yield what has to be said.

    Args:
        ensemble: The networks.
        dataset: The images.
        split: Which of them are measured.
        chosen: Those.
        settled: What they are decided by.
        grouped: What the bootstrap draws as a whole, "" for images.
        views: How many views of each image there are.
    """
    yield from ensemble.notes
    yield from of_origin(ensemble, dataset, split)
    yield from of_classes(ensemble, dataset)
    twice = repeated(dataset, split, chosen, ("train", "validation") if ensemble.knows_validation else ("train",))
    if twice:
        yield f"Images that are, pixel by pixel, training images too: {twice:,} of {len(chosen):,}."
    yield from of_settling(ensemble, settled, views)
    yield of_groups(grouped)
    yield from dataset.notes


def of_origin(ensemble: Ensemble, dataset: Dataset, split: str) -> Iterator[str]:
    """Say whose images these are."""
    others = [member.run for member in ensemble.members if member.run.data_fingerprint != dataset.fingerprint]
    if not is_own(ensemble, dataset):
        run = ensemble.first.run
        yield (
            f"These are not the images of the run ({run.data_name}, fingerprint {run.data_fingerprint or 'unknown'}) "
            f"but an external set ({dataset.name}, fingerprint {dataset.fingerprint})."
        )
        if run.data_name == dataset.name:
            yield (
                "They have the name of the run's own images. If they are those, only split or sized in another way, "
                "the network may have seen some of them."
            )
        if split == ALL:
            yield f"All images of {dataset.name} are measured, whatever split they are in there."
    elif others:
        yield (
            f"Runs trained on other images, or on other splits of them: {', '.join(run.id for run in others)}. Whether "
            f"they have seen these images is not known."
        )
    elif split == "validation":
        by_epoch = any(member.run.recipe.get("keep") != "last" for member in ensemble.members)
        settled = f"{'the epoch, ' if by_epoch else ''}the threshold and the temperature"
        yield f"These images chose {settled}: the numbers are too good for new images."


def of_classes(ensemble: Ensemble, dataset: Dataset) -> Iterator[str]:
    """Say how classes of other names or in another order are matched."""
    names = ensemble.first.class_names
    if sorted(dataset.class_names) != sorted(names):
        yield (
            f"The classes are called {', '.join(dataset.class_names)} here and {', '.join(names)} in the run; they are "
            f"taken to be the same in this order."
        )
    elif dataset.class_names != names:
        yield "The classes come in another order than in the run; they are matched by name."


def of_settling(ensemble: Ensemble, settled: Settled, views: int) -> Iterator[str]:
    """Say what validation images did not settle, or settled otherwise than it is used here."""
    names = ensemble.first.class_names
    if ensemble.knows_validation:
        yield (
            "A refit: trained on training and validation images together, so its threshold and temperature come from "
            "the trial that it repeats, which had not seen the validation images."
        )
    whose = "The run has" if ensemble.single else "The runs together have"
    if isinstance(settled.threshold, tuple):
        halves = [name for name, own in zip(names, settled.threshold, strict=True) if own == HALF]
        if halves:
            yield f"{whose} no threshold from validation images for {', '.join(halves)}: 0.5 counts."
    elif len(names) == 2 and settled.threshold is None:
        yield f"{whose} no threshold from validation images: the likelier class counts."
    if settled.temperature is None:
        yield f"{whose} no temperature from validation images: there is nothing after temperature scaling."
    if views > 1 and "views" not in settled.where and settled.threshold is not None:
        yield f"The threshold and the temperature were settled without views, and are used here with {views}."


def of_groups(grouped: str) -> str:
    """Say what the bootstrap draws."""
    if not grouped:
        return (
            "The intervals take each image for a draw of its own. Where a patient has several images here, they are "
            "too narrow."
        )
    origin = {PATIENTS: "patients, as the source knows them", GROUPS: "groups, as they were given"}
    return f"The intervals draw whole {origin.get(grouped, f'groups, by the column {grouped}')}."


def repeated(dataset: Dataset, split: str, chosen: Split, trained_on: Sequence[str] = ("train",)) -> int:
    """Return how many images of a split are among the training images, in some splits of the same data set."""
    learned = [dataset.splits[name] for name in trained_on if name in dataset.splits and name != split]
    if split == ALL or not learned:
        return 0
    known = {hashlib.sha256(image.tobytes()).digest() for part in learned for image in part.images}
    return sum(hashlib.sha256(image.tobytes()).digest() in known for image in chosen.images)
