"""Export of a run's network to the formats of other runtimes."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np

from keras_cnns.atomic import write_text
from keras_cnns.data.dataset import Dataset, Split, concatenate
from keras_cnns.display.progress import Progress
from keras_cnns.display.showing import shows_progress
from keras_cnns.display.summary import Summarized, Summary, SummaryTable
from keras_cnns.errors import ExportError, KerasCnnsError, WeightsError, first_line
from keras_cnns.evaluation.classifier import SUFFIX, Classifier, load_classifier
from keras_cnns.evaluation.run_images import load_for_run
from keras_cnns.exporting.certificate import Certificate, Reference, batches_of, make_reference, spread
from keras_cnns.exporting.formats import ExportFormat, all_formats, find_format
from keras_cnns.exporting.latency import Latency, measure_latency
from keras_cnns.lazy import STANDARD_OUTPUT, without_native_messages
from keras_cnns.networks.inference import inference_network
from keras_cnns.tracking import Store
from keras_cnns.tracking.runs import ID_LENGTH

FLOAT32, FOLDED, INT8 = "float32", "folded", "int8"
TOLERANCE, ACCURACY_TOLERANCE = 1e-5, 0.02
CALIBRATION_IMAGES = 300
CERTIFICATE = ".certificate.json"
EXPORTS = "exports"
ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Export:
    """An exported network.

    Attributes:
        path: The file or folder.
        certificate: How far it is from the run's network; also in the file beside it whose name ends in
            `.certificate.json`, and in the run.
        latency: How long its predictions take; None if that was not measured.
    """

    path: Path
    certificate: Certificate
    latency: Latency | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Exports(Summarized):
    """What `export` returns.

    Attributes:
        exports: The exported networks.
        latency_of_run: How long predictions of the run's network take in Keras; None if that was not measured.
        notes: What is not exported, and why.
    """

    exports: tuple[Export, ...]
    latency_of_run: Latency | None
    notes: tuple[str, ...] = ()

    def summary(self) -> Summary:
        """Return a row for each file."""
        found = [(made.path, made.certificate) for made in self.exports]
        rows = [
            (f"{each.format}, {each.form}", f"{each.largest_difference:.1e}", f"{each.changed_decisions}", str(path))
            for path, each in found
        ]
        columns = ("format", "largest difference", "changed decisions", "file")
        checked = f"checked on {found[0][1].images:,} {found[0][1].checked_on}" if found else "nothing was exported"
        return Summary(title=checked, tables=[SummaryTable(columns=columns, rows=rows)], notes=self.notes)


@shows_progress
def export(
    run: str,
    formats: str | Sequence[str] = "keras",
    *,
    folder: str | Path = EXPORTS,
    fold_batch_norm: bool = False,
    quantize: str | None = None,
    check: str | None = None,
    tolerance: float | None = None,
    benchmark: bool = False,
    tracking_uri: str | None = None,
    progress: bool | Progress = True,
) -> Exports:
    """Export the network of a run, and certify what each file computes in the runtime that will execute it.

    The files take pixel values from 0 to 255, float32, in the size and channels of the network, and return
    probabilities after temperature scaling. They contain the class names, the threshold, how images are converted, the
    licence of the weights and the run; a state dict has them in a JSON file beside it.

    Args:
        run: A run or a registered model, as for `keras_cnns.load`.
        formats: One or several formats, see `keras_cnns.exporting.formats`; "all" for those whose packages are
            installed and that can express the network.
        folder: The folder for the files.
        fold_batch_norm: Fold batch normalization into convolutions.
        quantize: "int8" for weights and activations of 8 bits, calibrated on training images; None for float32.
        check: The source of the images of the certificate; by default the validation images of the run.
        tolerance: The largest difference of a probability that is accepted; by default 1e-5. For "int8" the largest
            loss of accuracy; by default 0.02.
        benchmark: Measure latency and throughput, also those of the run's network.
        tracking_uri: The store of the run.
        progress: Whether to show progress, or what receives it.

    Raises:
        ExportError: A format does not exist, lacks packages, cannot express the network, or the tolerance is exceeded;
            then no file of this format is left.
        DataError: The images cannot be read.
        StoreError: There is no such run, or it has no saved network.
    """
    progress = cast("Progress", progress)  # as `shows_progress` passes it
    if quantize not in {None, INT8}:
        raise ExportError(f"quantize={quantize!r} is not possible; use 'int8'.")
    wanted = choose_formats(formats, quantize)
    classifier = load_classifier(run, tracking_uri=tracking_uri)
    progress.message("reading images")
    dataset = load_for_run(classifier.network, check, {}, hint="name others with --check (check)")
    split, source = choose_images(dataset, classifier, own=check is None)
    progress.message("predicting with the run's network")
    exporter = Exporter(
        reference=make_reference(classifier, split, source),
        training=read_training(classifier, dataset if check is None else None) if quantize else None,
        folder=Path(folder),
        fold_batch_norm=fold_batch_norm,
        tolerance=tolerance if tolerance is not None else ACCURACY_TOLERANCE if quantize else TOLERANCE,
        benchmark=benchmark,
    )
    exports: list[Export] = []
    notes: list[str] = []
    failures: list[str] = []
    for each in wanted:
        progress.message(f"exporting to {each.title}")
        try:
            exports.append(exporter.export(each))
        except WeightsError as error:
            if len(wanted) == 1:
                raise
            notes.append(f"not exported to {each.name}: {error}")
        except ExportError as error:
            failures.append(str(error))
    if exports and not run.endswith(SUFFIX):
        files = [certificate_path(made.path) for made in exports]
        Store(tracking_uri, create=False).log_files(classifier.run_id, *files, into=EXPORTS)
    if failures:
        written = ", ".join(str(made.path) for made in exports)
        raise ExportError("; ".join([*failures, *([f"written: {written}"] if written else [])]))
    return Exports(
        exports=tuple(exports), latency_of_run=exporter.measure_run() if benchmark else None, notes=tuple(notes)
    )


def choose_formats(formats: str | Sequence[str], quantize: str | None) -> list[ExportFormat]:
    """Return the formats.

    Raises:
        ExportError: A format does not exist, lacks packages, or has no form of 8 bits.
    """
    if formats == ALL:
        usable = [each for each in all_formats().values() if not each.missing]
        return [each for each in usable if quantize is None or each.quantize is not None]
    found = [find_format(name) for name in dict.fromkeys([formats] if isinstance(formats, str) else formats)]
    for each in found:
        if quantize is not None and each.quantize is None:
            able = ", ".join(other.name for other in all_formats().values() if other.quantize is not None)
            raise ExportError(f"format {each.name} has no {quantize} form; use {able}.")
    return found


def choose_images(dataset: Dataset, classifier: Classifier, *, own: bool) -> tuple[Split, str]:
    """Return the images of the check with the classes of the network, and what they are.

    Raises:
        ExportError: The classes are others.
    """
    class_names = classifier.class_names
    if own and "validation" in dataset.splits:
        changed = dataset.fingerprint != classifier.network.run.data_fingerprint
        remark = ", which have changed since the training" if changed else ""
        return dataset.splits["validation"], f"validation images of {dataset.name}{remark}"
    unknown = [name for name in dataset.class_names if name not in class_names]
    if unknown:
        raise ExportError(
            f"{dataset.name} has the class {unknown[0]!r}, which the network does not have; check on images of "
            f"{', '.join(class_names)}."
        )
    split = concatenate([*dataset.splits.values()])
    order = np.array([class_names.index(name) for name in dataset.class_names])
    if split.labels.ndim == 1:
        return replace(split, labels=order[split.labels]), f"images of {dataset.name}"
    labels = np.zeros((len(split), len(class_names)), split.labels.dtype)
    labels[:, order] = split.labels
    return replace(split, labels=labels), f"images of {dataset.name}"


def read_training(classifier: Classifier, dataset: Dataset | None) -> np.ndarray:
    """Return some training images of a run, evenly spaced, on which 8-bit ranges are calibrated."""
    hint = "int8 is calibrated on them, so put them back, or export float32"
    images = (dataset or load_for_run(classifier.network, None, {}, hint=hint)).training.images
    return np.asarray(images[spread(len(images), CALIBRATION_IMAGES)])


def certificate_path(path: Path) -> Path:
    """Return the path of the certificate of an exported file."""
    return path.with_name(f"{path.name}{CERTIFICATE}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Exporter:
    """What is the same for all formats of one call of `export`.

    Attributes:
        reference: The answers of the run's network.
        training: Images for the calibration of 8-bit ranges; None for float32.
        folder: The folder for the files.
        fold_batch_norm: Whether batch normalization is folded.
        tolerance: See `export`.
        benchmark: Whether latency is measured.
    """

    reference: Reference
    training: np.ndarray | None
    folder: Path
    fold_batch_norm: bool
    tolerance: float
    benchmark: bool

    @cached_property
    def description(self) -> dict[str, Any]:
        """The description that the files contain; their outputs are after temperature scaling."""
        classifier = self.reference.classifier
        threshold = classifier.threshold
        return {
            **classifier.describe(),
            "licence": classifier.licence,
            "applied_temperature": classifier.temperature,
            "pixels": "float32 from 0 to 255, shape (images, height, width, channels)",
            "thresholds": list(threshold) if isinstance(threshold, tuple) else threshold,
        }

    def form(self, each: ExportFormat) -> str:
        """Return the form of the network in a format: "float32", "folded" or "int8"."""
        if self.training is not None:
            return INT8
        return FOLDED if self.fold_batch_norm and each.folds else FLOAT32

    def export(self, each: ExportFormat) -> Export:
        """Write and certify one format; the file gets its name when it has passed.

        Raises:
            ExportError: The format cannot express the network, or the tolerance is exceeded.
            WeightsError: No library has such a network, for a state dict.
        """
        classifier = self.reference.classifier
        run = classifier.network.run
        form = self.form(each)
        end = "" if form == FLOAT32 else f"-{form}"
        name = f"{run.name}-{run.id[:ID_LENGTH]}{end}{each.suffix or f'-{each.name}'}"
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".export-") as temporary:
            path = Path(temporary, name)
            model = inference_network(
                classifier.model,
                fold_batch_norm=form == FOLDED,
                temperature=classifier.temperature,
                split_groups=each.splits_groups,
            )
            self.write(each, model, path)
            with quiet_output():
                runtime = each.load(path, model)
            certificate = Certificate(
                run=run.id, format=each.name, form=form, file=name, runtime=each.runtime,
                checked_on=self.reference.source, tolerance=self.tolerance, **measure_files(path),
                calibrated_on=0 if self.training is None else len(self.training), **self.reference.compare(runtime),
            )  # fmt: skip
            if not certificate.passed:
                raise ExportError(describe_failure(certificate))
            latency = measure_latency(runtime, self.reference.split.images) if self.benchmark else None
            place = self.folder / name
            replace_path(path, place)
        write_text(certificate_path(place), json.dumps(certificate.as_dict(), indent=1))
        return Export(path=place, certificate=certificate, latency=latency)

    def write(self, each: ExportFormat, model: keras.Model, path: Path) -> None:
        """Write one format.

        Raises:
            ExportError: It cannot express the network.
        """
        images = self.training
        try:
            with quiet_output():
                if images is None:
                    each.write(model, self.description, path)
                elif each.quantize is not None:
                    each.quantize(model, self.description, path, lambda: batches_of(images))
        except KerasCnnsError:
            raise
        except Exception as error:
            raise ExportError(
                f"{each.title} cannot express {model.name} ({first_line(error)[:200]}); use another format."
            ) from error

    def measure_run(self) -> Latency:
        """Measure the run's own network in Keras."""
        model = self.reference.classifier.model
        return measure_latency(lambda pixels: np.asarray(model.predict_on_batch(pixels)), self.reference.split.images)


