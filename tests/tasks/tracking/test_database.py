"""A database of MLflow that is none, or for which there is no room, is told in one line; nothing half made stays."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from cli import main as cli
from core.errors import RegistryError
from tasks.pipeline.clean import LEFTOVER
from tasks.tracking import database
from tasks.tracking.database import check_database, make_database

connect = sqlite3.connect
STORE = "mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore"


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A database whose beginning was overwritten."""
    path = tmp_path / "with a blank" / "mlflow.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE experiments (name TEXT)")
        made.commit()
    path.write_bytes(b"\x07" * 5000 + path.read_bytes()[5000:])
    return path


def failing(error: Exception, seen: list[str]) -> Callable[[str, str], object]:
    """What MLflow does where its tables cannot be made: files beside, and an error."""

    def make(uri: str, _: str) -> object:
        path = Path(uri.removeprefix("sqlite:///"))
        for beside in ("", "-journal"):
            path.with_name(path.name + beside).write_bytes(b"half")
        seen.append(path.name)
        raise error

    return make


def test_a_file_that_is_no_database_is_told_before_mlflow_opens_it(damaged: Path) -> None:
    said = (
        r"database-damaged: expected a database of MLflow in .*mlflow\.db, but got a file that is none\. Restore it from a copy"
    )
    with pytest.raises(RegistryError, match=said):
        make_database(damaged.parent)


@pytest.mark.parametrize("words", [("models", "list"), ("models", "list", "--tracking-uri", "sqlite:///{}")])
def test_a_command_says_it_in_one_line(
    damaged: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if len(words) == 2:
        monkeypatch.setenv("ISOVOX_HOME", str(damaged.parent))
    assert cli.main([word.format(damaged) for word in words]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("isovox: database-damaged: ")


def test_a_database_that_is_empty_or_in_use_is_none_of_our_business(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    check_database(tmp_path / "empty.db")
    with closing(sqlite3.connect(tmp_path / "used.db", isolation_level=None)) as used:
        used.execute("PRAGMA locking_mode = EXCLUSIVE")
        used.execute("BEGIN EXCLUSIVE")
        used.execute("CREATE TABLE a (b TEXT)")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(database.sqlite3, "connect", lambda *at, **how: connect(*at, timeout=0, **how))
            check_database(tmp_path / "used.db")


def test_a_full_disk_is_told_and_no_draft_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    full = sqlite3.OperationalError("(sqlite3.OperationalError) database or disk is full\n[SQL:\nCREATE TABLE runs (\n")
    monkeypatch.setattr(STORE, failing(full, seen))
    said = rf"^disk-full: expected room for a database of MLflow in {tmp_path}, but got a full disk\. Free space there"
    with pytest.raises(RegistryError, match=said) as refused:
        make_database(tmp_path)
    assert "CREATE TABLE" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []
    assert LEFTOVER.fullmatch(f"isovox/{seen[0]}")  # of one that is killed, isovox clean knows the name


def test_another_fault_is_none_of_the_disk_s_and_leaves_no_draft_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(STORE, failing(RuntimeError("of another kind"), []))
    with pytest.raises(RuntimeError, match="another kind"):
        make_database(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_with_next_to_no_room_is_the_reason_whatever_sqlite_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(STORE, failing(RuntimeError("disk I/O error"), []))
    monkeypatch.setattr(database.space, "is_full", lambda _: True)
    with pytest.raises(RegistryError, match="disk-full"):
        make_database(tmp_path)


@pytest.mark.parametrize("linked", [True, False])
def test_of_two_commands_that_make_it_at_once_the_second_takes_the_first_one_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: bool
) -> None:
    """The first one has it open by then: what it writes into a file that was replaced is lost, or is refused by SQLite."""

    class Made:
        engine = type("Engine", (), {"dispose": staticmethod(lambda: None)})

        def __init__(self, uri: str, _: str) -> None:
            Path(uri.removeprefix("sqlite:///")).write_bytes(b"the second's")
            (tmp_path / "mlflow.db").write_bytes(b"the first's")

    def no_links(*_: object) -> None:
        raise PermissionError("links are not supported")

    monkeypatch.setattr(STORE, Made)
    if not linked:
        monkeypatch.setattr(database.os, "link", no_links)
    make_database(tmp_path)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("mlflow.db", b"the first's")]
