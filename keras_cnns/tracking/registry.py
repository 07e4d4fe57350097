"""MLflow's model registry: networks under a name, in versions, one of them the champion.

    name     the purpose of the networks, such as sweep-densenet-chest
    version  1, 2, ...: the network of one run, with its run, sweep, dataset and score as tags
    alias    "champion", the version to use, or "challenger", a version that did not score higher than the champion

A program loads the champion as `models:/NAME@champion`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from keras_cnns.errors import SettingError, StoreError, first_line
from keras_cnns.tracking.location import quiet_logging
from keras_cnns.tracking.retry import retry
from keras_cnns.tracking.runs import FINGERPRINT
from keras_cnns.tracking.store import Store

CHAMPION, CHALLENGER = "champion", "challenger"
MODELS = "models:/"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,199}")


@dataclass(frozen=True, kw_only=True)
class RegisteredVersion:
    """A version of a registered model.

    Attributes:
        name: The name of the registered model.
        version: The version of this network.
        alias: "champion", or "challenger" if the previous champion scored higher.
    """

    name: str
    version: str
    alias: str

    @property
    def uri(self) -> str:
        """The URI to load it with `mlflow`, until another version gets its alias."""
        return f"models:/{self.name}@{self.alias}"


class Registry:
    """The model registry of a store.

    Args:
        store: The store, a database or a server.
    """

    def __init__(self, store: Store) -> None:
        self.retry_timeout = store.retry_timeout
        self.location = store.location
        self._store = store
        self._client = MlflowClient(tracking_uri=store.uri, registry_uri=store.uri)

    @retry
    def register(self, run_id: str, name: str, *, scored_by: str, tags: Mapping[str, str]) -> RegisteredVersion:
        """Register the network of a run, unless it is registered already.

        The new version becomes the champion, unless the present champion scored higher on the same images; then it
        becomes the challenger. Scores on other images, or of another metric, are not compared.

        Args:
            run_id: The run.
            name: The name of the registered model, created if necessary.
            scored_by: The tag with the score; higher is better.
            tags: The tags of this version, which include "data.fingerprint" and the score.

        Raises:
            SettingError: The name is not valid.
            StoreError: The run has no network, or the store fails.
        """
        check_name(name)
        version = self._find_version(name, run_id)
        if version is None:
            self._create_name(name)
            model = self._store.logged_model(run_id)
            # The location instead of models:/ID, which MLflow would look up in its global store.
            with quiet_logging():
                version = self._client.create_model_version(
                    name, source=model.artifact_location, run_id=run_id, model_id=model.model_id, tags=dict(tags)
                )
        champion = self._find_alias(name, CHAMPION)
        wins = champion is None or champion.version == version.version or not scores_higher(champion, tags, scored_by)
        alias = CHAMPION if wins else CHALLENGER
        self._client.set_registered_model_alias(name, alias, version.version)
        return RegisteredVersion(name=name, version=str(version.version), alias=alias)

    @retry
    def find_run(self, uri: str) -> str:
        """Return the ID of the run of a registered model, `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

        Raises:
            StoreError: There is no such model, version or alias.
        """
        name, separator, alias = uri.removeprefix(MODELS).partition("@")
        try:
            if separator:
                return str(self._client.get_model_version_by_alias(name, alias).run_id)
            name, _, version = name.rpartition("/")
            return str(self._client.get_model_version(name, version).run_id)
        except MlflowException as error:
            if error.error_code not in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
                raise
            raise StoreError(f"{uri} is not in {self.location}: {first_line(error)}") from None

    def _find_version(self, name: str, run_id: str) -> ModelVersion | None:
        versions = self._client.search_model_versions(f"name = '{name}'")
        return next((version for version in versions if version.run_id == run_id), None)

    def _create_name(self, name: str) -> None:
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _find_alias(self, name: str, alias: str) -> ModelVersion | None:
        try:
            return self._client.get_model_version_by_alias(name, alias)
        except MlflowException as error:
            if error.error_code not in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
                raise
            return None


def scores_higher(version: ModelVersion, tags: Mapping[str, str], scored_by: str) -> bool:
    """Return whether a version scores higher than one with these tags, on the same images and by the same metric."""
    comparable = version.tags.get(FINGERPRINT) == tags[FINGERPRINT] and scored_by in version.tags
    return comparable and float(version.tags[scored_by]) > float(tags[scored_by])


def check_name(name: str) -> str:
    """Return the name of a registered model if it is valid.

    Raises:
        SettingError: The name is not valid.
    """
    if not NAME.fullmatch(name):
        raise SettingError(
            f"{name!r} is not a valid name for the model registry: use letters, digits, dots and dashes, at most 200."
        )
    return name


def sanitize_name(text: str) -> str:
    """Return a valid name for the model registry, with a dash for each run of other characters."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:200]
