"""MLflow's model registry: networks under a name, in versions, one of them the champion.

    name     what a network is for, such as sweep-densenet-chest
    version  1, 2, ...: the network of one run; tags say which run and sweep, on which images, and what it scored
    alias    "champion", the version to use; "challenger", one that scored no more than the champion

A program loads the champion as `models:/NAME@champion`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from keras_cnns.errors import SettingError, StoreError
from keras_cnns.tracking.location import quiet
from keras_cnns.tracking.retry import retry
from keras_cnns.tracking.store import Store

CHAMPION, CHALLENGER = "champion", "challenger"
FINGERPRINT = "data.fingerprint"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,199}")


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A network in the registry.

    Attributes:
        name: What it is registered as.
        version: Its version under that name.
        alias: "champion", or "challenger" where the champion before it had scored more.
    """

    name: str
    version: str
    alias: str

    @property
    def uri(self) -> str:
        """What `mlflow` loads it by, as long as the alias is its own."""
        return f"models:/{self.name}@{self.alias}"


class Registry:
    """The model registry of a store.

    Args:
        store: The store, a database or a server.
    """

    def __init__(self, store: Store) -> None:
        self.patience = store.patience
        self.location = store.location
        self._client = MlflowClient(tracking_uri=store.uri, registry_uri=store.uri)

    def forget(self) -> None:
        """Nothing: what is in the registry is asked for each time."""

    @retry
    def register(self, run_id: str, name: str, *, scored_by: str, tags: Mapping[str, str]) -> Registered:
        """Register the network that a run has kept, once however often it is asked for.

        It becomes the champion of its name, unless the present one scored more on the same images; then it is the
        challenger. Scores of other images, or of another metric, are not compared.

        Args:
            run_id: The run.
            name: The name, made where there is none.
            scored_by: The tag that holds the score, of which more is better.
            tags: What is known of this version: "data.fingerprint", the score and whatever else.

        Raises:
            SettingError: It cannot be a name.
            StoreError: The store fails.
        """
        check_name(name)
        version = self._version(name, run_id)
        if version is None:
            self._make_name(name)
            model = self._kept_model(run_id)
            # Its place, not models:/ID, which MLflow looks up in its global store, and that may be another one.
            with quiet():
                version = self._client.create_model_version(
                    name, source=model.artifact_location, run_id=run_id, model_id=model.model_id, tags=dict(tags)
                )
        present = self._aliased(name, CHAMPION)
        beaten = present is None or present.version == version.version or not scored_more(present, tags, scored_by)
        alias = CHAMPION if beaten else CHALLENGER
        self._client.set_registered_model_alias(name, alias, version.version)
        return Registered(name=name, version=str(version.version), alias=alias)

    def _kept_model(self, run_id: str) -> LoggedModel:
        outputs = self._client.get_run(run_id).outputs
        if outputs is None or not outputs.model_outputs:
            raise StoreError(f"run {run_id} in {self.location} has kept no network that could be registered.")
        return self._client.get_logged_model(outputs.model_outputs[-1].model_id)

    def _version(self, name: str, run_id: str) -> ModelVersion | None:
        found = self._client.search_model_versions(f"name = '{name}'")
        return next((version for version in found if version.run_id == run_id), None)

    def _make_name(self, name: str) -> None:
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _aliased(self, name: str, alias: str) -> ModelVersion | None:
        try:
            return self._client.get_model_version_by_alias(name, alias)
        except MlflowException as error:
            if error.error_code not in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
                raise
            return None


def scored_more(present: ModelVersion, tags: Mapping[str, str], scored_by: str) -> bool:
    """Return whether a version scored more, on the same images and by the same metric, than what these tags say."""
    comparable = present.tags.get(FINGERPRINT) == tags[FINGERPRINT] and scored_by in present.tags
    return comparable and float(present.tags[scored_by]) > float(tags[scored_by])


def check_name(name: str) -> str:
    """Return what a network can be registered as, or say why it cannot.

    Raises:
        SettingError: It cannot.
    """
    if not NAME.fullmatch(name):
        raise SettingError(
            f"{name!r} cannot be a name in the registry: use letters, digits, dots and dashes, 200 at most."
        )
    return name


def as_name(text: str) -> str:
    """Return a text with what a name in the registry cannot hold turned into dashes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:200]
