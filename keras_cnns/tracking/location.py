"""Where runs are kept: a SQLite file, made when it is first needed, or an MLflow server.

Whatever is wrong with a place is found here, before MLflow touches it.
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
from urllib.parse import urlsplit
from urllib.request import url2pathname

from filelock import FileLock
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from keras_cnns.errors import StoreError

SQLITE = "sqlite:///"
SQLITE_HEADER = b"SQLite format 3\0"
ARTIFACTS = "mlartifacts"
MLFLOW_TABLES = {"experiments", "alembic_version"}
CREATION_SECONDS = 120.0
ANSWER_SECONDS = 5.0
WORKS = "sqlite:///PATH.db and http://SERVER:PORT are what works"


def find_place(uri: str | None) -> tuple[str, Path | None]:
    """Return a store's URI, written out, and its database file if it has one.

    Args:
        uri: MLflow's environment variable, or `mlflow.db` in the working directory, where it is None.

    Raises:
        StoreError: This is not the URI of a store.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db"
    scheme, separator, _ = uri.partition("://")
    if separator and scheme in ("http", "https"):
        return uri.rstrip("/"), None
    name = uri.removeprefix(SQLITE)
    if not uri.startswith(SQLITE) or name in ("", ":memory:"):
        raise StoreError(
            f"runs cannot be kept in {uri!r}: {WORKS}; for any other database start "
            f"`mlflow server --backend-store-uri` and give its address."
        )
    database = Path(name).expanduser().absolute()
    return f"{SQLITE}{database}", database


def artifact_folder(database: Path) -> Path:
    """Return where the files of the runs in a database are kept."""
    return database.parent / ARTIFACTS


def present_place(uri: str, database: Path | None) -> str:
    """Return where files are, or will be, that MLflow has written down at a URI.

    That is beside the database where both were moved or copied together: MLflow writes whole paths.
    """
    parts = Path(url2pathname(urlsplit(uri).path)).parts
    if database is None or not uri.startswith("file:") or ARTIFACTS not in parts:
        return uri
    folder, begin = artifact_folder(database), len(parts) - parts[::-1].index(ARTIFACTS)
    beside = folder.joinpath(*parts[begin:])
    moved = beside.exists() or (folder.is_dir() and not Path(*parts).exists())
    return beside.as_uri() if moved else uri


def prepare_database(database: Path, *, create: bool) -> None:
    """Check that a file is an MLflow database; where there is none, make it.

    It is made under another name, one process at a time, so whatever has its name is whole.

    Raises:
        StoreError: The file is something else, is missing, or cannot be made.
    """
    if holds_runs(database):
        return
    if not create:
        raise StoreError(
            f"there are no runs in {database} yet: `keras-cnns train` makes some, or name another store "
            f"with --tracking-uri."
        )
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(database.with_name(f".{database.name}.lock"), timeout=CREATION_SECONDS):
            if not holds_runs(database):
                create_database(database)
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise StoreError(
            f"cannot make the store {database}: {reason}; name a place that can be written, such as sqlite:///PATH.db."
        ) from error


def holds_runs(database: Path) -> bool:
    """Return whether a file is an MLflow database (True), or missing or empty (False), without changing it.

    Raises:
        StoreError: The file is neither.
    """
    advice = "name another file, which is then made"
    try:
        with database.open("rb") as file:
            header = file.read(len(SQLITE_HEADER))
        if not header:
            return False
        if header != SQLITE_HEADER:
            raise StoreError(f"{database} is not a SQLite database, so it is left alone: {advice}.")
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StoreError(f"cannot read the store {database}: {error.strerror}; {advice}.") from error
    except sqlite3.Error as error:
        raise StoreError(f"cannot read the store {database}: {error}; {advice}.") from error
    if tables and not tables >= MLFLOW_TABLES:
        raise StoreError(f"{database} belongs to another program, not to MLflow, so it is left alone: {advice}.")
    return bool(tables)


def create_database(database: Path) -> None:
    """Make an MLflow database with its tables."""
    temporary = database.with_name(f".{database.name}.new")
    temporary.unlink(missing_ok=True)
    with quiet():
        store = SqlAlchemyStore(f"{SQLITE}{temporary}", artifact_folder(database).as_uri())  # type: ignore[no-untyped-call]
    store.engine.dispose()
    temporary.replace(database)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what MLflow says about its own doings off the terminal; warnings pass."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.INFO))
    try:
        yield
    finally:
        logging.disable(before)


def check_server(uri: str) -> None:
    """Ask a server for a sign of life; MLflow itself would try for minutes.

    Raises:
        StoreError: There is none within seconds.
    """
    reason = ""
    try:
        urllib.request.urlopen(f"{uri}/health", timeout=ANSWER_SECONDS).close()  # noqa: S310 - http or https
    except urllib.error.HTTPError as error:
        reason = f"{error.code} {error.reason}" if error.code >= 500 else ""
        error.close()
    except urllib.error.URLError as error:
        reason = "" if isinstance(error.reason, ssl.SSLError) else str(error.reason)
    except (OSError, ValueError) as error:
        reason = str(error)
    if reason:
        raise StoreError(
            f"no MLflow server answers at {uri} ({reason}): start it with `mlflow server`, or keep runs in a file "
            f"with sqlite:///PATH.db."
        )
