"""MLflow's own database on this machine: made whole or not at all, and looked at before MLflow opens it."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from core.errors import RegistryError
from core.io import space
from core.io.drafts import draft

SCHEME = "sqlite:///"
FULL = "database or disk is full"  # as SQLite says it


def hush() -> None:
    """Keep what MLflow says of each table at its first start to itself, and tracebacks of what it raises besides."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def make_database(state: Path) -> None:
    """Make the default database in a folder, or look at the one that is there.

    It is made under another name first: a process killed meanwhile would leave one of no use. Of several processes that make it
    at once all take the first one's, which may be in use before the others are done.

    Raises:
        RegistryError: database-damaged, disk-full.
    """
    path = state / "mlflow.db"
    if path.exists():
        check_database(path)
        return
    hush()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with _room_told(state), draft(path, _unless_there) as hidden, _alone(hidden):
        SqlAlchemyStore(f"{SCHEME}{hidden}", str(state / "mlartifacts")).engine.dispose()


def _unless_there(made: Path, path: Path) -> None:
    """Put a database in its place; one that is there stays."""
    try:
        os.link(made, path)
    except FileExistsError:
        return
    except OSError:  # a file system without links
        if not path.exists():
            made.replace(path)


def check_database(path: Path) -> None:
    """Refuse a file that is no database: MLflow would say so in two tracebacks.

    Raises:
        RegistryError: database-damaged.
    """
    try:
        with closing(sqlite3.connect(path.absolute().as_uri() + "?mode=ro", uri=True)) as database:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:  # it is locked or may not be read, which says nothing of what it is
        return
    except sqlite3.DatabaseError as error:
        remedy = "restore it from a copy, or move it away"
        raise RegistryError("database-damaged", f"a database of MLflow in {path}", "a file that is none", remedy) from error


@contextmanager
def _room_told(folder: Path) -> Iterator[None]:
    """A fault within, where the folder's disk is full, is put down to that."""
    try:
        yield
    except Exception as error:
        if not (FULL in str(error) or space.is_full(folder)):
            raise
        remedy = "free space there, or name another folder"
        raise RegistryError("disk-full", f"room for a database of MLflow in {folder}", "a full disk", remedy) from error


@contextmanager
def _alone(hidden: Path) -> Iterator[None]:
    """Take away what SQLite leaves beside a draft that it could not make."""
    try:
        yield
    finally:
        for beside in hidden.parent.glob(f"{hidden.name}-*"):
            beside.unlink(missing_ok=True)
