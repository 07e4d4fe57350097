"""The location of a store: a SQLite database, created when it is first needed, or an MLflow server.

Invalid locations are detected here, before MLflow accesses them.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from filelock import FileLock
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from keras_cnns.errors import StoreError

SQLITE = "sqlite:///"
ARTIFACTS = "mlartifacts"
MLFLOW_TABLES = {"experiments", "alembic_version"}
CREATION_TIMEOUT = 120.0  # seconds
SERVER_TIMEOUT = 5.0  # seconds

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


def open_location(uri: str | None, *, create: bool) -> tuple[str, Path | None]:
    """Check that a store can be used, and return its absolute URI and, unless it is a server, its database file.

    Args:
        uri: The store; by default MLflow's environment variable, else `mlflow.db` in the working directory.
        create: Create a missing database.

    Raises:
        StoreError: The URI is not supported, or the store cannot be used.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db"
    scheme, separator, _ = uri.partition("://")
    if separator and scheme in ("http", "https"):
        check_server(uri.rstrip("/"))
        return uri.rstrip("/"), None
    name = uri.removeprefix(SQLITE)
    if not uri.startswith(SQLITE) or name in ("", ":memory:"):
        raise StoreError(
            f"unsupported store {uri!r}: use sqlite:///PATH.db or http://SERVER:PORT; for any other database, start "
            f"`mlflow server --backend-store-uri` and give its address."
        )
    database = Path(name).expanduser().absolute()
    prepare_database(database, create=create)
    return f"{SQLITE}{database}", database


def artifact_folder(database: Path) -> Path:
    """Return the folder with the files of the runs in a database."""
    return database.parent / ARTIFACTS


def project_folder(uri: str) -> Path:
    """Return the folder of a store's database or, for a server, the working directory."""
    return Path(uri.removeprefix(SQLITE)).parent if uri.startswith(SQLITE) else Path.cwd()


def current_artifact_uri(uri: str, database: Path | None) -> str:
    """Return the present URI of files that MLflow has recorded under an absolute URI.

    Files that were moved or copied together with their database are found beside it.
    """
    recorded = Path(url2pathname(urlsplit(uri).path))
    if database is None or not uri.startswith("file:") or ARTIFACTS not in recorded.parts:
        return uri
    folder, start = artifact_folder(database), len(recorded.parts) - recorded.parts[::-1].index(ARTIFACTS)
    moved = folder.joinpath(*recorded.parts[start:])
    return moved.as_uri() if moved.exists() or (folder.is_dir() and not recorded.exists()) else uri


def download(files: Any, path: str, folder: Path) -> Path:
    """Return the path of an artifact, downloaded to a folder unless it is on this machine."""
    return Path(files.download_artifacts(path, None if hasattr(files, "artifact_dir") else str(folder)))


def prepare_database(database: Path, *, create: bool) -> None:
    """Check that a file is an MLflow database, and create it if it is missing.

    Raises:
        StoreError: The file is something else, is missing and not to be created, or cannot be created.
    """
    if is_mlflow_database(database):
        return
    if not create:
        raise StoreError(
            f"{database} has no runs yet: create one with `keras-cnns train`, or choose another store with "
            f"--tracking-uri."
        )
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(database.with_name(f".{database.name}.lock"), timeout=CREATION_TIMEOUT):
            if not is_mlflow_database(database):
                create_database(database)
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise StoreError(
            f"cannot create the store {database}: {reason}; choose a writable location, such as sqlite:///PATH.db."
        ) from error


def is_mlflow_database(database: Path) -> bool:
    """Return True for an MLflow database and False for a missing or empty file.

    Raises:
        StoreError: The file is something else.
    """
    advice = "choose another file, which is then created"
    try:
        with database.open("rb") as file:
            if not file.read(1):
                return False
        # Not mode=ro, which could not roll back the transaction of a process that was killed.
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=rw", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise StoreError(f"cannot read the store {database}: {reason}; {advice}.") from error
    if tables and not tables >= MLFLOW_TABLES:
        raise StoreError(f"{database} is a database of another program than MLflow, and was not changed: {advice}.")
    return bool(tables)


def create_database(database: Path) -> None:
    """Create an MLflow database with its tables, under a temporary name until it is complete."""
    temporary = database.with_name(f".{database.name}.new")
    temporary.unlink(missing_ok=True)
    with quiet_logging():
        store = SqlAlchemyStore(f"{SQLITE}{temporary}", artifact_folder(database).as_uri())
    store.engine.dispose()
    temporary.replace(database)


@contextmanager
def quiet_logging() -> Iterator[None]:
    """Suppress log messages below the level of warnings, such as MLflow's progress messages."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.INFO))
    try:
        yield
    finally:
        logging.disable(before)


def check_server(uri: str) -> None:
    """Check that a server responds; MLflow itself would retry for minutes.

    Raises:
        StoreError: The server does not respond within seconds.
    """
    reason = ""
    try:
        urllib.request.urlopen(f"{uri}/health", timeout=SERVER_TIMEOUT).close()  # noqa: S310 - http or https
    except urllib.error.HTTPError as error:
        reason = f"{error.code} {error.reason}" if error.code >= 500 else ""
        error.close()
    except urllib.error.URLError as error:
        reason = "" if isinstance(error.reason, ssl.SSLError) else str(error.reason)
    except (OSError, ValueError) as error:
        reason = str(error)
    if reason:
        raise StoreError(
            f"no MLflow server responds at {uri} ({reason}): start one with `mlflow server`, or store runs in a file "
            f"with sqlite:///PATH.db."
        )