def describe_failure(certificate: Certificate) -> str:
    """Return the message about a certificate that does not keep the tolerance."""
    if certificate.form == INT8:
        return (
            f"{certificate.format}: int8 has accuracy {certificate.accuracy.value:.3f} instead of "
            f"{certificate.accuracy_of_run.value:.3f} on the {certificate.checked_on}, a loss above "
            f"{certificate.tolerance:g}; nothing was written; accept it with --tolerance (tolerance) or "
            f"export float32."
        )
    return (
        f"{certificate.format}: probabilities differ by up to {certificate.largest_difference:.1e}, more than "
        f"{certificate.tolerance:g}, and {certificate.changed_decisions} of {certificate.images:,} decisions change; "
        f"nothing was written; accept it with --tolerance (tolerance), or use another format."
    )


def measure_files(path: Path) -> dict[str, Any]:
    """Return the checksum and the size of a file or of the files in a folder."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return {"sha256": digest.hexdigest(), "bytes": sum(file.stat().st_size for file in files)}


def replace_path(source: Path, target: Path) -> None:
    """Move a file or folder, replacing an earlier export."""
    if target.is_dir():
        shutil.rmtree(target)
    source.replace(target)


@contextmanager
def quiet_output() -> Iterator[None]:
    """Discard what converters print, which is not about the user's network; errors are raised."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with without_native_messages(STANDARD_OUTPUT), without_native_messages(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
