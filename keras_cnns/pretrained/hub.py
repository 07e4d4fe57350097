"""Weights in repositories of Hugging Face, with the extra `hub`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from keras_cnns.errors import WeightsError, first_line
from keras_cnns.networks.preprocessing import Preprocessing
from keras_cnns.pretrained.download import compute_sha256, is_offline

FILES = ("model.safetensors", "model.weights.h5", "model.keras", "pytorch_model.bin")
"""The names under which weights are looked for, best first."""


@dataclass(frozen=True, kw_only=True)
class RepositoryFile:
    """Weights in a repository.

    Attributes:
        address: The repository, its revision and the file.
        path: The downloaded file.
        sha256: Its SHA-256.
        licence: The licence in the model card, "" if there is none.
        preprocessing: From timm's configuration; None if there is none.
    """

    address: str
    path: Path
    sha256: str
    licence: str
    preprocessing: Preprocessing | None


def fetch_repository(reference: str) -> RepositoryFile:
    """Return the weights of a repository, downloaded unless they are in the cache.

    Args:
        reference: "ORGANISATION/NAME", optionally with "@REVISION".

    Raises:
        WeightsError: `huggingface-hub` is not installed, or the repository has no weights or cannot be reached.
    """
    name, _, revision = reference.partition("@")
    if name.count("/") != 1 or not all(name.split("/")):
        raise WeightsError(f"{reference!r} is not a repository; write hf://ORGANISATION/NAME or timm:NAME.")
    path = next(filter(None, (fetch_file(name, file, revision) for file in FILES)), None)
    if path is None:
        raise WeightsError(f"{name} has no weights; it would have to contain {', '.join(FILES[:-1])} or {FILES[-1]}.")
    sha256 = verify(path)
    configuration, card = (fetch_file(name, file, revision) for file in ("config.json", "README.md"))
    return RepositoryFile(
        address=f"hf://{name}@{find_revision(path)}/{path.name}",
        path=path,
        sha256=sha256,
        licence=read_licence(card),
        preprocessing=read_preprocessing(configuration),
    )


def fetch_file(name: str, file: str, revision: str) -> Path | None:
    """Return a file of a repository, or None if the repository does not have it."""
    try:
        import huggingface_hub  # noqa: PLC0415 - an extra
        from huggingface_hub import errors  # noqa: PLC0415
    except ImportError:
        message = "weights of Hugging Face and timm need huggingface-hub: pip install 'keras-cnns[hub]'."
        raise WeightsError(message) from None
    try:
        found = huggingface_hub.hf_hub_download(name, file, revision=revision or None, local_files_only=is_offline())
    except errors.EntryNotFoundError as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            raise WeightsError(unreachable(name, file, error)) from None
        return None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise WeightsError(f"hf://{name}: {first_line(error)}") from None
    except (OSError, ValueError, errors.HfHubHTTPError) as error:
        raise WeightsError(unreachable(name, file, error)) from None
    return Path(found)


def unreachable(name: str, file: str, error: Exception) -> str:
    """Return the message that a file can neither be found in the cache nor be downloaded."""
    reason = "downloads are forbidden" if is_offline() else f"it cannot be downloaded ({first_line(error)[:120]})"
    return f"hf://{name}/{file} is not in the cache, and {reason}."


def verify(path: Path) -> str:
    """Return the SHA-256 of a file, which must be that by which Hugging Face's cache names it.

    Raises:
        WeightsError: The file has changed.
    """
    name, sha256 = path.resolve().name, compute_sha256(path)
    if len(name) == len(sha256) and sha256 != name:
        raise WeightsError(f"{path}: its checksum is not that of the published file; delete it and try again.")
    return sha256


def find_revision(path: Path) -> str:
    """Return the revision of a file in Hugging Face's cache, whose folder is named after it."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1][:12] if "snapshots" in parts[:-1] else "unknown"


def read_licence(card: Path | None) -> str:
    """Return the licence in the metadata of a model card."""
    text = card.read_text("utf-8", errors="replace") if card is not None else ""
    if not text.startswith("---"):
        return ""
    try:
        metadata = yaml.safe_load(text.split("---", 2)[1])
    except yaml.YAMLError:
        return ""
    licence = metadata.get("license", "") if isinstance(metadata, dict) else ""
    return licence if isinstance(licence, str) else ""


def read_preprocessing(configuration: Path | None) -> Preprocessing | None:
    """Return the standardization in timm's configuration of a network.

    Raises:
        WeightsError: The configuration is not valid.
    """
    if configuration is None:
        return None
    try:
        found = json.loads(configuration.read_text("utf-8"))
        known = {**found, **(found.get("pretrained_cfg") or {})}
        if not known.get("mean") or not known.get("std"):
            return None
        mean, deviation = ([255 * float(value) for value in known[name]] for name in ("mean", "std"))
        return Preprocessing.from_mean(mean, deviation)
    except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{configuration}: the configuration of the weights is not valid ({first_line(error)})."
        ) from None
